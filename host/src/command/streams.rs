//! `exesdb streams`: lists the names of streams, page by page.

use clap::Args;

use super::connection::GatewayOptions;
use crate::output::{Output, printable};

/// Options of `streams`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb streams
  exesdb streams --prefix orders- | wc -l
  exesdb streams --deleted                         those that were deleted too")]
pub struct StreamsOptions {
    /// Only names that begin with this.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,

    /// Also list streams that were deleted and not started again, and those with a tombstone.
    #[arg(long)]
    pub deleted: bool,

    /// Print each name as a JSON string.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Prints the names, in byte order.
pub async fn run(options: StreamsOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let mut output = Output::stdout();
    let mut after: Option<String> = None;
    loop {
        let page = client.streams(&options.prefix, after.as_deref(), options.deleted).await?;
        for name in &page.streams {
            if options.json {
                output.line(serde_json::to_string(name)?)?;
            } else {
                output.line(printable(name))?;
            }
        }
        after = page.streams.into_iter().next_back();
        if !page.more || after.is_none() {
            return output.flush();
        }
    }
}
