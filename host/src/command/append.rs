//! `exesdb append`: one event from the command line, or many from stdin.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::connection::GatewayOptions;
use super::json::parse_json;
use crate::client::{AppendRequest, ExpectedVersion, NewEvent};
use crate::output::{Output, printable};

/// Maximum number of events in one append.
const APPEND_EVENTS_MAX: usize = 1_000;
/// Bytes of data and metadata in one append: the API takes 4 MiB with ids, types and punctuation.
const APPEND_BYTES_MAX: usize = 3 << 20;

/// Options of `append`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb append orders-1 --type placed --data '{\"total\":12}'
  exesdb append orders-1 --type placed --data '{}' --expected-version no_stream
  exesdb append orders-1 --type paid --data '{}' --tag customer:7 --tag region:eu
  jq -c '.[]' events.json | exesdb append orders-1 --type imported

Events from stdin are sent up to 1,000 at a time: each such append is made as a whole or not at all.")]
pub struct AppendOptions {
    /// The stream.
    pub stream: String,

    /// The type of the events.
    #[arg(long = "type", value_name = "TYPE")]
    pub event_type: String,

    /// The data of the event, as JSON; without it, each line of stdin is an event.
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub data: Option<Box<RawValue>>,

    /// The metadata of each event, as JSON.
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub metadata: Option<Box<RawValue>>,

    /// A tag by which each event can be found, such as `course:c1`; may be given several times.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,

    /// The event's id. An event that is appended again with the same id is not added again [default: a random UUID].
    #[arg(long, requires = "data")]
    pub id: Option<String>,

    /// The expected last version of the stream: any, no_stream, stream_exists or a number.
    #[arg(long, value_name = "VERSION", default_value = "any", allow_hyphen_values = true)]
    pub expected_version: ExpectedVersion,

    /// Print each response of the gateway: one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Appends the events and prints their versions and positions.
pub async fn run(options: AppendOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let mut output = Output::stdout();
    let rows = match &options.data {
        Some(data) => vec![data.clone()],
        None => read_lines(std::io::stdin().lock(), std::io::stdin().is_terminal())?,
    };
    let mut expected_version = options.expected_version;
    let mut sent = 0;
    for batch in batches(rows) {
        let count = batch.len();
        let events: Vec<NewEvent> = batch.into_iter().map(|data| event(&options, data)).collect();
        let request = AppendRequest { expected_version, events: &events };
        let name = |field: &str| argument_name(field, options.data.is_some(), sent);
        let appended = client.append(&options.stream, &request).await;
        let appended = appended.map_err(|error| error.renamed(name))?;
        sent += count;
        // The next batch is refused if somebody else wrote in between.
        if expected_version != ExpectedVersion::Any {
            expected_version = ExpectedVersion::Exact(appended.last_version);
        }
        if options.json {
            output.line(serde_json::to_string(&appended)?)?;
        } else {
            let stream = printable(&options.stream);
            let (first, last) = (appended.first_version, appended.last_version);
            let versions = if first == last {
                format!("version {first}")
            } else {
                format!("versions {first} to {last}")
            };
            output.line(format!("{stream}: {versions}, position {}", appended.position))?;
        }
        output.flush()?;
    }
    Ok(())
}

/// The name of an event's field in terms of the command line: an option, or the event's number on stdin. `sent` events were
/// sent before this request.
fn argument_name(field: &str, is_option: bool, sent: usize) -> Option<String> {
    let (index, name) = field.strip_prefix("events[")?.split_once("].")?;
    let name = name.split('[').next().unwrap_or(name);
    match name {
        "data" if is_option => Some("--data".to_owned()),
        "data" => Some(format!("event {} of stdin", sent + index.parse::<usize>().ok()? + 1)),
        "tags" => Some("--tag".to_owned()),
        "type" | "id" | "metadata" => Some(format!("--{name}")),
        _ => None,
    }
}

fn event(options: &AppendOptions, data: Box<RawValue>) -> NewEvent {
    NewEvent {
        id: options.id.clone().unwrap_or_else(|| Uuid::new_v4().to_string()),
        event_type: options.event_type.clone(),
        data,
        metadata: options.metadata.clone(),
        tags: options.tags.clone(),
    }
}

/// Reads the lines that are not blank, and checks all of them before anything is sent.
fn read_lines(input: impl BufRead, is_terminal: bool) -> anyhow::Result<Vec<Box<RawValue>>> {
    if is_terminal {
        bail!("there is nothing to append: give --data JSON, or pipe one JSON value a line");
    }
    let mut rows = Vec::new();
    for (index, line) in input.lines().enumerate() {
        let number = index + 1;
        let line = line.with_context(|| format!("stdin, line {number}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let row = RawValue::from_string(line)
            .with_context(|| format!("stdin, line {number} is not one JSON value (nothing was sent)"))?;
        rows.push(row);
    }
    ensure!(!rows.is_empty(), "stdin is empty: pipe one JSON value a line, or give --data JSON");
    Ok(rows)
}

/// Splits the rows, in order, according to the API's limits for one append.
fn batches(rows: Vec<Box<RawValue>>) -> Vec<Vec<Box<RawValue>>> {
    let mut batches: Vec<Vec<Box<RawValue>>> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let size = row.get().len();
        match batches.last_mut() {
            Some(batch) if batch.len() < APPEND_EVENTS_MAX && bytes + size <= APPEND_BYTES_MAX => {
                bytes += size;
                batch.push(row);
            }
            _ => {
                bytes = size;
                batches.push(vec![row]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::{APPEND_BYTES_MAX, argument_name, batches, read_lines};
    use serde_json::value::RawValue;

    #[test]
    fn stdin_is_checked_before_anything_is_sent() {
        let cases: [(&str, Result<&[&str], &str>); 5] = [
            ("{\"a\": 1}\n\n 2\n", Ok(&["{\"a\": 1}", "2"])),
            ("1\n{\n", Err("line 2 is not one JSON value")),
            ("1 2\n", Err("line 1 is not one JSON value")),
            ("\n\n", Err("stdin is empty")),
            ("", Err("stdin is empty")),
        ];
        for (text, expected) in cases {
            match (read_lines(text.as_bytes(), false), expected) {
                (Ok(rows), Ok(expected)) => {
                    let rows: Vec<&str> = rows.iter().map(|row| row.get()).collect();
                    assert_eq!(rows, expected);
                }
                (Err(error), Err(expected)) => assert!(format!("{error:#}").contains(expected), "{error:#}"),
                (rows, _) => panic!("{text:?}: {rows:?}"),
            }
        }
        assert!(read_lines(&b"\xff\n"[..], false).unwrap_err().to_string().contains("line 1"));
        assert!(read_lines(&b"1\n"[..], true).unwrap_err().to_string().contains("--data"));
    }

    #[test]
    fn a_field_of_an_event_is_named_by_its_option_or_line() {
        let cases = [
            ("events[0].data", true, Some("--data")),
            ("events[2].data", false, Some("event 1003 of stdin")),
            ("events[2].type", false, Some("--type")),
            ("events[0].tags[3]", true, Some("--tag")),
            ("events[0].id", true, Some("--id")),
            ("events[x].data", false, None),
            ("events[0].other", true, None),
            ("events", true, None),
            ("stream", true, None),
        ];
        for (field, is_option, expected) in cases {
            assert_eq!(argument_name(field, is_option, 1_000).as_deref(), expected, "{field}");
        }
    }

    #[test]
    fn batches_respect_the_limits_of_an_append() {
        let row = |size: usize| RawValue::from_string(format!("\"{}\"", "x".repeat(size - 2))).unwrap();
        let sizes = |rows: Vec<Box<RawValue>>| batches(rows).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![row(10); 2_001]), [1_000, 1_000, 1]);
        assert_eq!(sizes(vec![row(APPEND_BYTES_MAX / 2); 3]), [2, 1]);
        assert_eq!(sizes(vec![row(APPEND_BYTES_MAX * 2); 2]), [1, 1]);
    }
}
