//! `exesdb transact`: appends to several streams, or to none.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::connection::GatewayOptions;
use crate::client::StreamAppended;
use crate::output::{Output, printable};

/// Maximum size of a transaction, in bytes: more than the API takes, so that the gateway refuses it and names its limit.
const TRANSACTION_BYTES_MAX: u64 = 16 << 20;

/// Options of `transact`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb transact transfer.json
  echo '{\"appends\":[{\"stream\":\"a\",\"events\":[{\"id\":\"1\",\"type\":\"out\",\"data\":5}]},
                   {\"stream\":\"b\",\"expected_version\":3,\"events\":[{\"id\":\"1\",\"type\":\"in\",\"data\":5}]}],
        \"checks\":[{\"stream\":\"rates\",\"expected_version\":7}],
        \"conditions\":[{\"query\":[{\"types\":[\"closed\"],\"tags\":[\"account:a\"]}],\"after\":41}]}' | exesdb transact -

Nothing is appended unless every expected version, check and condition holds. A condition fails if an event that
matches its query was added after position `after`. With the `history` of the page that was read, a position that the store
has left is refused. With the same ids, a transaction that is sent again is made only once.")]
pub struct TransactOptions {
    /// The transaction, as JSON: the body of POST /transactions; `-` is stdin.
    pub file: PathBuf,

    /// Print each result as the gateway sends it, with the history of its position: one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Sends the transaction and prints the versions and positions of its events.
pub async fn run(options: TransactOptions) -> anyhow::Result<()> {
    let transaction = read(&options.file)?;
    let client = options.gateway.client();
    let transacted = client.transact(&transaction).await?;
    let mut output = Output::stdout();
    let unreadable = "the gateway's response cannot be read; is it an exesdb of another version?";
    for result in &transacted.results {
        if options.json {
            let mut result: Map<String, Value> = serde_json::from_str(result.get()).context(unreadable)?;
            result.extend(transacted.history.clone().map(|history| ("history".to_owned(), history.into())));
            output.line(serde_json::to_string(&result)?)?;
            continue;
        }
        let appended: StreamAppended = serde_json::from_str(result.get()).context(unreadable)?;
        let StreamAppended { stream, first_version, last_version, position } = appended;
        let stream = printable(&stream);
        output.line(format!("{stream}: versions {first_version} to {last_version}, position {position}"))?;
    }
    output.flush()
}

fn read(file: &Path) -> anyhow::Result<Box<RawValue>> {
    let mut text = String::new();
    let limit = TRANSACTION_BYTES_MAX + 1;
    let name = if file.as_os_str() == "-" {
        std::io::stdin().take(limit).read_to_string(&mut text).context("stdin cannot be read")?;
        "stdin".to_owned()
    } else {
        let name = file.display().to_string();
        std::fs::File::open(file)
            .and_then(|file| file.take(limit).read_to_string(&mut text))
            .with_context(|| format!("{name} cannot be read"))?;
        name
    };
    let wrong = || format!("{name} is not one JSON object with `appends` (nothing was sent)");
    let transaction = RawValue::from_string(text.trim().to_owned()).with_context(wrong)?;
    ensure!(transaction.get().starts_with('{'), wrong());
    Ok(transaction)
}
