//! What many durable subscriptions with different selectors cost those who append.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Api;
use super::consumer::{Consumer, Delivered};
use crate::body::Form;
use crate::client::Client;
use crate::host::BenchHost;
use crate::paced::{self, Appends, Paced};
use crate::rounds::Rounds;
use crate::spread::Spread;

/// Clients that append, each in its turn to a stream of its own.
const CLIENTS: usize = 64;

/// Events in flight at each consumer.
const WINDOW: u32 = 1_000;

/// A consumer acknowledges when it has so many events,
const BULK: usize = 200;

/// or after this time.
const ACKNOWLEDGES: Duration = Duration::from_millis(200);

/// How long subscriptions may take until they have caught up after the appends.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured with and without subscriptions.
#[derive(Debug, Serialize)]
pub(crate) struct Many {
    subscriptions: usize,
    appends_per_second_wanted: u32,
    without: Appends,
    with: Appends,
    /// Of appends with subscriptions, in that without, round by round.
    rate_of_without: Spread,
    p50_of_without: Spread,
    deliveries_per_second: Spread,
    /// Processor time of the host in a second, with subscriptions and without.
    processor_ms_per_second: [Spread; 2],
    /// Until every subscription's checkpoint is at the end, after the last append.
    caught_up_ms: Spread,
}

impl Many {
    pub(crate) fn lines(&self) -> String {
        format!(
            "{} durable subscriptions with different selectors, at {} appends/s\n\
             appends/s held         {:>8.0} (without subscriptions {:.0}; ratio {})\n\
             p50 of an append       {:>8.0} us (without {:.0}; ratio {})\n\
             deliveries/s           {:>8.0}\n\
             processor time         {:>8.0} ms a second (without {:.0})\n\
             caught up after        {:>8.0} ms ({:.0}-{:.0})",
            self.subscriptions,
            self.appends_per_second_wanted,
            self.with.per_second.median,
            self.without.per_second.median,
            self.rate_of_without.text(),
            self.with.p50_us.median,
            self.without.p50_us.median,
            self.p50_of_without.text(),
            self.deliveries_per_second.median,
            self.processor_ms_per_second[0].median,
            self.processor_ms_per_second[1].median,
            self.caught_up_ms.median,
            self.caught_up_ms.least,
            self.caught_up_ms.most,
        )
    }
}

/// The selector of the subscription with this number: each kind in its turn. All but those by type select one stream each.
fn selector(number: usize, streams: &[String]) -> Value {
    let stream = &streams[number % streams.len()];
    match number % 5 {
        0 => json!({ "stream": stream }),
        1 => json!({ "stream_prefixes": [stream] }),
        2 => json!({ "stream_pattern": format!("^{stream}$") }),
        3 => json!({ "pattern": { "stream": stream } }),
        _ => json!({ "query": [{ "types": [format!("type-{number}")] }] }),
    }
}

/// Measures `count` subscriptions while `rate` events are appended each second, next to the same without them.
pub(crate) async fn measure(
    host: &BenchHost,
    count: usize,
    rate: u32,
    rounds: Rounds,
) -> anyhow::Result<Many> {
    let seen = Arc::new(AtomicU64::new(0));
    let (mut without, mut with) = (Vec::<Paced>::new(), Vec::<Paced>::new());
    let (mut deliveries, mut caught_up) = (Vec::new(), Vec::new());
    let (mut processor_with, mut processor_without) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=rounds.count {
        let mut clients = Client::connect_all(host.address(), Form::Json, CLIENTS).await?;
        let before = host.processor_time()?;
        let alone = paced::append(&mut clients, rate, rounds.time, |_| ()).await?;
        let processor_alone = host.processor_time()?.since(&before);
        let mut clients = Client::connect_all(host.address(), Form::Json, CLIENTS).await?;
        let streams: Vec<String> = clients.iter().map(|client| client.place().0).collect();
        let run = uuid::Uuid::new_v4();
        let names: Vec<String> = (0..count).map(|number| format!("bench-{run}-{number}")).collect();
        let mut api = Api::connect(host.address()).await?;
        for (number, name) in names.iter().enumerate() {
            let selector = selector(number, &streams);
            let from = if selector.get("stream").is_some() { json!(0) } else { json!("end") };
            api.create(name, &json!({ "selector": selector, "from": from })).await?;
        }
        let consuming = Consuming::start(host.address(), names.clone(), seen.clone()).await?;
        let (before, seen_before) = (host.processor_time()?, seen.load(Ordering::Relaxed));
        let together = paced::append(&mut clients, rate, rounds.time, |_| ()).await?;
        let (ended, processor) = (Instant::now(), host.processor_time()?.since(&before));
        let mut api = Api::connect(host.address()).await?;
        for name in &names {
            while api.lag(name).await? > 0 {
                anyhow::ensure!(ended.elapsed() < PATIENCE, "the subscription {name} does not catch up");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        if round > 0 {
            caught_up.push(ended.elapsed().as_secs_f64() * 1e3);
            deliveries.push((seen.load(Ordering::Relaxed) - seen_before) as f64 / together.seconds);
            processor_with.push(processor.as_secs_f64() * 1e3 / together.seconds);
            processor_without.push(processor_alone.as_secs_f64() * 1e3 / alone.seconds);
            without.push(alone);
            with.push(together);
        }
        drop(consuming);
        for name in &names {
            api.remove(name).await?;
        }
    }
    let spread = |figures: Option<Spread>| figures.context("no round was measured");
    let ratios = |figure: fn(&Paced) -> f64| {
        Spread::of_ratios(with.iter().map(figure).zip(without.iter().map(figure)))
    };
    Ok(Many {
        subscriptions: count,
        appends_per_second_wanted: rate,
        rate_of_without: spread(ratios(Paced::per_second))?,
        p50_of_without: spread(ratios(|turn| turn.p50_us))?,
        deliveries_per_second: spread(Spread::of(deliveries))?,
        processor_ms_per_second: [
            spread(Spread::of(processor_with))?,
            spread(Spread::of(processor_without))?,
        ],
        caught_up_ms: spread(Spread::of(caught_up))?,
        without: Appends::of(&without)?,
        with: Appends::of(&with)?,
    })
}

/// Consumers on a thread of their own, which end when this is dropped.
struct Consuming {
    _stop: oneshot::Sender<()>,
}

impl Consuming {
    async fn start(address: SocketAddr, names: Vec<String>, seen: Arc<AtomicU64>) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (joined, have_joined) = oneshot::channel();
        std::thread::spawn(move || {
            let consume = async {
                let consumers = join_all(address, names, &seen).await;
                let (result, _consumers) = match consumers {
                    Ok(consumers) => (Ok(()), Some(consumers)),
                    Err(error) => (Err(error), None),
                };
                // An error means that nobody waits any more.
                if joined.send(result).is_ok() {
                    drop(stopped.await);
                }
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(consume))
        });
        have_joined.await.context("the thread of the consumers ended")??;
        Ok(Self { _stop: stop })
    }
}

async fn join_all(
    address: SocketAddr,
    names: Vec<String>,
    seen: &Arc<AtomicU64>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut consumers = JoinSet::new();
    for name in names {
        let consumer = Consumer::join(address, &name, WINDOW).await?;
        let seen = seen.clone();
        consumers.spawn(consume(address, name, consumer, seen));
    }
    Ok(consumers)
}

async fn consume(
    address: SocketAddr,
    name: String,
    mut consumer: Consumer,
    seen: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut api = None;
    let mut places = Vec::new();
    let mut due = Box::pin(tokio::time::sleep(ACKNOWLEDGES));
    loop {
        tokio::select! {
            received = consumer.next(|data| {
                if let Ok(event) = serde_json::from_slice::<Delivered<'_>>(data) {
                    places.push(event.delivery.place);
                }
            }) => received?,
            () = &mut due => {}
        }
        let is_due = due.is_elapsed();
        if places.len() >= BULK || is_due && !places.is_empty() {
            let api = match &mut api {
                Some(api) => api,
                None => api.insert(Api::connect(address).await?),
            };
            api.acknowledge(&name, consumer.id, &places).await?;
            seen.fetch_add(places.len() as u64, Ordering::Relaxed);
            places.clear();
        }
        if is_due {
            due.as_mut().reset(tokio::time::Instant::now() + ACKNOWLEDGES);
        }
    }
}
