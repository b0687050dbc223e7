//! Why an instance ended, in words that a supervisor, an operator and a component's author can use.

use std::fmt;

use exesdb_supervisor::Reason;
use serde::Serialize;
use wasmtime::{Trap, WasmBacktrace};

use crate::limits::Meter;

/// Frames of a backtrace that are kept: the cause is at its beginning.
const FRAMES_MAX: usize = 32;

/// Bytes of a frame's text that are kept: names come from the component, and a hostile one has them of megabytes.
const FRAME_BYTES_MAX: usize = 512;

/// Bytes of a message that are kept: a guest chooses its panic messages.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// What ended an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashKind {
    /// The guest trapped: a panic, a failed check, an out-of-bounds access.
    Trap,
    /// The guest used up its CPU time.
    Deadline,
    /// A persistence call got no answer within its wall time.
    Timeout,
    /// The guest aborted after more memory was refused.
    MemoryLimit,
    /// The guest's stack was exhausted.
    StackOverflow,
    /// The call was cut off: the client took nothing of the answer, or the guest did not finish when it was asked to.
    CutOff,
    /// The guest broke the component model's rules, or a limit on handles or copied bytes.
    Contract,
}

impl fmt::Display for CrashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Timeout => "timeout",
            Self::MemoryLimit => "memory-limit",
            Self::StackOverflow => "stack-overflow",
            Self::CutOff => "cut-off",
            Self::Contract => "contract",
        })
    }
}

/// The end of an instance.
#[derive(Debug, Clone, Serialize)]
pub struct Crash {
    /// What ended it.
    pub kind: CrashKind,
    /// The engine's words, and the guest's last error message where it logged one (as panics do).
    pub message: String,
    /// Wasm frames, innermost first.
    pub backtrace: Vec<String>,
}

impl Crash {
    pub(crate) fn of(error: &wasmtime::Error, meter: &Meter, last_words: Option<&str>) -> Self {
        let trap = error.downcast_ref::<Trap>().copied();
        let kind = match trap {
            _ if meter.deadline_passed => CrashKind::Deadline,
            Some(Trap::StackOverflow) => CrashKind::StackOverflow,
            Some(_) if meter.memory_denied => CrashKind::MemoryLimit,
            Some(_) => CrashKind::Trap,
            None => CrashKind::Contract,
        };
        let words = match (trap, last_words) {
            (Some(trap), Some(words)) => format!("{trap}: {words}"),
            (Some(trap), None) => trap.to_string(),
            (None, _) => error.root_cause().to_string(),
        };
        Self { kind, message: cut(&words, MESSAGE_BYTES_MAX), backtrace: backtrace(error) }
    }

    pub(crate) fn timeout(wall_ms: u64) -> Self {
        let message = format!("the call got no answer within {wall_ms} ms");
        Self { kind: CrashKind::Timeout, message, backtrace: Vec::new() }
    }

    pub(crate) fn cut_off(message: &str) -> Self {
        Self { kind: CrashKind::CutOff, message: message.to_owned(), backtrace: Vec::new() }
    }

    /// The exit reason of the child whose instance this was.
    pub fn reason(&self) -> Reason {
        Reason::Error(self.to_string())
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let frame = |frame: &wasmtime::FrameInfo| {
        let symbol = frame.symbols().first();
        let name = symbol
            .and_then(|symbol| symbol.name())
            .or_else(|| frame.func_name())
            .map_or_else(|| format!("function {}", frame.func_index()), demangled);
        let frame = match symbol.and_then(|symbol| Some((symbol.file()?, symbol.line()?))) {
            Some((file, line)) => format!("{name} at {file}:{line}"),
            None => name,
        };
        cut(&frame, FRAME_BYTES_MAX)
    };
    backtrace.frames().iter().take(FRAMES_MAX).map(frame).collect()
}

/// A name as its author wrote it: Rust's compiler decorates them.
fn demangled(name: &str) -> String {
    // The alternate form leaves out the hash.
    format!("{:#}", rustc_demangle::demangle(name))
}

/// The longest beginning of `text` of at most `bytes` bytes that ends at a character.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Crash, CrashKind, cut, demangled};
    use crate::limits::{Limits, Meter};
    use wasmtime::{Error, ResourceLimiter, Trap};

    fn kind(trap: Trap, prepare: impl FnOnce(&mut Meter)) -> CrashKind {
        let mut meter = Meter::new(&Limits { memory_bytes: 1, call_cpu_ms: 0, ..Limits::default() });
        prepare(&mut meter);
        Crash::of(&Error::from(trap), &meter, None).kind
    }

    #[test]
    fn the_kind_follows_from_the_trap_and_what_the_meter_saw() {
        assert_eq!(kind(Trap::UnreachableCodeReached, |_| ()), CrashKind::Trap);
        assert_eq!(kind(Trap::StackOverflow, |_| ()), CrashKind::StackOverflow);
        assert_eq!(kind(Trap::Interrupt, |meter| assert!(!meter.tick())), CrashKind::Deadline);
        assert_eq!(
            kind(Trap::UnreachableCodeReached, |meter| {
                assert!(!meter.memory_growing(0, 2, None).expect("a decision"));
            }),
            CrashKind::MemoryLimit
        );
        let meter = Meter::new(&Limits::default());
        assert_eq!(
            Crash::of(&Error::msg("handle index 7 used with the wrong type"), &meter, None).kind,
            CrashKind::Contract
        );
    }

    #[test]
    fn a_frame_has_the_name_that_its_author_wrote() {
        assert_eq!(demangled("_ZN13streams_probe6deeper17h0123456789abcdefE"), "streams_probe::deeper");
        assert_eq!(demangled("cabi_realloc"), "cabi_realloc");
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 9), "aé");
    }
}
