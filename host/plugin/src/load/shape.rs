//! What a file says of itself in its first kilobytes: whether it is a component at all, and what that imports and
//! exports. Read before anything is compiled, which takes seconds for a large component.

use wasmparser::{Chunk, Encoding, Parser, Payload};

/// The first bytes of each WebAssembly file.
const WASM_MAGIC: &[u8] = b"\0asm";

/// The first bytes of compiled code as wasmtime writes it (`.cwasm`), which is an ELF file.
const ELF_MAGIC: &[u8] = b"\x7fELF";

/// Bytes of a text file that are looked at to see whether it is WebAssembly's text format.
const TEXT_BYTES: usize = 256;

/// The imports and exports of a component.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Interfaces, as in `wasi:io/streams@0.2.12`, and whatever else is imported.
    pub(crate) imports: Vec<String>,
    /// The same of exports.
    pub(crate) exports: Vec<String>,
}

/// Why bytes are no component, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAComponent {
    /// No byte at all.
    #[error("the file is empty; was the build finished?")]
    Empty,
    /// What compilers make before a component is made of it.
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
    /// It begins as a component and does not go on as one.
    #[error("it is cut off or damaged at byte {offset}: {reason}; build or copy it again")]
    Damaged {
        /// Where.
        offset: usize,
        /// The parser's words.
        reason: String,
    },
}

impl From<wasmparser::BinaryReaderError> for NotAComponent {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Damaged { offset: error.offset(), reason: error.message().to_owned() }
    }
}

impl Shape {
    /// Reads the outermost level of a component; what is nested in it is skipped.
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

/// What bytes are that do not begin as WebAssembly.
fn foreign(bytes: &[u8]) -> NotAComponent {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES)]);
    // Comments may come first.
    let code = text.lines().map(str::trim_start).find(|line| !line.is_empty() && !line.starts_with(";;"));
    let is_wasm_text = code.is_some_and(|line| line.starts_with("(component") || line.starts_with("(module"));
    match bytes {
        [] => NotAComponent::Empty,
        _ if begins(ELF_MAGIC) => NotAComponent::Compiled,
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
    fn what_is_no_component_is_told_what_it_is() {
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
    fn hostile_bytes_are_damaged() {
        // A module section that claims more than there is; a section without a size; a version of the future. (Sections that
        // nobody knows are the compiler's to refuse.)
        for tail in [&[1_u8, 0xff, 0x01, 0, 0][..], &[1]] {
            let bytes = [COMPONENT, tail].concat();
            assert!(matches!(Shape::of(&bytes), Err(NotAComponent::Damaged { .. })), "{tail:?}");
        }
        assert!(matches!(Shape::of(b"\0asm\x63\0\x01\0"), Err(NotAComponent::Damaged { .. })));
        assert!(matches!(Shape::of(b"\0asm"), Err(NotAComponent::Damaged { .. })));
    }
}
