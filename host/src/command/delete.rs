//! `exesdb delete`: deletes a stream.

use clap::Args;

use super::connection::GatewayOptions;
use crate::client::ExpectedVersion;
use crate::output::{Output, printable};

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb delete orders-1                             an append starts it again, and continues its versions
  exesdb delete orders-1 --expected-version 41
  exesdb delete orders-1 --tombstone                 for good: nothing can be appended any more

The events are hidden at once. `exesdb scavenge` frees their space; their positions are not used again.")]
pub struct DeleteOptions {
    /// The stream.
    pub stream: String,

    /// For good: the stream refuses all appends from then on.
    #[arg(long)]
    pub tombstone: bool,

    /// The expected last version of the stream: any, stream_exists or a number.
    #[arg(long, value_name = "VERSION", default_value = "any", allow_hyphen_values = true)]
    pub expected_version: ExpectedVersion,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Deletes the stream.
pub async fn run(options: DeleteOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    client.delete_stream(&options.stream, options.expected_version, options.tombstone).await?;
    let stream = printable(&options.stream);
    let mut output = Output::stdout();
    if options.tombstone {
        output.line(format!("{stream}: deleted for good"))?;
    } else {
        output.line(format!("{stream}: deleted"))?;
    }
    output.flush()
}
