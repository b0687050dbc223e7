//! `exesdb follow`: prints events as they are appended.

use std::time::Duration;

use clap::Args;

use super::connection::GatewayOptions;
use super::filter::FilterOptions;
use super::incomplete::Incomplete;
use super::print;
use crate::client::{Follow, FollowFrom};
use crate::output::Output;

/// The kind of problem for a position that is not in the store's history.
const HISTORY_CHANGED: &str = "history-changed";

/// Options of `follow`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb follow                          everything, then live
  exesdb follow orders-1 --from end      only what is appended to orders-1 from now on
  exesdb follow --tag customer:7         only events that have the tag
  exesdb follow --json | jq .type

After a restart of the host, the command continues after the last event that was printed. If the store was restored from a
backup meanwhile and does not have that event, the command ends and says so. When the stream is deleted for good, it ends
with exit code 3.")]
pub struct FollowOptions {
    /// The stream; without it, the whole store.
    pub stream: Option<String>,

    /// Where to begin, inclusive: a version of the stream, a position of the store (with its history, if known:
    /// `41@00f1e2d3c4b5a697`), or `end`.
    #[arg(long, value_name = "N|end", default_value = "0")]
    pub from: FollowFrom,

    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// How long to wait for a host that goes away meanwhile, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub retry_for: u64,

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

/// Prints events until their count is reached, the output is closed, or the host stays away.
pub async fn run(options: FollowOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let patience = Duration::from_secs(options.retry_for);
    let filter = options.filter.filter();
    if let FollowFrom::Event(from) = &options.from {
        from.check(options.stream.as_deref()).map_err(anyhow::Error::msg)?;
    }
    let mut follow = Follow::new(&client, options.stream.as_deref(), &filter, options.from, patience);
    let mut output = Output::stdout();
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        if !follow.is_ready() {
            // Show what there is before waiting for more.
            output.flush()?;
        }
        let event = match follow.next().await {
            Ok(event) => event,
            Err(error) if error.problem_kind() == HISTORY_CHANGED && follow.last_id().is_some() => {
                output.flush()?;
                let last = follow.last_id().unwrap_or_default();
                let what = format!(
                    "the store was restored from a backup while it was followed, and the last event printed ({last}) is \
                     not in it any more; drop what was printed beyond the backup, and follow again from there"
                );
                return Err(anyhow::Error::new(error).context(what));
            }
            Err(error) if error.problem_kind() == "stream-deleted" => {
                output.flush()?;
                return Err(Incomplete(format!("nothing more can come: {error}")).into());
            }
            Err(error) => return Err(error.into()),
        };
        print::event(&mut output, &event, options.json)?;
        left -= 1;
    }
    output.flush()
}
