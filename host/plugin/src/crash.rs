//! Why an instance ended, in words that a supervisor, an operator and a component's author can use.

use std::fmt;

use exesdb_supervisor::Reason;
use serde::Serialize;
use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};

use crate::engine::WASM_STACK_BYTES;
use crate::guest_log::LastError;
use crate::limits::{HANDLES_MAX, Meter};
use crate::trace::new_id;

/// Frames of a backtrace that are kept, those of inlined functions included: the cause is at its beginning.
const FRAMES_MAX: usize = 64;

/// Bytes of a frame's text that are kept: names come from the component, and a hostile one has them of megabytes.
const FRAME_BYTES_MAX: usize = 512;

/// Bytes of a message that are kept: a guest chooses its panic messages.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Frames that show where a component failed rather than how its language ends it.
const INNARDS: [&str; 13] = [
    "std::",
    "core::",
    "alloc::",
    "rust_",
    "__rust",
    "__rustc::",
    "<core::",
    "<std::",
    "<alloc::",
    "abort",
    "exesdb_sdk::panic",
    "__wasilibc",
    "wasi:",
];

/// What ended an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashKind {
    /// The guest trapped: a panic, a failed check, an out-of-bounds access.
    Trap,
    /// The guest used up its CPU time.
    Deadline,
    /// A call got no answer within its wall time.
    Timeout,
    /// The guest aborted after more memory was refused.
    MemoryLimit,
    /// The guest's stack was exhausted.
    StackOverflow,
    /// The guest held all the handles that it may.
    HandleLimit,
    /// The guest asked its process to end.
    Exit,
    /// The call was cut off: the client took nothing of the answer, or the guest did not finish when it was asked to.
    CutOff,
    /// The guest broke the component model's rules, or a limit on copied bytes.
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
            Self::HandleLimit => "handle-limit",
            Self::Exit => "exit",
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
    /// Finds this crash in the log and in the telemetry.
    pub incident: String,
    /// The limit that was reached, with its value and its name in the configuration, if it was one.
    pub limit: Option<String>,
    /// The limit, or else the engine's words and the guest's last error message where it logged one (as panics do).
    pub message: String,
    /// Where in the component, as far as it is known.
    pub place: Option<String>,
    /// Wasm frames, innermost first, those of inlined functions too.
    pub backtrace: Vec<String>,
    /// The last lines that the guest wrote to stderr in the call.
    pub stderr: Vec<String>,
}

impl Crash {
    pub(crate) fn of(error: &wasmtime::Error, meter: &Meter, said: Said) -> Self {
        let trap = error.downcast_ref::<Trap>().copied();
        let kind = kind(error, trap, meter);
        let limit = limit(kind, meter);
        let backtrace = backtrace(error);
        let place = said.last_error.as_ref().and_then(|error| error.place.clone());
        let words = match (trap, said.last_error) {
            (Some(trap), Some(error)) => format!("{trap}: {}", error.message),
            (Some(trap), None) => trap.to_string(),
            (None, _) => error.root_cause().to_string(),
        };
        let message = match &limit {
            // Where it happened to be then says nothing.
            Some(limit) if kind == CrashKind::Deadline => limit.clone(),
            Some(limit) => format!("{limit}: {words}"),
            None => words,
        };
        Self {
            message: cut(&message, MESSAGE_BYTES_MAX),
            limit,
            place: place.or_else(|| innermost(&backtrace).cloned()),
            backtrace,
            stderr: said.last_lines,
            ..Self::without_words(kind)
        }
    }

    /// A persistence call that took too long.
    pub(crate) fn timeout(wall_ms: u64) -> Self {
        Self::at_limit(
            CrashKind::Timeout,
            format!("took more than its {} ms (`call_wall_ms`)", grouped(wall_ms)),
        )
    }

    /// A gateway's call that did not begin to answer.
    pub(crate) fn unanswered(wall_ms: u64) -> Self {
        let limit = format!("did not begin its response within {} ms (`response_wall_ms`)", grouped(wall_ms));
        Self::at_limit(CrashKind::Timeout, limit)
    }

    pub(crate) fn cut_off(message: &str) -> Self {
        Self { message: message.to_owned(), ..Self::without_words(CrashKind::CutOff) }
    }

    fn at_limit(kind: CrashKind, limit: String) -> Self {
        Self { message: limit.clone(), limit: Some(limit), ..Self::without_words(kind) }
    }

    fn without_words(kind: CrashKind) -> Self {
        Self {
            kind,
            incident: new_id(),
            limit: None,
            message: String::new(),
            place: None,
            backtrace: Vec::new(),
            stderr: Vec::new(),
        }
    }

    /// The message without the limit: empty where the limit says all.
    pub(crate) fn words(&self) -> &str {
        match &self.limit {
            None => &self.message,
            Some(limit) => self.message.strip_prefix(limit.as_str()).unwrap_or("").trim_start_matches(": "),
        }
    }

    /// What a client may know of it, as what the component did: the limit that it reached, and nothing of its inside.
    pub fn for_client(&self) -> &str {
        match (&self.limit, self.kind) {
            (Some(limit), _) => limit,
            (None, CrashKind::Exit) => "ended itself",
            (None, CrashKind::CutOff) => "was cut off",
            (None, CrashKind::Contract) => "broke the rules of the component model",
            (None, _) => "trapped",
        }
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

/// What the guest said in the call that ended its instance.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The last error that it logged.
    pub(crate) last_error: Option<LastError>,
    /// The last lines of its stderr.
    pub(crate) last_lines: Vec<String>,
}

fn kind(error: &wasmtime::Error, trap: Option<Trap>, meter: &Meter) -> CrashKind {
    match trap {
        _ if meter.deadline_passed => CrashKind::Deadline,
        _ if error.is::<wasmtime_wasi::I32Exit>() => CrashKind::Exit,
        _ if out_of_handles(error) => CrashKind::HandleLimit,
        Some(Trap::StackOverflow) => CrashKind::StackOverflow,
        // Also without a trap: a memory that begins larger than the limit.
        _ if meter.memory_denied => CrashKind::MemoryLimit,
        Some(_) => CrashKind::Trap,
        None => CrashKind::Contract,
    }
}

fn out_of_handles(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        // The engine's own table of handles has no type for it.
        || error.root_cause().to_string().contains("store handle limit exceeded")
}

/// The limit that a crash of this kind is about.
fn limit(kind: CrashKind, meter: &Meter) -> Option<String> {
    Some(match kind {
        CrashKind::Deadline => format!("used its {} ms of CPU (`call_cpu_ms`)", grouped(meter.call_cpu_ms())),
        CrashKind::MemoryLimit => {
            format!("needed more than its {} MiB of memory (`memory_mib`)", meter.memory_bytes_max() >> 20)
        }
        CrashKind::StackOverflow => format!("used its {} KiB of stack", WASM_STACK_BYTES >> 10),
        CrashKind::HandleLimit => {
            format!("held the {} handles that an instance may have", grouped(HANDLES_MAX as u64))
        }
        _ => return None,
    })
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The innermost frame that is of the author's code, as far as names tell.
fn innermost(backtrace: &[String]) -> Option<&String> {
    let is_authors = |frame: &&String| !INNARDS.iter().any(|innards| frame.starts_with(innards));
    backtrace.iter().find(is_authors).or(backtrace.first())
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    backtrace.frames().iter().flat_map(frame).take(FRAMES_MAX).collect()
}

/// A frame as text: one for each function that was inlined into it, innermost first, then itself.
fn frame(frame: &wasmtime::FrameInfo) -> Vec<String> {
    let own_name = || frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangled);
    if frame.symbols().is_empty() {
        return vec![cut(&own_name(), FRAME_BYTES_MAX)];
    }
    let symbol = |symbol: &wasmtime::FrameSymbol| {
        let name = symbol.name().map_or_else(own_name, demangled);
        let text = match (symbol.file(), symbol.line()) {
            (Some(file), Some(line)) => format!("{name} at {file}:{line}"),
            _ => name,
        };
        cut(&text, FRAME_BYTES_MAX)
    };
    frame.symbols().iter().map(symbol).collect()
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
    use super::{Crash, CrashKind, Said, cut, demangled, grouped, innermost};
    use crate::guest_log::LastError;
    use crate::limits::{Limits, Meter};
    use wasmtime::component::ResourceTableError;
    use wasmtime::{Error, ResourceLimiter, Trap};

    fn crash(error: Error, prepare: impl FnOnce(&mut Meter)) -> Crash {
        let mut meter = Meter::new(&Limits { memory_bytes: 1 << 20, call_cpu_ms: 0, ..Limits::default() });
        prepare(&mut meter);
        Crash::of(&error, &meter, Said::default())
    }

    fn deny_memory(meter: &mut Meter) {
        assert!(!meter.memory_growing(0, 2 << 20, None).expect("a decision"));
    }

    #[test]
    fn the_kind_follows_from_the_error_and_what_the_meter_saw_and_a_limit_is_named() {
        type Prepare = fn(&mut Meter);
        let nothing: Prepare = |_| ();
        let table: [(Error, Prepare, CrashKind, &str); 9] = [
            (Trap::UnreachableCodeReached.into(), nothing, CrashKind::Trap, "wasm trap: wasm `unreachable`"),
            (Trap::StackOverflow.into(), nothing, CrashKind::StackOverflow, "used its 512 KiB of stack: "),
            (
                Trap::Interrupt.into(),
                |meter| assert!(!meter.tick()),
                CrashKind::Deadline,
                "used its 0 ms of CPU (`call_cpu_ms`)",
            ),
            (
                Trap::UnreachableCodeReached.into(),
                deny_memory,
                CrashKind::MemoryLimit,
                "needed more than its 1 MiB of memory (`memory_mib`): wasm trap",
            ),
            (
                Error::msg("memory minimum size of 17 pages exceeds memory limits"),
                deny_memory,
                CrashKind::MemoryLimit,
                "needed more than its 1 MiB of memory (`memory_mib`): memory minimum",
            ),
            (
                ResourceTableError::Full.into(),
                nothing,
                CrashKind::HandleLimit,
                "held the 1,000 handles that an instance may have: resource table",
            ),
            (
                Error::msg("cannot allocate another handle: store handle limit exceeded"),
                nothing,
                CrashKind::HandleLimit,
                "held the 1,000 handles",
            ),
            (wasmtime_wasi::I32Exit(3).into(), nothing, CrashKind::Exit, "Exited with i32 exit status 3"),
            (
                Error::msg("handle index 7 used with the wrong type"),
                nothing,
                CrashKind::Contract,
                "handle index",
            ),
        ];
        for (error, prepare, kind, message) in table {
            let crash = crash(error, prepare);
            assert_eq!(crash.kind, kind, "{crash}");
            assert!(crash.message.starts_with(message), "{crash}");
        }
    }

    #[test]
    fn a_client_is_told_of_limits_and_not_of_the_inside() {
        let last_error = LastError { message: "secret".into(), place: Some("src/lib.rs:7".into()) };
        let said = Said { last_error: Some(last_error), last_lines: vec!["more of it".into()] };
        let meter = Meter::new(&Limits::default());
        let crash = Crash::of(&Trap::UnreachableCodeReached.into(), &meter, said);
        assert!(crash.message.ends_with(": secret") && crash.stderr == ["more of it"]);
        assert_eq!(crash.place.as_deref(), Some("src/lib.rs:7"));
        assert_eq!(crash.for_client(), "trapped");
        assert_eq!(Crash::timeout(30_000).for_client(), "took more than its 30,000 ms (`call_wall_ms`)");
        assert_eq!(
            Crash::unanswered(500).for_client(),
            "did not begin its response within 500 ms (`response_wall_ms`)"
        );
    }

    #[test]
    fn the_place_is_in_the_authors_code() {
        let innermost = |frames: &[&str]| {
            let frames: Vec<String> = frames.iter().map(|frame| (*frame).to_owned()).collect();
            innermost(&frames).cloned()
        };
        let rust =
            ["std::panicking::panic", "__rustc::rust_panic", "hooks::count at src/lib.rs:46", "handle"];
        assert_eq!(innermost(&rust).as_deref(), Some("hooks::count at src/lib.rs:46"));
        assert_eq!(innermost(&["abort"]).as_deref(), Some("abort"));
        assert_eq!(innermost(&[]), None);
    }

    #[test]
    fn a_frame_has_the_name_that_its_author_wrote() {
        assert_eq!(demangled("_ZN13streams_probe6deeper17h0123456789abcdefE"), "streams_probe::deeper");
        assert_eq!(demangled("cabi_realloc"), "cabi_realloc");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("aé", 9), "aé");
    }
}
