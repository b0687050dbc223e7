//! `exesdb read`: events of a stream, or of the whole store, page by page.

use clap::Args;

use super::filter::FilterOptions;
use super::print;
use crate::cli::GatewayOptions;
use crate::client::{Direction, PAGE_COUNT_MAX};
use crate::output::Output;

/// Options of `read`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb read                                          the whole store, oldest first
  exesdb read orders-1 --from 10 --count 5             versions 10 to 14
  exesdb read orders-1 --direction backward --count 1  the last event
  exesdb read --type placed --type paid --tag customer:7   of one of the types, with all of the tags
  exesdb read --query '[{\"types\":[\"placed\"]},{\"tags\":[\"customer:7\"]}]'   one or the other
  exesdb read --json | jq .type")]
pub struct ReadOptions {
    /// The stream; without it, the whole store.
    pub stream: Option<String>,

    /// Where to begin, inclusive: a version of the stream, or a position of the store [default: the first event,
    /// backward the last].
    #[arg(long, value_name = "N")]
    pub from: Option<u64>,

    /// How many events at most [default: all].
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Oldest or newest first.
    #[arg(long, value_enum, default_value = "forward")]
    pub direction: Direction,

    /// Which events of the whole store.
    #[command(flatten)]
    pub filter: FilterOptions,

    /// Print each event as the gateway gives it: one JSON object a line.
    #[arg(long)]
    pub json: bool,

    /// Which store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Prints the events.
pub async fn run(options: ReadOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let mut output = Output::stdout();
    let filter = options.filter.filter();
    let mut from = options.from;
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        let count = left.min(PAGE_COUNT_MAX);
        let page = client.read(options.stream.as_deref(), &filter, from, count, options.direction).await?;
        for event in &page.events {
            print::event(&mut output, event, options.json)?;
        }
        left = left.saturating_sub(page.events.len() as u64);
        // A filtered page may be empty and not the last.
        if page.end || page.next.is_none() || (page.events.is_empty() && page.next == from) {
            break;
        }
        from = page.next;
    }
    output.flush()
}
