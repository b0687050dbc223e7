//! Reads whether a file is a component, and what that imports and exports, before anything is compiled: compiling a large
//! component takes seconds.

use wasmparser::{Chunk, Encoding, Parser, Payload};

/// The first bytes of every WebAssembly file.
const WASM_MAGIC: &[u8] = b"\0asm";

/// The first bytes of compiled code as wasmtime writes it (`.cwasm`), which is an ELF file.
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Bytes of a file that are searched for the beginning of WebAssembly's text format.
const TEXT_BYTES: usize = 256;

/// The imports and exports of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Names of imports, such as `wasi:io/streams@0.2.12`.
    pub(crate) imports: Vec<String>,
    /// Names of exports.
    pub(crate) exports: Vec<String>,
}

/// Why a file is not a component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAComponent {
    /// The file is empty.
    #[error("the file is empty; was the build finished?")]
    Empty,
    /// A core module, as compilers make it before it is turned into a component.
    #[error(
        "it is a core module, from which a component has yet to be made: build it for the target `wasm32-wasip2`, or run `wasm-tools component new FILE -o COMPONENT`"
    )]
    CoreModule,
    /// Machine code.
    #[error(
        "it is compiled machine code (a `.cwasm` file); give the component that it was compiled from, the host compiles that itself"
    )]
    Compiled,
    /// WebAssembly as text.
    #[error("it is WebAssembly's text format; make it binary with `wasm-tools parse FILE -o COMPONENT`")]
    WasmText,
    /// Anything else.
    #[error(
        "it does not begin as WebAssembly does (\\0asm); give the `.wasm` file that the component's build wrote"
    )]
    Foreign,
    /// The file begins like a component, but is truncated or corrupt.
    #[error("it is cut off or damaged at byte {offset}: {reason}; build or copy it again")]
    Damaged {
        /// Where, in bytes from the beginning.
        offset: usize,
        /// The parser's message.
        reason: String,
    },
}

impl From<wasmparser::BinaryReaderError> for NotAComponent {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Damaged { offset: error.offset(), reason: error.message().to_owned() }
    }
}

impl Shape {
    /// Reads the outermost level of a component and skips nested modules and components.
    pub(crate) fn of(wasm: &[u8]) -> Result<Self, NotAComponent> {
        if !wasm.starts_with(WASM_MAGIC) {
            return Err(foreign(wasm));
        }
        let mut shape = Self::default();
        let mut parser = Parser::new(0);
        let mut rest = wasm;
        loop {
            let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
                return Err(cut_off(wasm));
            };
            rest = &rest[consumed..];
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } => return Err(NotAComponent::CoreModule),
                Payload::ComponentImportSection(imports) => {
                    for import in imports {
                        shape.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) => {
                    for export in exports {
                        shape.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::ModuleSection { unchecked_range, .. }
                | Payload::ComponentSection { unchecked_range, .. } => {
                    rest = rest.get(unchecked_range.len()..).ok_or_else(|| cut_off(wasm))?;
                }
                Payload::End(_) => return Ok(shape),
                _ => {}
            }
        }
    }
}

fn cut_off(wasm: &[u8]) -> NotAComponent {
    NotAComponent::Damaged { offset: wasm.len(), reason: "unexpected end of the file".into() }
}

/// What a file is that does not begin like WebAssembly.
fn foreign(bytes: &[u8]) -> NotAComponent {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES)]);
    // The code may follow comments.
    let code = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with(";;"));
    let is_wasm_text = code.is_some_and(|line| line.starts_with("(component") || line.starts_with("(module"));
    match bytes {
        [] => NotAComponent::Empty,
        _ if bytes.starts_with(ELF_MAGIC) => NotAComponent::Compiled,
        _ if is_wasm_text => NotAComponent::WasmText,
        _ => NotAComponent::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::{NotAComponent, Shape};

    /// An empty component.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn other_files_are_recognised() {
        let table: [(&[u8], NotAComponent); 7] = [
            (b"", NotAComponent::Empty),
            (b"\0asm\x01\0\0\0", NotAComponent::CoreModule),
            (b"\x7fELF\x02\x01", NotAComponent::Compiled),
            (b"(component)", NotAComponent::WasmText),
            (b";; a comment\n\n  (module)", NotAComponent::WasmText),
            (b"fn main() {}", NotAComponent::Foreign),
            (&[0xff, 0xfe, 0], NotAComponent::Foreign),
        ];
        for (bytes, expected) in table {
            assert_eq!(Shape::of(bytes), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn an_empty_component_imports_and_exports_nothing() {
        assert_eq!(Shape::of(COMPONENT), Ok(Shape::default()));
    }

    #[test]
    fn corrupt_components_are_damaged() {
        // A module section that is longer than the file; a section without a size; a future version. Unknown sections are
        // left to the compiler.
        for tail in [&[1_u8, 0xff, 0x01, 0, 0][..], &[1]] {
            let bytes = [COMPONENT, tail].concat();
            assert!(matches!(Shape::of(&bytes), Err(NotAComponent::Damaged { .. })), "{tail:?}");
        }
        assert!(matches!(Shape::of(b"\0asm\x63\0\x01\0"), Err(NotAComponent::Damaged { .. })));
        assert!(matches!(Shape::of(b"\0asm"), Err(NotAComponent::Damaged { .. })));
    }
}
