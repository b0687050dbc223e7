//! `exesdb snapshot`: records, reads, lists and deletes states that were computed from streams.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::GatewayOptions;
use super::json::parse_json;
use crate::client::{Snapshot, SnapshotInfo, SnapshotScope, WhichSnapshot, present};
use crate::output::{Output, printable};

/// Maximum size of a snapshot, in bytes. One more byte is read, so that the gateway refuses it and names its limit.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 20;
/// The media type of snapshots that are sent and shown as JSON.
const JSON: &str = "application/json";

/// Options of `snapshot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo '{\"total\":12}' | exesdb snapshot put orders-1 41
  exesdb snapshot put orders-1 41 --file state.bin --content-type application/octet-stream
  exesdb snapshot put orders-1 41 --source invoice --file invoice.json
  exesdb snapshot latest orders-1 --at-most 40
  exesdb snapshot list                               every snapshot of the store
  exesdb snapshot list orders-1 --source invoice
  exesdb snapshot prune orders-1 --keep 3

A source is who computed a snapshot, such as a projection: each has its own snapshots of a stream.")]
pub struct SnapshotOptions {
    /// The action.
    #[command(subcommand)]
    pub action: Action,
}

/// The actions on snapshots.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Record the snapshot of a stream at a version, in place of an existing one.
    Put(PutOptions),
    /// Print the data of the snapshot at exactly this version.
    Get(GetOptions),
    /// Print the data of the snapshot with the highest version.
    Latest(LatestOptions),
    /// List snapshots: by stream, then by source, then the highest version first.
    List(ListOptions),
    /// Delete the snapshot at exactly this version.
    Delete(DeleteOptions),
    /// Delete all but the newest snapshots that a source has of a stream.
    Prune(PruneOptions),
}

/// Options of `snapshot put`.
#[derive(Debug, Args)]
pub struct PutOptions {
    /// The stream.
    pub stream: String,
    /// The version that the state was computed up to.
    pub version: u64,
    /// The source that computed it.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub source: String,
    /// The file with the state [default: stdin].
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// The state's media type.
    #[arg(long, default_value = JSON, value_name = "TYPE")]
    pub content_type: String,
    /// The metadata of the snapshot, as JSON.
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub metadata: Option<Box<RawValue>>,
    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `snapshot get`.
#[derive(Debug, Args)]
pub struct GetOptions {
    /// The stream.
    pub stream: String,
    /// The snapshot's version.
    pub version: u64,
    /// The source that computed it.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub source: String,
    /// Print the whole response of the gateway, as JSON.
    #[arg(long)]
    pub json: bool,
    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `snapshot latest`.
#[derive(Debug, Args)]
pub struct LatestOptions {
    /// The stream.
    pub stream: String,
    /// The source that computed it.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub source: String,
    /// Only snapshots at or below this version.
    #[arg(long, value_name = "VERSION")]
    pub at_most: Option<u64>,
    /// Print what the gateway sends: one JSON object per line.
    #[arg(long)]
    pub json: bool,
    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `snapshot list`.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Only those of this stream.
    pub stream: Option<String>,
    /// Only those of this source.
    #[arg(long)]
    pub source: Option<String>,
    /// Print what the gateway sends: one JSON object per line.
    #[arg(long)]
    pub json: bool,
    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `snapshot prune`.
#[derive(Debug, Args)]
pub struct PruneOptions {
    /// The stream.
    pub stream: String,
    /// The source that computed it.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub source: String,
    /// The number of snapshots to keep.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `snapshot delete`.
#[derive(Debug, Args)]
pub struct DeleteOptions {
    /// The stream.
    pub stream: String,
    /// The snapshot's version.
    pub version: u64,
    /// The source that computed it.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub source: String,
    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Runs the action.
pub async fn run(options: SnapshotOptions) -> anyhow::Result<()> {
    match options.action {
        Action::Put(options) => put(options).await,
        Action::Get(options) => {
            let which = WhichSnapshot::At(options.version);
            let client = options.gateway.client();
            show(&client.snapshot(&options.stream, &options.source, which).await?, options.json)
        }
        Action::Latest(options) => {
            let which = options.at_most.map_or(WhichSnapshot::Latest, WhichSnapshot::AtMost);
            let client = options.gateway.client();
            show(&client.snapshot(&options.stream, &options.source, which).await?, options.json)
        }
        Action::List(options) => list(options).await,
        Action::Delete(options) => {
            let client = options.gateway.client();
            Ok(client.delete_snapshot(&options.stream, &options.source, options.version).await?)
        }
        Action::Prune(options) => prune(options).await,
    }
}

async fn put(options: PutOptions) -> anyhow::Result<()> {
    let data = read_state(options.file.as_deref())?;
    let snapshot = snapshot(data, options.content_type.clone(), options.metadata.clone())?;
    let PutOptions { stream, source, version, gateway, .. } = &options;
    Ok(gateway.client().put_snapshot(stream, source, *version, &snapshot, None).await?)
}

fn read_state(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let mut data = Vec::new();
    let limit = SNAPSHOT_BYTES_MAX + 1;
    match file {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut data))
            .with_context(|| format!("{} cannot be read", path.display()))?,
        None => std::io::stdin().take(limit).read_to_end(&mut data).context("stdin cannot be read")?,
    };
    Ok(data)
}

/// A snapshot to be recorded: JSON is sent byte for byte, anything else in base64.
fn snapshot(
    data: Vec<u8>,
    content_type: String,
    metadata: Option<Box<RawValue>>,
) -> anyhow::Result<Snapshot> {
    if content_type != JSON {
        let data_base64 = Some(STANDARD.encode(data));
        return Ok(Snapshot {
            data: None,
            data_base64,
            content_type: Some(content_type),
            metadata,
            metadata_base64: None,
        });
    }
    let advice = "the state is not JSON; give its media type with --content-type";
    let text = String::from_utf8(data).context(advice)?;
    let data = RawValue::from_string(text.trim().to_owned()).context(advice)?;
    Ok(Snapshot { data: Some(data), data_base64: None, content_type: None, metadata, metadata_base64: None })
}

/// The members of a snapshot that are printed as data.
#[derive(Deserialize)]
struct Recorded {
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    data_base64: Option<String>,
}

fn show(raw: &RawValue, json: bool) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    if json {
        output.line(raw.get())?;
        return output.flush();
    }
    let unreadable = "the gateway's response cannot be read; is it an exesdb of another version?";
    let recorded: Recorded = serde_json::from_str(raw.get()).context(unreadable)?;
    match (recorded.data, recorded.data_base64) {
        (Some(data), _) => output.line(data.get())?,
        (None, Some(base64)) => output.bytes(&STANDARD.decode(base64).context(unreadable)?)?,
        (None, None) => {}
    }
    output.flush()
}

async fn list(options: ListOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let scope = SnapshotScope { stream: options.stream, source: options.source };
    let mut output = Output::stdout();
    // The first page is read before anything is printed, so that a failing command prints nothing.
    let mut page = client.snapshots(&scope, None).await?;
    if !options.json {
        output.line(format!(
            "{:>10}  {:>9}  {:<27}  {:<24}  STREAM",
            "VERSION", "BYTES", "CREATED", "CONTENT TYPE"
        ))?;
    }
    loop {
        for info in &page.snapshots {
            if options.json {
                output.line(serde_json::to_string(info)?)?;
            } else {
                output.line(listed(info))?;
            }
        }
        let Some(after) = page.next else { return output.flush() };
        page = client.snapshots(&scope, Some(&after)).await?;
    }
}

/// A line of the list.
fn listed(info: &SnapshotInfo) -> String {
    let source = match info.source.as_str() {
        "" => String::new(),
        source => format!(" ({})", printable(source)),
    };
    let [created, content_type, stream] =
        [&info.created, &info.content_type, &info.stream].map(|text| printable(text));
    format!("{:>10}  {:>9}  {created:<27}  {content_type:<24}  {stream}{source}", info.version, info.size)
}

async fn prune(options: PruneOptions) -> anyhow::Result<()> {
    let PruneOptions { stream, source, keep, gateway } = &options;
    let deleted = gateway.client().prune_snapshots(stream, source, *keep).await?;
    let mut output = Output::stdout();
    output.line(format!("{}: {deleted} snapshots deleted", printable(stream)))?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::snapshot;

    #[test]
    fn json_is_sent_byte_for_byte_and_the_rest_in_base64() {
        let cases: [(&[u8], &str, Option<&str>); 5] = [
            (b"{\"b\": 1.50}\n", "application/json", Some(r#"{"data":{"b": 1.50}}"#)),
            (&[0, 0xff], "x/y", Some(r#"{"data_base64":"AP8=","content_type":"x/y"}"#)),
            (b"", "x/y", Some(r#"{"data_base64":"","content_type":"x/y"}"#)),
            (b"{", "application/json", None),
            (&[0xff], "application/json", None),
        ];
        for (data, content_type, expected) in cases {
            let made = snapshot(data.to_vec(), content_type.to_owned(), None).ok();
            let json = made.map(|snapshot| serde_json::to_string(&snapshot).unwrap());
            assert_eq!(json.as_deref(), expected);
        }
    }
}
