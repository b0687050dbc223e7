//! How far a command has come, on stderr and only where that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar of so many things; what they are, in the plural, is `things`.
pub(super) fn bar(total: u64, things: &str) -> ProgressBar {
    let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {things}  {{per_sec}}  {{eta}} left");
    ProgressBar::new(total).with_style(style(&template))
}

/// A count of things whose total is not known.
pub(super) fn count(things: &str) -> ProgressBar {
    let template = format!("{{spinner}} {{human_pos}} {things}  {{per_sec}}  {{elapsed}}");
    ProgressBar::no_length().with_style(style(&template))
}

/// A count of bytes whose total is not known, with a message behind it.
pub(super) fn bytes() -> ProgressBar {
    ProgressBar::no_length().with_style(style("{spinner} {bytes}  {bytes_per_sec}  {elapsed}  {msg}"))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}
