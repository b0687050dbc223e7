//! Writes an instance's log records, and the lines of its stdout and stderr, to the host's log.
//!
//! Each record names the instance, is escaped and truncated, and counts for one rate. The last lines of stderr are kept for
//! crash reports: JavaScript and Python write there why they end.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::store::logging::Level;
use crate::context::ComponentContext;
use crate::log_rate::LogRate;
use crate::text::{printable, truncated};
use crate::trace::Trace;

/// Bytes of a record's message, as the interface says, and of a line of stdout or stderr. A longer line is split into
/// several records.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// Lines of stderr that are kept for a crash report: enough for a stack trace.
const LAST_LINES_MAX: usize = 32;

/// Bytes that are kept of each such line.
const LAST_LINE_BYTES_MAX: usize = 512;

/// Traces that the log names for a call that many requests share.
const TRACES_MAX: usize = 4;

/// Bytes that a guest may write to stdout or stderr at a time.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// The last error that a guest logged in a call: its panic, if it is written in Rust and panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastError {
    pub(crate) message: String,
    /// Where in its source, if the record names it.
    pub(crate) place: Option<String>,
}

/// The log of one instance, shared between its state and its output streams.
#[derive(Clone)]
pub(crate) struct GuestLog(Arc<Mutex<Inner>>);

struct Inner {
    context: Arc<ComponentContext>,
    path: Arc<str>,
    traces: Vec<Trace>,
    rate: LogRate,
    last_error: Option<LastError>,
    stdout: Lines,
    stderr: Lines,
    last_lines: VecDeque<String>,
}

impl GuestLog {
    pub(crate) fn new(context: Arc<ComponentContext>, path: Arc<str>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            context,
            path,
            traces: Vec::new(),
            rate: LogRate::default(),
            last_error: None,
            stdout: Lines::default(),
            stderr: Lines::default(),
            last_lines: VecDeque::new(),
        })))
    }

    /// Starts a call that serves requests with these traces.
    pub(crate) fn begin_call(&self, traces: &[Trace]) {
        let mut log = self.0.lock();
        log.traces.clear();
        log.traces.extend(traces.iter().take(TRACES_MAX).cloned());
        log.last_error = None;
        log.last_lines.clear();
    }

    /// Ends a call: an unfinished line is written as a line.
    pub(crate) fn end_call(&self) {
        let mut log = self.0.lock();
        log.finish(Output::Stdout);
        log.finish(Output::Stderr);
    }

    /// Writes a record of the logging interface; `place` is where in the guest's source it was written.
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

    /// The traces of this call as text: the first few, if many requests share it.
    pub(crate) fn trace(&self) -> String {
        self.0.lock().trace()
    }

    /// The stream for the instance's stdout or stderr.
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
            (&self.context.store, self.context.role, &self.path, self.trace());
        // One macro per level, because tracing fixes a record's level at its call site.
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
            self.last_lines.push_back(truncated(&line, LAST_LINE_BYTES_MAX));
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

/// Splits bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    /// The unfinished line; less than [`MESSAGE_BYTES_MAX`] bytes.
    unfinished: Vec<u8>,
}

impl Lines {
    /// Appends bytes; returns the lines that they finish.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut finished = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            self.unfinished.extend_from_slice(text);
            while self.unfinished.len() >= MESSAGE_BYTES_MAX {
                let rest = self.unfinished.split_off(boundary(&self.unfinished, MESSAGE_BYTES_MAX));
                finished.push(lossy(&std::mem::replace(&mut self.unfinished, rest)));
            }
            if ends {
                finished.extend(self.finish());
            }
        }
        finished
    }

    /// The unfinished line, if it is not empty.
    fn finish(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.unfinished);
        (!line.is_empty()).then(|| lossy(&line))
    }
}

fn lossy(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// The last character boundary at or before `at`.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let is_begin = |index: &usize| bytes.get(*index).is_none_or(|byte| byte & 0xC0 != 0x80);
    // A character has at most four bytes; a longer sequence is not UTF-8.
    (at.saturating_sub(3)..=at).rev().find(is_begin).unwrap_or(at)
}

/// An instance's stdout or stderr. Writing never waits: lines over the rate are dropped and counted.
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
    use super::{GuestLog, LAST_LINES_MAX, Lines, MESSAGE_BYTES_MAX, Output};
    use crate::clock::Clock;
    use crate::context::ComponentContext;
    use crate::limits::Limits;

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_are_chunked() {
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
    fn a_long_line_is_split_between_characters_and_buffers_a_bounded_number_of_bytes() {
        let mut lines = Lines::default();
        let text = format!("x{}", "ö".repeat(3 * MESSAGE_BYTES_MAX));
        let mut found = lines.push(text.as_bytes());
        assert!(lines.unfinished.len() < MESSAGE_BYTES_MAX);
        assert!(found.iter().all(|line| line.len() <= MESSAGE_BYTES_MAX));
        found.extend(lines.finish());
        assert_eq!(found.concat(), text);
    }

    #[test]
    fn the_last_lines_of_stderr_are_kept_until_the_next_call() {
        let telemetry = exesdb_supervisor::Telemetry::new();
        let registry = exesdb_supervisor::Registry::new();
        let context = ComponentContext::new(
            "s",
            "gateway",
            std::collections::BTreeMap::new(),
            Limits::default(),
            Clock::System,
            registry,
            telemetry,
        );
        let log = GuestLog::new(context, "path".into());
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
