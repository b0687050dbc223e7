//! `exesdb consume`: prints what a durable subscription delivers, and acknowledges what it has printed.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::connection::GatewayOptions;
use super::print;
use crate::client::{Batch, Client, ClientError, Retry, Settlement};
use crate::output::Output;

/// How long one request waits for events, in milliseconds.
const WAIT_MS: u32 = 20_000;

/// The kind of problem of a consumer that was cut off, or that another run of the host had.
const NO_CONSUMER: &str = "consumer-not-found";

/// Options of `consume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb subscription create invoices --type order-placed
  exesdb consume invoices --json | while read -r event; do ./invoice \"$event\"; done
  exesdb consume invoices --count 100

An event is acknowledged when it was written, with those that came together with it. What was not acknowledged is delivered
again, to this command or another one: at least once, whatever ends. After a restart of the host, the command goes on.")]
pub struct ConsumeOptions {
    /// The durable subscription.
    pub name: String,

    /// Events that are delivered before they are acknowledged.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub window: u32,

    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// Stop when nothing was delivered for this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub idle_for: Option<u32>,

    /// How long to wait for a host that goes away meanwhile, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub retry_for: u64,

    /// Print each event as one JSON object per line, with its stream, version and position.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// The place of an event.
#[derive(Deserialize)]
struct Delivered {
    delivery: Delivery,
}

#[derive(Deserialize)]
struct Delivery {
    place: u64,
}

/// Prints events until their count is reached, the output is closed, Ctrl-C is pressed, or the host stays away.
pub async fn run(options: ConsumeOptions) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let mut consumer = None;
    let consumed = tokio::select! {
        consumed = consume(&options, &client, &mut consumer) => consumed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    if let Some(consumer) = consumer {
        // What was delivered and not printed goes to others at once. If the host is away, it does so later.
        let leaving = Settlement { consumer, leave: true, ..Settlement::default() };
        drop(client.settle(&options.name, &leaving).await);
    }
    consumed
}

async fn consume(
    options: &ConsumeOptions,
    client: &Client,
    consumer: &mut Option<u64>,
) -> anyhow::Result<()> {
    let mut retry = Retry::new(Duration::from_secs(options.retry_for));
    let wait_ms = options.idle_for.map_or(WAIT_MS, |seconds| seconds * 1_000);
    let mut output = Output::stdout();
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut has_connected = false;
    while left > 0 {
        let window = u32::try_from(left).map_or(options.window, |left| left.min(options.window));
        let batch = match client.consume(&options.name, *consumer, window, wait_ms).await {
            Ok(batch) => batch,
            Err(error) if error.problem_kind() == NO_CONSUMER && consumer.is_some() => {
                *consumer = None;
                continue;
            }
            Err(error) if has_connected => {
                retry.wait_after(error).await?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        has_connected = true;
        retry.succeeded();
        *consumer = Some(batch.consumer);
        if batch.events.is_empty() && options.idle_for.is_some() {
            break;
        }
        left -= batch.events.len() as u64;
        print(options, &batch, &mut output)?;
        acknowledge(options, client, &batch, &mut retry).await?;
    }
    output.flush()
}

/// Prints the events of a batch.
fn print(options: &ConsumeOptions, batch: &Batch, output: &mut Output) -> anyhow::Result<()> {
    for event in &batch.events {
        print::event(output, event, options.json)?;
    }
    output.flush()
}

async fn acknowledge(
    options: &ConsumeOptions,
    client: &Client,
    batch: &Batch,
    retry: &mut Retry,
) -> anyhow::Result<()> {
    let places = batch.events.iter().map(|event| {
        serde_json::from_str::<Delivered>(event.get()).map(|delivered| delivered.delivery.place)
    });
    let ack = places.collect::<Result<Vec<u64>, _>>()?;
    if ack.is_empty() {
        return Ok(());
    }
    let settlement = Settlement { consumer: batch.consumer, ack, leave: false };
    let settled = async || -> Result<(), ClientError> { client.settle(&options.name, &settlement).await };
    Ok(retry.run(settled).await?)
}
