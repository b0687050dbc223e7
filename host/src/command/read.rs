//! `exesdb read`: prints events of a stream, or of the whole store, page by page.

use clap::Args;

use super::connection::GatewayOptions;
use super::filter::FilterOptions;
use super::print;
use crate::client::{Direction, PAGE_COUNT_MAX, ReadFrom};
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
    /// backward the last]. A position may name its history (`41@00f1e2d3c4b5a697`): it is refused if the store left that
    /// history before the position, because it was restored from a backup.
    #[arg(long, value_name = "N")]
    pub from: Option<ReadFrom>,

    /// The maximum number of events [default: all].
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Oldest or newest first.
    #[arg(long, value_enum, default_value = "forward")]
    pub direction: Direction,

    /// Print each event as the gateway sends it: one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,

    /// The filters. They come last, because their heading applies to all options after it.
    #[command(flatten)]
    pub filter: FilterOptions,
}

/// Prints the events.
pub async fn run(options: ReadOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let mut output = Output::stdout();
    let filter = options.filter.filter();
    let mut from = options.from;
    if let Some(from) = &from {
        from.check(options.stream.as_deref()).map_err(anyhow::Error::msg)?;
    }
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        let count = left.min(PAGE_COUNT_MAX);
        let page = client.read(options.stream.as_deref(), &filter, from, count, options.direction).await?;
        for event in &page.events {
            print::event(&mut output, event, options.json)?;
        }
        left = left.saturating_sub(page.events.len() as u64);
        // A filtered page may be empty and not the last.
        let Some(next) = page.next.filter(|_| !page.end) else { break };
        if page.events.is_empty() && from.is_some_and(|from| from.number == next) {
            break;
        }
        // Positions of the next page must belong to the history of this page. Versions belong to no history.
        let history = page.history.filter(|_| options.stream.is_none());
        from = Some(ReadFrom { number: next, history: history.and_then(|history| history.parse().ok()) });
    }
    output.flush()
}
