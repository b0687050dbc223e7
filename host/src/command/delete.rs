//! `exesdb delete`: the end of a stream.

use clap::Args;

use crate::cli::GatewayOptions;
use crate::client::ExpectedVersion;
use crate::output::{Output, printable};

/// Options of `delete`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb delete orders-1                             an append begins it again, and goes on counting
  exesdb delete orders-1 --expected-version 41
  exesdb delete orders-1 --tombstone                 for good: nothing can be appended any more

The events are hidden at once. `exesdb scavenge` frees their room; their positions are not given away again.")]
pub struct DeleteOptions {
    /// The stream.
    pub stream: String,

    /// For good: no append is taken any more.
    #[arg(long)]
    pub tombstone: bool,

    /// What the stream's last version must be: any, stream_exists or a number.
    #[arg(long, value_name = "VERSION", default_value = "any", allow_hyphen_values = true)]
    pub expected_version: ExpectedVersion,

    /// Which store.
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
