//! Progress of a command on stderr: a bar on a terminal, otherwise a line every few seconds.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// Time between two lines where stderr is no terminal: often enough to see progress, and a log stays short.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of a command.
pub(super) struct Progress {
    bar: ProgressBar,
    /// The name of what is counted, in the plural; none for bytes.
    things: Option<&'static str>,
    total: Option<u64>,
    /// The time of the last line; none on a terminal.
    last_line: Option<Cell<Instant>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("done", &self.bar.position()).finish_non_exhaustive()
    }
}

/// A bar for a known total. `things` names what is counted, in the plural.
pub(super) fn bar(total: u64, things: &'static str) -> Progress {
    let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {things}  {{per_sec}}  {{eta}} left");
    Progress::new(ProgressBar::new(total), &template, Some(things), Some(total))
}

/// A count for an unknown total. `things` names what is counted, in the plural.
pub(super) fn count(things: &'static str) -> Progress {
    let template = format!("{{spinner}} {{human_pos}} {things}  {{per_sec}}  {{elapsed}}");
    Progress::new(ProgressBar::no_length(), &template, Some(things), None)
}

/// A count of bytes for an unknown total, with a message after it.
pub(super) fn bytes() -> Progress {
    let template = "{spinner} {bytes}  {bytes_per_sec}  {elapsed}  {msg}";
    Progress::new(ProgressBar::no_length(), template, None, None)
}

impl Progress {
    fn new(bar: ProgressBar, template: &str, things: Option<&'static str>, total: Option<u64>) -> Progress {
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let last_line = (!io::stderr().is_terminal()).then(|| Cell::new(Instant::now()));
        Progress { bar: bar.with_style(style), things, total, last_line }
    }

    /// Adds to the count.
    pub(super) fn inc(&self, more: u64) {
        self.bar.inc(more);
        self.print_line();
    }

    /// Sets the count.
    pub(super) fn set_position(&self, done: u64) {
        self.bar.set_position(done);
        self.print_line();
    }

    /// Sets the message that is shown with the count.
    pub(super) fn set_message(&self, message: impl Into<Cow<'static, str>>) {
        self.bar.set_message(message);
    }

    /// Removes the bar.
    pub(super) fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }

    fn print_line(&self) {
        let Some(last_line) = &self.last_line else { return };
        if last_line.get().elapsed() < LINE_EVERY {
            return;
        }
        last_line.set(Instant::now());
        let text = line(self.things, self.bar.position(), self.total, self.bar.elapsed());
        // If stderr is closed, nobody reads it.
        let _ = writeln!(io::stderr(), "exesdb: {text} {}", self.bar.message());
    }
}

/// The line for a stderr that is no terminal.
fn line(things: Option<&str>, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match (things, total) {
        (None, _) => format!("{} in {seconds} s", HumanBytes(done)),
        (Some(things), None) => format!("{} {things} in {seconds} s", HumanCount(done)),
        (Some(things), Some(total)) => {
            format!("{} of {} {things} in {seconds} s", HumanCount(done), HumanCount(total))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::line;

    #[test]
    fn a_line_has_count_total_and_time() {
        let cases = [
            (Some("rows"), Some(2_000_000), "1,234,567 of 2,000,000 rows in 10 s"),
            (Some("lines"), None, "1,234,567 lines in 10 s"),
            (None, None, "1.18 MiB in 10 s"),
        ];
        for (things, total, expected) in cases {
            assert_eq!(line(things, 1_234_567, total, Duration::from_secs(10)), expected);
        }
    }
}
