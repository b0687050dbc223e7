//! `exesdb snapshot`: states computed from streams, kept by version.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::append::parse_json;
use crate::cli::GatewayOptions;
use crate::client::{Client, Snapshot};
use crate::output::{Output, printable};

/// Bytes of a snapshot: the most that the API takes. One byte more is read, so that the gateway names its limit.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 20;
/// The media type of snapshots that are sent and shown as JSON.
const JSON: &str = "application/json";

/// Options of `snapshot`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  echo '{\"total\":12}' | exesdb snapshot put orders-1 41
  exesdb snapshot put orders-1 41 --file state.bin --content-type application/octet-stream
  exesdb snapshot latest orders-1
  exesdb snapshot list orders-1")]
pub struct SnapshotOptions {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What can be done with snapshots.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Record the snapshot of a stream at a version, replacing one that is there.
    Put(PutOptions),
    /// Print the data of the snapshot at exactly this version.
    Get(GetOptions),
    /// Print the data of the snapshot with the highest version.
    Latest(LatestOptions),
    /// List the snapshots of a stream, highest version first.
    List(LatestOptions),
    /// Delete the snapshot at exactly this version.
    Delete(DeleteOptions),
}

/// Options of `snapshot put`.
#[derive(Debug, Args)]
pub struct PutOptions {
    /// The stream.
    pub stream: String,
    /// The version that the state was computed up to.
    pub version: u64,
    /// Where the state is [default: stdin].
    #[arg(long)]
    pub file: Option<PathBuf>,
    /// The state's media type.
    #[arg(long, default_value = JSON, value_name = "TYPE")]
    pub content_type: String,
    /// About the snapshot, as JSON.
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub metadata: Option<Box<RawValue>>,
    /// Which store.
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
    /// Print the whole answer of the gateway, as JSON.
    #[arg(long)]
    pub json: bool,
    /// Which store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `snapshot latest` and `snapshot list`.
#[derive(Debug, Args)]
pub struct LatestOptions {
    /// The stream.
    pub stream: String,
    /// Print what the gateway gives: one JSON object a line.
    #[arg(long)]
    pub json: bool,
    /// Which store.
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
    /// Which store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Does what was asked.
pub async fn run(options: SnapshotOptions) -> anyhow::Result<()> {
    match options.action {
        Action::Put(options) => put(options).await,
        Action::Get(options) => {
            let client = options.gateway.client();
            show(&client.snapshot(&options.stream, Some(options.version)).await?, options.json)
        }
        Action::Latest(options) => {
            let client = options.gateway.client();
            show(&client.snapshot(&options.stream, None).await?, options.json)
        }
        Action::List(options) => list(&options.gateway.client(), &options.stream, options.json).await,
        Action::Delete(options) => {
            let client = options.gateway.client();
            Ok(client.delete_snapshot(&options.stream, options.version).await?)
        }
    }
}

async fn put(options: PutOptions) -> anyhow::Result<()> {
    let data = read_state(options.file.as_deref())?;
    let snapshot = snapshot(data, options.content_type, options.metadata)?;
    Ok(options.gateway.client().put_snapshot(&options.stream, options.version, &snapshot).await?)
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

/// JSON travels as it was written, anything else in base64.
fn snapshot(
    data: Vec<u8>,
    content_type: String,
    metadata: Option<Box<RawValue>>,
) -> anyhow::Result<Snapshot> {
    if content_type != JSON {
        let data_base64 = Some(STANDARD.encode(data));
        return Ok(Snapshot { data: None, data_base64, content_type: Some(content_type), metadata });
    }
    let advice = "the state is not JSON; give its media type with --content-type";
    let text = String::from_utf8(data).context(advice)?;
    let data = RawValue::from_string(text.trim().to_owned()).context(advice)?;
    Ok(Snapshot { data: Some(data), data_base64: None, content_type: None, metadata })
}

/// The part of a snapshot's JSON that is printed as data.
#[derive(Deserialize)]
struct Recorded {
    #[serde(default)]
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
    let answer = "the gateway's answer cannot be read; is it an exesdb of another version?";
    let recorded: Recorded = serde_json::from_str(raw.get()).context(answer)?;
    match (recorded.data, recorded.data_base64) {
        (Some(data), _) => output.line(data.get())?,
        (None, Some(base64)) => output.bytes(&STANDARD.decode(base64).context(answer)?)?,
        (None, None) => {}
    }
    output.flush()
}

async fn list(client: &Client, stream: &str, json: bool) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    let mut before = None;
    if !json {
        output.line(format!("{:>10}  {:>9}  {:<27}  CONTENT TYPE", "VERSION", "BYTES", "CREATED"))?;
    }
    loop {
        let page = client.snapshots(stream, before).await?;
        for info in &page.snapshots {
            if json {
                output.line(serde_json::to_string(info)?)?;
            } else {
                let (created, content_type) = (printable(&info.created), printable(&info.content_type));
                output
                    .line(format!("{:>10}  {:>9}  {created:<27}  {content_type}", info.version, info.size))?;
            }
        }
        before = page.snapshots.last().map(|info| info.version);
        if !page.more || before.is_none() {
            return output.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::snapshot;

    #[test]
    fn json_travels_as_written_and_the_rest_in_base64() {
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
