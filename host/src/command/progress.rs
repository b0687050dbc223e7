//! How far a command has come, on stderr: a bar where that is a terminal, otherwise a line every few seconds.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// How long nothing is said where there is no terminal: often enough to see that it goes on, and a log stays short.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How far a command has come.
pub(super) struct Progress {
    bar: ProgressBar,
    /// What is counted, in the plural; bytes otherwise.
    things: Option<&'static str>,
    total: Option<u64>,
    /// When the last line was written; none where there is a terminal.
    said: Option<Cell<Instant>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("done", &self.bar.position()).finish_non_exhaustive()
    }
}

/// A bar of so many things; what they are, in the plural, is `things`.
pub(super) fn bar(total: u64, things: &'static str) -> Progress {
    let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {things}  {{per_sec}}  {{eta}} left");
    Progress::new(ProgressBar::new(total), &template, Some(things), Some(total))
}

/// A count of things whose total is not known.
pub(super) fn count(things: &'static str) -> Progress {
    let template = format!("{{spinner}} {{human_pos}} {things}  {{per_sec}}  {{elapsed}}");
    Progress::new(ProgressBar::no_length(), &template, Some(things), None)
}

/// A count of bytes whose total is not known, with a message after it.
pub(super) fn bytes() -> Progress {
    let template = "{spinner} {bytes}  {bytes_per_sec}  {elapsed}  {msg}";
    Progress::new(ProgressBar::no_length(), template, None, None)
}

impl Progress {
    fn new(bar: ProgressBar, template: &str, things: Option<&'static str>, total: Option<u64>) -> Progress {
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let said = (!io::stderr().is_terminal()).then(|| Cell::new(Instant::now()));
        Progress { bar: bar.with_style(style), things, total, said }
    }

    /// So many more.
    pub(super) fn inc(&self, more: u64) {
        self.bar.inc(more);
        self.say();
    }

    /// So many in all.
    pub(super) fn set_position(&self, done: u64) {
        self.bar.set_position(done);
        self.say();
    }

    /// Something to show with the count.
    pub(super) fn set_message(&self, message: impl Into<Cow<'static, str>>) {
        self.bar.set_message(message);
    }

    /// Takes the bar away.
    pub(super) fn finish_and_clear(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self) {
        let Some(said) = &self.said else { return };
        if said.get().elapsed() < LINE_EVERY {
            return;
        }
        said.set(Instant::now());
        let text = line(self.things, self.bar.position(), self.total, self.bar.elapsed());
        // Nobody's loss if nobody reads it.
        let _ = writeln!(io::stderr(), "exesdb: {text} {}", self.bar.message());
    }
}

/// What is said where there is no terminal.
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
    fn a_line_says_how_far_it_is() {
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
