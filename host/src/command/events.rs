//! `exesdb events`: the events of the supervision tree.

use std::fmt::Write as _;

use clap::Args;
use exesdb_supervisor::{EVENT_KINDS, Event};
use jiff::Timestamp;
use serde_json::Value;

use super::connection::ControlOptions;
use crate::control::{ControlClient, Request, Response};
use crate::output::{Output, printable};

/// Options of `events`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb events                            the latest that the host remembers
  exesdb events --follow --kind terminated --kind restarting    ends and restarts, and then those to come
  exesdb events --json | jq 'select(.path | startswith(\"host/main\"))'")]
pub struct EventsOptions {
    /// Wait for more, until Ctrl-C or the end of the host.
    #[arg(long, short)]
    pub follow: bool,

    /// Only events of this kind; may be given several times.
    #[arg(long = "kind", value_name = "KIND", value_parser = parse_kind)]
    pub kinds: Vec<String>,

    /// Print each event as one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The host.
    #[command(flatten)]
    pub control: ControlOptions,
}

/// Kinds of events that other parts of the host report than supervisors.
const OTHER_KINDS: [&str; 4] = ["breaker", "loaded", "membership", "trap"];

/// Checks that a kind exists: no event would ever match another.
fn parse_kind(text: &str) -> Result<String, String> {
    let kinds = || EVENT_KINDS.iter().chain(&OTHER_KINDS);
    if kinds().any(|kind| *kind == text) {
        return Ok(text.to_owned());
    }
    Err(format!("there are: {}", kinds().copied().collect::<Vec<_>>().join(", ")))
}

/// Prints the events.
pub async fn run(options: EventsOptions) -> anyhow::Result<()> {
    let mut client = ControlClient::connect(&options.control.data).await?;
    let request = Request::Events { follow: options.follow, kinds: options.kinds };
    let mut output = Output::stdout();
    let mut response = client.ask(&request).await?;
    loop {
        match &response {
            Response::Event { event } if options.json => output.line(serde_json::to_string(event)?)?,
            Response::Event { event } => output.line(text(event))?,
            Response::End => return output.flush(),
            other => return Err(client.unexpected(other).into()),
        }
        if options.follow {
            output.flush()?;
        }
        response = client.next().await?;
    }
}

/// An event for people: one line, and below it values of several lines, such as a backtrace.
fn text(event: &Event) -> String {
    let time =
        i64::try_from(event.at_micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let time = time.map_or_else(|| event.at_micros.to_string(), |time| format!("{time:.6}"));
    let mut text = format!("{time}  {:<12}  {}", printable(&event.kind), printable(&event.path));
    let mut below = String::new();
    let mut add = |key: &str, value: &Value| match value {
        Value::Null => {}
        Value::String(value) if value.trim_end().contains('\n') => {
            let _ = write!(below, "\n    {}:", printable(key));
            for line in value.trim_end().lines() {
                let _ = write!(below, "\n      {}", printable(line));
            }
        }
        Value::String(value) => {
            let _ = write!(text, "  {}={}", printable(key), printable(value.trim_end()));
        }
        other => {
            let _ = write!(text, "  {}={}", printable(key), printable(&other.to_string()));
        }
    };
    match &event.detail {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| add(key, value)),
        other => add("detail", other),
    }
    text + &below
}

#[cfg(test)]
mod tests {
    use super::{parse_kind, text};
    use exesdb_supervisor::Event;
    use serde_json::json;

    #[test]
    fn unknown_kinds_are_refused_with_the_list_of_known_ones() {
        for kind in ["terminated", "trap", "missed"] {
            assert_eq!(parse_kind(kind).as_deref(), Ok(kind));
        }
        let error = parse_kind("exti").unwrap_err();
        assert!(error.contains("terminated, ") && error.contains("trap"), "{error}");
    }

    #[test]
    fn an_event_is_a_line_with_its_backtrace_below() {
        let event = |detail| Event {
            seq: 1,
            at_micros: 1_000_001,
            path: "host/main".to_owned(),
            kind: "exit".to_owned(),
            detail,
        };
        let head = "1970-01-01T00:00:01.000001Z  exit          host/main";
        let cases = [
            (json!({}), String::new()),
            (json!(null), String::new()),
            (json!({"reason": "killed", "n": 2}), "  n=2  reason=killed".to_owned()),
            (json!(["a"]), "  detail=[\"a\"]".to_owned()),
            (
                json!({"backtrace": "0: a\n1: b\u{1b}\n", "reason": "trap\n"}),
                "  reason=trap\n    backtrace:\n      0: a\n      1: b\\u{1b}".to_owned(),
            ),
        ];
        for (detail, expected) in cases {
            assert_eq!(text(&event(detail)), format!("{head}{expected}"));
        }
        let mut far = event(json!({}));
        far.at_micros = u64::MAX;
        assert!(text(&far).starts_with("18446744073709551615  exit"));
    }
}
