//! What an instance says, in the host's log: records, and the lines of its stdout and stderr.
//!
//! All of it is marked with whose it is, escaped, cut, and held to one rate. What an instance wrote last to stderr is kept,
//! because that is where JavaScript and Python say why they are about to end.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::logging::Level;
use crate::crash::cut;
use crate::limits::LOG_RECORDS_PER_SECOND_MAX;
use crate::state::Tenancy;
use crate::trace::Trace;

/// Bytes of a record's message, as the interface says, and of a line of stdout and stderr; a longer line becomes several
/// records.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4_096;

/// The last lines of stderr that are kept for the record of a crash: a stack trace of some depth.
const LAST_LINES_MAX: usize = 32;

/// Bytes of each of those.
const LAST_LINE_BYTES_MAX: usize = 512;

/// Traces that are told of a call that many requests share.
const TRACES_TOLD_MAX: usize = 4;

/// Bytes that a guest may write to stdout or stderr at a time.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// How many records were written in this second.
#[derive(Debug, Default)]
pub(crate) struct LogRate {
    second: Option<Instant>,
    written: u32,
    dropped: u32,
}

impl LogRate {
    /// Whether one more record may be written, and how many were dropped since the last that was.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<u32> {
        let fresh = self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1));
        if fresh {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written == LOG_RECORDS_PER_SECOND_MAX {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

/// The last error that a guest logged in a call: its panic, if it is of Rust and panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    pub(crate) message: String,
    /// Where in its source, if it said.
    pub(crate) place: Option<String>,
}

/// The log of one instance, shared by its state and its output streams.
#[derive(Clone)]
pub(crate) struct GuestLog(Arc<Mutex<Inner>>);

struct Inner {
    tenancy: Arc<Tenancy>,
    path: Arc<str>,
    traces: Vec<Trace>,
    rate: LogRate,
    last_error: Option<LastError>,
    stdout: Lines,
    stderr: Lines,
    last_lines: VecDeque<String>,
}

impl GuestLog {
    pub(crate) fn new(tenancy: Arc<Tenancy>, path: Arc<str>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            tenancy,
            path,
            traces: Vec::new(),
            rate: LogRate::default(),
            last_error: None,
            stdout: Lines::default(),
            stderr: Lines::default(),
            last_lines: VecDeque::new(),
        })))
    }

    /// A call begins, on behalf of requests of these traces.
    pub(crate) fn begin_call(&self, traces: &[Trace]) {
        let mut log = self.0.lock();
        log.traces.clear();
        log.traces.extend(traces.iter().take(TRACES_TOLD_MAX).cloned());
        log.last_error = None;
        log.last_lines.clear();
    }

    /// A call ended: what was begun of a line is a line.
    pub(crate) fn end_call(&self) {
        let mut log = self.0.lock();
        log.finish(Output::Stdout);
        log.finish(Output::Stderr);
    }

    /// Writes a record of the interface `logging`, which may say to which place in the guest's source it belongs.
    pub(crate) fn record(
        &self,
        level: Level,
        message: &str,
        place: Option<String>,
        fields: impl FnOnce() -> String,
    ) {
        let message = printable(message, MESSAGE_BYTES_MAX);
        let mut log = self.0.lock();
        if matches!(level, Level::Error) {
            log.last_error = Some(LastError { message: message.clone(), place });
        }
        log.write(level, &message, fields);
    }

    /// The last error that the guest logged in this call.
    pub(crate) fn last_error(&self) -> Option<LastError> {
        self.0.lock().last_error.clone()
    }

    /// The last lines that the guest wrote to stderr in this call.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.0.lock().last_lines.iter().cloned().collect()
    }

    /// The traces of this call as text: of a call that many share, the first few.
    pub(crate) fn trace(&self) -> String {
        self.0.lock().trace()
    }

    /// What the instance's stdout or stderr is.
    pub(crate) fn output(&self, output: Output) -> GuestOutput {
        GuestOutput { log: self.clone(), output }
    }
}

impl Inner {
    fn trace(&self) -> String {
        self.traces.iter().map(Trace::to_string).collect::<Vec<_>>().join(",")
    }

    fn write(&mut self, level: Level, message: &str, fields: impl FnOnce() -> String) {
        let Some(dropped) = self.rate.admit(Instant::now()) else { return };
        let fields = fields();
        let (store, component, path, trace) =
            (&self.tenancy.store, self.tenancy.role, &self.path, self.trace());
        // One call each, because tracing fixes a record's level where it is written.
        match level {
            Level::Trace => {
                tracing::trace!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
            Level::Debug => {
                tracing::debug!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
            Level::Info => {
                tracing::info!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
            Level::Warn => {
                tracing::warn!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
            Level::Error => {
                tracing::error!(target: "guest", store, component, %path, trace, fields, dropped, "{message}");
            }
        }
    }

    fn print(&mut self, output: Output, bytes: &[u8]) {
        let lines = self.lines(output).push(bytes);
        lines.into_iter().for_each(|line| self.line(output, &line));
    }

    fn finish(&mut self, output: Output) {
        if let Some(line) = self.lines(output).finish() {
            self.line(output, &line);
        }
    }

    fn lines(&mut self, output: Output) -> &mut Lines {
        match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        }
    }

    fn line(&mut self, output: Output, line: &str) {
        let line = printable(line, MESSAGE_BYTES_MAX);
        if line.trim().is_empty() {
            return;
        }
        if output == Output::Stderr {
            if self.last_lines.len() == LAST_LINES_MAX {
                self.last_lines.pop_front();
            }
            self.last_lines.push_back(cut(&line, LAST_LINE_BYTES_MAX));
        }
        let level = match output {
            Output::Stdout => Level::Info,
            Output::Stderr => Level::Error,
        };
        self.write(level, &line, || format!("output={}", output.name()));
    }
}

/// The two outputs of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

impl Output {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    /// The line that has no end yet; less than [`MESSAGE_BYTES_MAX`].
    begun: Vec<u8>,
}

impl Lines {
    /// The lines that these bytes end.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut ended = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            self.begun.extend_from_slice(text);
            while self.begun.len() >= MESSAGE_BYTES_MAX {
                let rest = self.begun.split_off(boundary(&self.begun, MESSAGE_BYTES_MAX));
                ended.push(lossy(&std::mem::replace(&mut self.begun, rest)));
            }
            if ends {
                ended.extend(self.finish());
            }
        }
        ended
    }

    /// What was begun of a line, if anything was.
    fn finish(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.begun);
        (!line.is_empty()).then(|| lossy(&line))
    }
}

fn lossy(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// The last beginning of a character at or before `at`, so that none is cut in two.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let is_begin = |index: &usize| bytes.get(*index).is_none_or(|byte| byte & 0xC0 != 0x80);
    // A character has at most four bytes; what has more is no text.
    (at.saturating_sub(3)..=at).rev().find(is_begin).unwrap_or(at)
}

/// The text without what could forge a line or move a terminal's cursor.
pub(crate) fn printable(text: &str, bytes: usize) -> String {
    let escaped: String = text
        .chars()
        .take(bytes)
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect();
    cut(&escaped, bytes)
}

/// An instance's stdout or stderr. Writing never waits: what is over the rate is dropped and counted.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    log: GuestLog,
    output: Output,
}

impl GuestOutput {
    fn print(&self, bytes: &[u8]) {
        self.log.0.lock().print(self.output, bytes);
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::{GuestLog, LAST_LINES_MAX, Lines, LogRate, MESSAGE_BYTES_MAX, Output, printable};
    use crate::limits::{LOG_RECORDS_PER_SECOND_MAX, Limits};
    use crate::state::Tenancy;
    use std::time::{Duration, Instant};

    #[test]
    fn a_record_cannot_forge_a_line_or_steer_a_terminal() {
        assert_eq!(printable("a\nlevel=error b", 100), "a\\nlevel=error b");
        assert_eq!(printable("\u{1b}[2J", 100), "\\u{1b}[2J");
        assert_eq!(printable(&"x".repeat(10), 4), "xxxx");
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut rate = LogRate::default();
        let start = Instant::now();
        for _ in 0..LOG_RECORDS_PER_SECOND_MAX {
            assert_eq!(rate.admit(start), Some(0));
        }
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start), None);
        assert_eq!(rate.admit(start + Duration::from_secs(1)), Some(2));
    }

    #[test]
    fn bytes_become_lines_however_they_are_cut() {
        let text = "one\ntwö\r\n\nthree";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found: Vec<String> =
                text.as_bytes().chunks(size).flat_map(|bytes| lines.push(bytes)).collect();
            found.extend(lines.finish());
            assert_eq!(found, ["one", "twö", "three"], "in pieces of {size}");
        }
        assert_eq!(Lines::default().push(&[0xff, b'\n']), ["\u{fffd}"]);
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters_and_takes_no_more_room() {
        let mut lines = Lines::default();
        let text = format!("x{}", "ö".repeat(3 * MESSAGE_BYTES_MAX));
        let mut found = lines.push(text.as_bytes());
        assert!(lines.begun.len() < MESSAGE_BYTES_MAX);
        assert!(found.iter().all(|line| line.len() <= MESSAGE_BYTES_MAX));
        found.extend(lines.finish());
        assert_eq!(found.concat(), text);
    }

    #[test]
    fn the_last_lines_of_stderr_are_kept_for_the_call_that_wrote_them() {
        let telemetry = exesdb_supervisor::Telemetry::new();
        let registry = exesdb_supervisor::Registry::new();
        let tenancy = Tenancy::new(
            "s",
            "gateway",
            std::collections::BTreeMap::new(),
            Limits::default(),
            crate::Clock::System,
            registry,
            telemetry,
        );
        let log = GuestLog::new(tenancy, "path".into());
        log.begin_call(&[]);
        log.output(Output::Stdout).print(b"not this\n");
        for number in 0..LAST_LINES_MAX + 2 {
            log.output(Output::Stderr).print(format!("line {number}\n").as_bytes());
        }
        log.output(Output::Stderr).print(b"and a beginning");
        log.end_call();
        let lines = log.last_lines();
        assert_eq!(lines.len(), LAST_LINES_MAX);
        assert_eq!((lines[0].as_str(), lines[LAST_LINES_MAX - 1].as_str()), ("line 3", "and a beginning"));
        log.begin_call(&[]);
        assert!(log.last_lines().is_empty());
    }
}
