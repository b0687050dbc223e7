//! Why an instance ended: for its supervisor, for the operator and for the component's author.

use std::fmt;

use exesdb_supervisor::Reason;
use serde::Serialize;
use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};

use crate::guest_log::LastError;
use crate::limits::{HANDLES_MAX, WASM_STACK_BYTES};
use crate::meter::Meter;
use crate::text::truncated;
use crate::trace::new_id;

/// Frames that are kept of a backtrace, inlined ones included. The cause is at its beginning.
const FRAMES_MAX: usize = 64;

/// Bytes that are kept of a frame's text: a hostile component can have names of megabytes.
const FRAME_BYTES_MAX: usize = 512;

/// Bytes that are kept of a message: the guest chooses its panic messages.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Beginnings of frames that belong to a language's runtime, and not to the component's own code.
const RUNTIME_FRAMES: [&str; 13] = [
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
    /// The call did not return, or did not begin a response, within its wall time.
    Timeout,
    /// The guest aborted after it was denied more memory.
    MemoryLimit,
    /// The guest's stack was exhausted.
    StackOverflow,
    /// The guest held as many handles as it may.
    HandleLimit,
    /// The guest called `exit`.
    Exit,
    /// The host ended the call: the client stopped reading, or the guest did not finish when it was requested to.
    CutOff,
    /// The guest broke a rule of the component model or of its contract, or copied too many bytes in one call.
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
    /// Identifies this crash in the log and in the telemetry.
    pub incident: String,
    /// The limit that was reached, if any, with its value and its name in the configuration.
    pub limit: Option<String>,
    /// The limit, the engine's message, and the guest's last error if it logged one (panics do).
    pub message: String,
    /// Where in the component, if known.
    pub place: Option<String>,
    /// Wasm frames, innermost first, inlined ones included.
    pub backtrace: Vec<String>,
    /// The last lines that the guest wrote to stderr in the call.
    pub stderr: Vec<String>,
}

impl Crash {
    pub(crate) fn of(error: &wasmtime::Error, meter: &Meter, log: CallLog) -> Self {
        let trap = error.downcast_ref::<Trap>().copied();
        let kind = kind(error, trap, meter);
        let limit = limit(kind, meter);
        let backtrace = backtrace(error);
        let place = log.last_error.as_ref().and_then(|error| error.place.clone());
        let words = match (trap, log.last_error) {
            (Some(trap), Some(error)) => format!("{trap}: {}", error.message),
            (Some(trap), None) => trap.to_string(),
            (None, _) => error.root_cause().to_string(),
        };
        let message = match &limit {
            // Where the guest was at that moment is irrelevant.
            Some(limit) if kind == CrashKind::Deadline => limit.clone(),
            Some(limit) => format!("{limit}: {words}"),
            None => words,
        };
        Self {
            message: truncated(&message, MESSAGE_BYTES_MAX),
            limit,
            place: place.or_else(|| innermost(&backtrace).cloned()),
            backtrace,
            stderr: log.last_lines,
            ..Self::without_message(kind)
        }
    }

    /// A persistence call that took too long.
    pub(crate) fn timeout(wall_ms: u64) -> Self {
        Self::at_limit(
            CrashKind::Timeout,
            format!("took more than its {} ms (`call_wall_ms`)", grouped(wall_ms)),
        )
    }

    /// A gateway call that did not begin its response in time.
    pub(crate) fn no_response(wall_ms: u64) -> Self {
        let limit = format!("did not begin its response within {} ms (`response_wall_ms`)", grouped(wall_ms));
        Self::at_limit(CrashKind::Timeout, limit)
    }

    pub(crate) fn cut_off(message: &str) -> Self {
        Self { message: message.to_owned(), ..Self::without_message(CrashKind::CutOff) }
    }

    /// A step that breaks the contract of gateways as steps.
    pub(crate) fn breach(message: &str) -> Self {
        let message = format!("broke the contract: {message}");
        Self { message: truncated(&message, MESSAGE_BYTES_MAX), ..Self::without_message(CrashKind::Contract) }
    }

    fn at_limit(kind: CrashKind, limit: String) -> Self {
        Self { message: limit.clone(), limit: Some(limit), ..Self::without_message(kind) }
    }

    fn without_message(kind: CrashKind) -> Self {
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

    /// The message after the limit; empty if the limit is the whole message.
    pub(crate) fn detail(&self) -> &str {
        match &self.limit {
            None => &self.message,
            Some(limit) => self.message.strip_prefix(limit.as_str()).unwrap_or("").trim_start_matches(": "),
        }
    }

    /// The predicate of a sentence about the component that a client may read: the limit, and no internals.
    pub(crate) fn for_client(&self) -> &str {
        match (&self.limit, self.kind) {
            (Some(limit), _) => limit,
            (None, CrashKind::Exit) => "ended itself",
            (None, CrashKind::CutOff) => "was cut off",
            (None, CrashKind::Contract) => "broke the rules of the component model or of its contract",
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

/// What the guest logged in the call that ended its instance.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    /// The last error of the logging interface.
    pub(crate) last_error: Option<LastError>,
    /// The last lines of stderr.
    pub(crate) last_lines: Vec<String>,
}

fn kind(error: &wasmtime::Error, trap: Option<Trap>, meter: &Meter) -> CrashKind {
    match trap {
        _ if meter.deadline_passed => CrashKind::Deadline,
        _ if error.is::<wasmtime_wasi::I32Exit>() => CrashKind::Exit,
        _ if out_of_handles(error) => CrashKind::HandleLimit,
        Some(Trap::StackOverflow) => CrashKind::StackOverflow,
        // Without a trap, too: a memory whose initial size exceeds the limit.
        _ if meter.memory_denied => CrashKind::MemoryLimit,
        Some(_) => CrashKind::Trap,
        None => CrashKind::Contract,
    }
}

fn out_of_handles(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        // The engine's own handle table has no typed error.
        || error.root_cause().to_string().contains("store handle limit exceeded")
}

/// The limit that a crash of this kind reached.
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

/// A number with commas between its thousands.
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

/// The innermost frame of the component's own code, as far as names tell.
fn innermost(backtrace: &[String]) -> Option<&String> {
    let is_authors = |frame: &&String| !RUNTIME_FRAMES.iter().any(|runtime| frame.starts_with(runtime));
    backtrace.iter().find(is_authors).or(backtrace.first())
}

fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    backtrace.frames().iter().flat_map(frame).take(FRAMES_MAX).collect()
}

/// The texts of a frame: the functions inlined into it, innermost first, then the frame itself.
fn frame(frame: &wasmtime::FrameInfo) -> Vec<String> {
    let own_name = || frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), demangled);
    if frame.symbols().is_empty() {
        return vec![truncated(&own_name(), FRAME_BYTES_MAX)];
    }
    let symbol = |symbol: &wasmtime::FrameSymbol| {
        let name = symbol.name().map_or_else(own_name, demangled);
        let text = match (symbol.file(), symbol.line()) {
            (Some(file), Some(line)) => format!("{name} at {file}:{line}"),
            _ => name,
        };
        truncated(&text, FRAME_BYTES_MAX)
    };
    frame.symbols().iter().map(symbol).collect()
}

/// A name as its author wrote it, without the mangling of Rust's compiler.
fn demangled(name: &str) -> String {
    // The alternate format omits the hash.
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::{CallLog, Crash, CrashKind, demangled, grouped, innermost};
    use crate::guest_log::LastError;
    use crate::limits::Limits;
    use crate::meter::Meter;
    use wasmtime::component::ResourceTableError;
    use wasmtime::{Error, ResourceLimiter, Trap};

    fn crash(error: Error, prepare: impl FnOnce(&mut Meter)) -> Crash {
        let mut meter = Meter::new(&Limits { memory_bytes: 1 << 20, call_cpu_ms: 0, ..Limits::default() });
        prepare(&mut meter);
        Crash::of(&error, &meter, CallLog::default())
    }

    fn deny_memory(meter: &mut Meter) {
        assert!(!meter.memory_growing(0, 2 << 20, None).expect("a decision"));
    }

    #[test]
    fn the_error_and_the_meter_determine_the_kind_and_the_limit() {
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
    fn clients_see_limits_but_no_internals() {
        let last_error = LastError { message: "secret".into(), place: Some("src/lib.rs:7".into()) };
        let log = CallLog { last_error: Some(last_error), last_lines: vec!["more of it".into()] };
        let meter = Meter::new(&Limits::default());
        let crash = Crash::of(&Trap::UnreachableCodeReached.into(), &meter, log);
        assert!(crash.message.ends_with(": secret") && crash.stderr == ["more of it"]);
        assert_eq!(crash.place.as_deref(), Some("src/lib.rs:7"));
        assert_eq!(crash.for_client(), "trapped");
        assert_eq!(Crash::timeout(30_000).for_client(), "took more than its 30,000 ms (`call_wall_ms`)");
        assert_eq!(
            Crash::no_response(500).for_client(),
            "did not begin its response within 500 ms (`response_wall_ms`)"
        );
    }

    #[test]
    fn the_place_is_in_the_components_own_code() {
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
    fn frame_names_are_demangled() {
        assert_eq!(demangled("_ZN13streams_probe6deeper17h0123456789abcdefE"), "streams_probe::deeper");
        assert_eq!(demangled("cabi_realloc"), "cabi_realloc");
    }

    #[test]
    fn thousands_are_separated_by_commas() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
