//! `exesdb consume`: prints what a durable subscription delivers, and acknowledges what it has printed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::connection::GatewayOptions;
use super::print;
use crate::client::{Batch, Client, ClientError, Retry, Settlement, notify};
use crate::output::{Output, printable};
use crate::stop_signals::StopSignals;

/// How long one request waits for events, in milliseconds.
const WAIT_MS: u32 = 20_000;

/// How often a slow reader's events are acknowledged.
const ACKNOWLEDGES: Duration = Duration::from_secs(1);

/// How long leaving a subscription may take.
const LEAVE_TIME: Duration = Duration::from_secs(2);

/// The kind of problem of a consumer that was cut off, or that another run of the host had.
const NO_CONSUMER: &str = "consumer-not-found";

/// The kind of problem of a settlement while a subscription is paused.
const PAUSED: &str = "subscription-paused";

/// Options of `consume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb subscription create invoices --type order-placed
  exesdb consume invoices --json | while read -r event; do ./invoice \"$event\"; done
  exesdb consume invoices --count 100

An event is acknowledged when it was written, also if whoever reads it has not got to it: a pipe holds some hundreds of
events. If they must not be lost with their reader, consume over HTTP, or use a sink. What was not acknowledged is delivered
again, to this command or another one, whatever ends. After a restart of the host, the command goes on.")]
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
    let consumer = Arc::new(Mutex::new(None));
    let stop = stop_requested(options.gateway.client(), options.name.clone(), consumer.clone())?;
    let consumed = tokio::select! {
        consumed = consume(&options, &client, &consumer) => consumed,
        _ = stop => Ok(()),
    };
    leave(&client, &options.name, &consumer).await;
    consumed
}

/// Leaves the subscription: what was delivered and not printed goes to others at once. If the host is away, it does so later.
async fn leave(client: &Client, name: &str, consumer: &Mutex<Option<u64>>) {
    let Some(consumer) = consumer.lock().take() else { return };
    let leaving = Settlement { consumer, leave: true, ..Settlement::default() };
    drop(client.settle(name, &leaving).await);
}

/// Completes when a signal asks the command to stop. A write to a pipe that nobody reads never ends, so after [`LEAVE_TIME`] this
/// leaves the subscription itself, with a client of its own, and ends the process.
fn stop_requested(
    client: Client,
    name: String,
    consumer: Arc<Mutex<Option<u64>>>,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let (sender, stop) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        StopSignals::listen()?
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(signals.next());
        sender.send(()).ok();
        std::thread::sleep(LEAVE_TIME);
        notify("ended while the output takes nothing: its last line may be torn");
        let leaving = async { tokio::time::timeout(LEAVE_TIME, leave(&client, &name, &consumer)).await.ok() };
        runtime.block_on(leaving);
        std::process::exit(1);
    })?;
    Ok(stop)
}

async fn consume(
    options: &ConsumeOptions,
    client: &Client,
    consumer: &Mutex<Option<u64>>,
) -> anyhow::Result<()> {
    let mut retry = Retry::new(Duration::from_secs(options.retry_for));
    let wait_ms = options.idle_for.map_or(WAIT_MS, |seconds| seconds * 1_000);
    let mut output = Output::stdout();
    let mut left = options.count.unwrap_or(u64::MAX);
    let mut window = options.window;
    let mut has_connected = false;
    let mut was_paused = false;
    while left > 0 {
        let described = match describe(&options.name, client).await {
            Err(error) if has_connected => {
                retry.wait_after(error).await?;
                continue;
            }
            described => described?,
        };
        was_paused = described.say_if_paused(&options.name, was_paused);
        let most = u32::try_from(left).map_or(window, |left| left.min(window));
        let known = *consumer.lock();
        let batch = match client.consume(&options.name, known, most, wait_ms).await {
            Ok(batch) => batch,
            Err(error) if error.problem_kind() == NO_CONSUMER && known.is_some() => {
                notify(
                    "the subscription has cut off this consumer, or was restarted; going on as another one",
                );
                *consumer.lock() = None;
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
        *consumer.lock() = Some(batch.consumer);
        if batch.events.is_empty() && options.idle_for.is_some() {
            break;
        }
        let time = described.time_for_batch();
        let mut printing = Printing { options, client, retry: &mut retry, output: &mut output };
        let printed = printing.print(&batch, time).await?;
        left -= printed as u64;
        if printed < batch.events.len() {
            // The rest goes back and counts against nothing; this consumer takes no more than it can print in time.
            let leaving = Settlement { consumer: batch.consumer, leave: true, ..Settlement::default() };
            retry.run(async || client.settle(&options.name, &leaving).await).await?;
            *consumer.lock() = None;
            window = u32::try_from(printed).unwrap_or(window).clamp(1, options.window);
        }
    }
    output.flush()
}

/// Describes the subscription.
async fn describe(name: &str, client: &Client) -> Result<Described, ClientError> {
    let described = client.describe_subscription(name).await?;
    serde_json::from_str(described.get())
        .map_err(|error| ClientError::Unreadable { url: "the gateway".to_owned(), detail: error.to_string() })
}

impl Described {
    /// Says that the subscription is paused, or is not any more. Returns whether it is.
    fn say_if_paused(&self, name: &str, was_paused: bool) -> bool {
        let is_paused = self.state == "paused";
        match (was_paused, is_paused) {
            (false, true) => notify(&format!(
                "the subscription is paused: nothing is delivered until `exesdb subscription resume {}`",
                printable(name)
            )),
            (true, false) => notify("the subscription is not paused any more"),
            _ => {}
        }
        is_paused
    }

    /// How long printing a batch may take: a half of the time that the subscription gives a consumer for an event.
    fn time_for_batch(&self) -> Duration {
        Duration::from_millis(self.settings.ack_timeout_ms) / 2
    }
}

/// What is known of a subscription.
#[derive(Deserialize)]
struct Described {
    state: String,
    settings: Settings,
}

#[derive(Deserialize)]
struct Settings {
    ack_timeout_ms: u64,
}

/// Prints batches, and acknowledges what it has printed.
struct Printing<'a> {
    options: &'a ConsumeOptions,
    client: &'a Client,
    retry: &'a mut Retry,
    output: &'a mut Output,
}

impl Printing<'_> {
    /// Prints the events of a batch, as long as there is time. Whoever reads them may be slow, so what was printed is acknowledged
    /// once in a while. Returns how many events were printed, at least one.
    async fn print(&mut self, batch: &Batch, time: Duration) -> anyhow::Result<usize> {
        let (begun, mut acknowledged_at) = (Instant::now(), Instant::now());
        let (mut places, mut printed) = (Vec::new(), 0);
        for event in &batch.events {
            if printed > 0 && begun.elapsed() > time {
                break;
            }
            print::event(self.output, event, self.options.json)?;
            places.push(serde_json::from_str::<Delivered>(event.get())?.delivery.place);
            printed += 1;
            if acknowledged_at.elapsed() >= ACKNOWLEDGES {
                self.acknowledge(batch.consumer, &mut places).await?;
                acknowledged_at = Instant::now();
            }
        }
        self.acknowledge(batch.consumer, &mut places).await?;
        Ok(printed)
    }

    /// Acknowledges what has been printed, when it is really written.
    async fn acknowledge(&mut self, consumer: u64, places: &mut Vec<u64>) -> anyhow::Result<()> {
        self.output.flush()?;
        let ack = std::mem::take(places);
        if ack.is_empty() {
            return Ok(());
        }
        let settlement = Settlement { consumer, ack, leave: false };
        let settled = async || self.client.settle(&self.options.name, &settlement).await;
        match self.retry.run(settled).await {
            Err(error) if error.problem_kind() == PAUSED => {
                notify(
                    "the subscription was paused: what was printed last is delivered again when it is resumed",
                );
                Ok(())
            }
            settled => Ok(settled?),
        }
    }
}
