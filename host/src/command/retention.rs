//! `exesdb retention`: sets and shows how long the events of a stream are kept.

use clap::{ArgGroup, Args};

use super::connection::GatewayOptions;
use crate::client::{Retention, StreamInfo, StreamState};
use crate::output::{Output, printable};

/// Seconds of each unit of a duration.
const UNITS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

/// Options of `retention`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("limits")
        .args(["max_count", "max_age", "truncate_before", "unlimited", "show"])
        .required(true)
        .multiple(true),
    after_help = "\
Examples:
  exesdb retention sensor-1 --max-count 1000 --max-age 30d
  exesdb retention orders-1 --truncate-before 40     versions 0 to 39 are hidden
  exesdb retention sensor-1 --unlimited              hidden events stay hidden
  exesdb retention sensor-1 --show

The limits replace all those that were set before. An event outside any limit is hidden at once; `exesdb scavenge` frees
its space."
)]
pub struct RetentionOptions {
    /// The stream.
    pub stream: String,

    /// Keep only this many of the newest events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_count: Option<u64>,

    /// Keep only events that were appended within this time: a number and s, m, h, d or w, such as 30d.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_age: Option<u64>,

    /// Keep only events from this version on. A version beyond the end hides all existing events, and none that is appended
    /// later.
    #[arg(long, value_name = "VERSION")]
    pub truncate_before: Option<u64>,

    /// Keep everything from now on.
    #[arg(long, conflicts_with_all = ["max_count", "max_age", "truncate_before"])]
    pub unlimited: bool,

    /// Change nothing, and show the limits.
    #[arg(long, conflicts_with_all = ["max_count", "max_age", "truncate_before", "unlimited"])]
    pub show: bool,

    /// Print the limits as JSON.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Parses a duration into seconds, at least one.
fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || "write a number and a unit: 90s, 15m, 12h, 30d or 4w".to_owned();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(*seconds) {
        Some(0) => {
            Err("0 would hide every event at once; `exesdb delete` does that, and 1s is the least".to_owned())
        }
        Some(seconds) => Ok(seconds),
        None => Err("that is more seconds than can be counted; --unlimited keeps everything".to_owned()),
    }
}

/// Sets the limits, if any were given, and shows them.
pub async fn run(options: RetentionOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    if !options.show {
        let retention = Retention {
            max_count: options.max_count,
            max_age_seconds: options.max_age,
            truncate_before: options.truncate_before,
        };
        client.set_retention(&options.stream, &retention).await?;
    }
    let info = client.stream_info(&options.stream).await?;
    let mut output = Output::stdout();
    if options.json {
        output.line(serde_json::to_string(&info.retention)?)?;
    } else {
        output.line(format!("{}: {}", printable(&options.stream), text(&info)))?;
    }
    output.flush()
}

fn text(info: &StreamInfo) -> String {
    let Retention { max_count, max_age_seconds, truncate_before } = &info.retention;
    let limits: Vec<String> = [
        max_count.map(|count| format!("the newest {count} events")),
        max_age_seconds.map(|seconds| format!("events of the last {}", duration_text(seconds))),
        truncate_before.map(|version| format!("events from version {version} on")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let keeps = if limits.is_empty() {
        "keeps everything".to_owned()
    } else {
        format!("keeps {}", limits.join(", "))
    };
    let has = match (info.state, info.first_version) {
        (StreamState::Deleted, None) => format!("deleted at version {}", info.last_version),
        (StreamState::Tombstoned, _) => "deleted for good".to_owned(),
        (_, None) => format!("nothing is kept up to version {}", info.last_version),
        (_, Some(first)) => format!("has versions {first} to {}", info.last_version),
    };
    format!("{keeps}; {has}")
}

/// A duration in the largest unit that needs no fraction.
fn duration_text(seconds: u64) -> String {
    let fits = UNITS.iter().rev().find(|(_, unit)| seconds.is_multiple_of(*unit));
    let (name, unit) = fits.unwrap_or(&UNITS[0]);
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::{duration_text, parse_duration, text};
    use crate::client::{Retention, StreamInfo, StreamState};

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let cases = [
            ("1s", Some((1, "1s"))),
            ("90s", Some((90, "90s"))),
            ("60m", Some((3_600, "1h"))),
            ("12h", Some((43_200, "12h"))),
            ("30d", Some((2_592_000, "30d"))),
            ("2w", Some((1_209_600, "2w"))),
            ("0s", None),
            ("", None),
            ("5", None),
            ("d", None),
            ("-1d", None),
            ("1.5h", None),
            ("1y", None),
            ("18446744073709551615w", None),
            ("99999999999999999999s", None),
        ];
        for (given, expected) in cases {
            let seconds = parse_duration(given).ok();
            assert_eq!(
                seconds.map(|it| (it, duration_text(it))),
                expected.map(|(it, text)| (it, text.to_owned()))
            );
        }
    }

    #[test]
    fn limits_and_state_are_one_line() {
        let info = |state, first_version, retention| StreamInfo {
            state,
            first_version,
            last_version: 9,
            life_begins: None,
            retention,
            created: String::new(),
            updated: String::new(),
        };
        let all = Retention { max_count: Some(5), max_age_seconds: Some(86_400), truncate_before: Some(3) };
        let cases = [
            (info(StreamState::Live, Some(0), Retention::default()), "keeps everything; has versions 0 to 9"),
            (
                info(StreamState::Live, Some(5), all),
                "keeps the newest 5 events, events of the last 1d, events from version 3 on; has versions 5 to 9",
            ),
            (
                info(StreamState::Live, None, Retention::default()),
                "keeps everything; nothing is kept up to version 9",
            ),
            (
                info(StreamState::Deleted, None, Retention::default()),
                "keeps everything; deleted at version 9",
            ),
            (info(StreamState::Tombstoned, None, Retention::default()), "keeps everything; deleted for good"),
        ];
        for (info, expected) in cases {
            assert_eq!(text(&info), expected);
        }
    }
}
