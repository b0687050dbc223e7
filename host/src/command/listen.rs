//! `exesdb listen`: prints what a topic says from now on.

use std::time::Duration;

use clap::Args;

use super::connection::GatewayOptions;
use super::print;
use crate::client::{Dropped, Heard, Listen, notify};
use crate::output::Output;

/// Options of `listen`.
#[derive(Debug, Args)]
#[command(after_help = "\
Topics of events:  $all  stream:NAME  type:NAME  tag:NAME  pattern:JSON
Topics about the store:  $health  $metrics  $lifecycle  $alerts  $subscriptions

Examples:
  exesdb listen '$all'                          every event that is appended from now on
  exesdb listen type:order-placed --json | jq .data
  exesdb listen 'pattern:{\"data\":{\"country\":\"BE\"}}'
  exesdb listen '$alerts'                       crashes, open circuit breakers, halted subscriptions

Nothing is acknowledged or remembered: `follow` and `consume` miss nothing, this does. If events come faster than they are
printed, some are left out, and stderr says which. After a restart of the host, the command goes on with what is new.")]
pub struct ListenOptions {
    /// The topic.
    pub topic: String,

    /// Stop after this many events or records.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// How long to wait for a host that goes away meanwhile, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub retry_for: u64,

    /// Print each event or record as the gateway sends it: one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Prints what is heard until its count is reached, the output is closed, or the host stays away.
pub async fn run(options: ListenOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let mut listen = Listen::new(&client, &options.topic, Duration::from_secs(options.retry_for));
    let mut output = Output::stdout();
    let mut left = options.count.unwrap_or(u64::MAX);
    while left > 0 {
        if !listen.is_ready() {
            // Show what there is before waiting for more.
            output.flush()?;
        }
        match listen.next().await? {
            Heard::Event(event) => print::event(&mut output, &event, options.json)?,
            Heard::Record(record) => print::record(&mut output, &record, options.json)?,
            Heard::Dropped(dropped) => {
                note(&mut output, &words(dropped))?;
                continue;
            }
            Heard::Again => {
                note(&mut output, "listening again; what happened in between was not heard")?;
                continue;
            }
        }
        left -= 1;
    }
    output.flush()
}

/// Says something on stderr, after what was printed before it.
fn note(output: &mut Output, text: &str) -> anyhow::Result<()> {
    output.flush()?;
    notify(text);
    Ok(())
}

fn words(Dropped { from, until, events }: Dropped) -> String {
    format!("dropped {events}: those from {from} to {}", until.saturating_sub(1))
}
