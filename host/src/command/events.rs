//! `exesdb events`: the events of the supervision tree.

use clap::Args;
use exesdb_supervisor::EVENT_KINDS;

use super::connection::ControlOptions;
use super::print;
use crate::control::{ControlClient, Request, Response};
use crate::output::Output;

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
const OTHER_KINDS: [&str; 7] =
    ["breaker", "loaded", "membership", "quarantined", "sink", "subscription", "trap"];

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
            Response::Event { event } => output.line(print::happened(event))?,
            Response::End => return output.flush(),
            other => return Err(client.unexpected(other).into()),
        }
        if options.follow {
            output.flush()?;
        }
        response = client.next().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::parse_kind;

    #[test]
    fn unknown_kinds_are_refused_with_the_list_of_known_ones() {
        for kind in ["terminated", "trap", "missed"] {
            assert_eq!(parse_kind(kind).as_deref(), Ok(kind));
        }
        let error = parse_kind("exti").unwrap_err();
        assert!(error.contains("terminated, ") && error.contains("trap"), "{error}");
    }
}
