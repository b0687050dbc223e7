//! How soon an event is delivered: from the response to its append until a consumer of a durable subscription has it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::Api;
use super::consumer::{Consumer, Delivered};
use crate::bare::BareServer;
use crate::body::Form;
use crate::client::Client;
use crate::host::BenchHost;
use crate::load::Appender;
use crate::paced;
use crate::rounds::Rounds;
use crate::spread::Spread;

/// Clients that append, each in its turn.
const CLIENTS: usize = 4;

/// Events in flight at the consumer.
const WINDOW: u32 = 10_000;

/// The consumer acknowledges once in this time.
const ACKNOWLEDGES: Duration = Duration::from_millis(20);

/// How long the last events are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// When things happened to an event, by its stream and version.
type Times = Arc<Mutex<HashMap<(String, u64), Instant>>>;

/// Latencies of deliveries.
#[derive(Debug, Serialize)]
pub(crate) struct Delivery {
    appends_per_second_wanted: u32,
    ours: Latencies,
    bare: Latencies,
}

/// Latencies of deliveries of one server, in microseconds.
#[derive(Debug, Serialize)]
struct Latencies {
    appends_per_second: Spread,
    p50_us: Spread,
    p99_us: Spread,
}

impl Delivery {
    pub(crate) fn lines(&self) -> String {
        let line = |name: &str, of: &Latencies| {
            format!(
                "{name:<8} {:>8.0} appends/s   p50 {:>6.0} us ({:.0}-{:.0})   p99 {:>6.0} us ({:.0}-{:.0})",
                of.appends_per_second.median,
                of.p50_us.median,
                of.p50_us.least,
                of.p50_us.most,
                of.p99_us.median,
                of.p99_us.least,
                of.p99_us.most,
            )
        };
        format!(
            "From the response to an append until a durable subscription's consumer has the event, at {} appends/s:\n{}\n{}\n\
             The bare server sends each group that it has synced to a follower, over TCP and as it is.",
            self.appends_per_second_wanted,
            line("exesdb", &self.ours),
            line("bare", &self.bare)
        )
    }
}

/// A turn of one server.
struct Turn {
    appends_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Measures deliveries at this rate of appends, in turns with the bare server.
pub(crate) async fn measure(
    host: &BenchHost,
    bare: &BareServer,
    rate: u32,
    rounds: Rounds,
) -> anyhow::Result<Delivery> {
    let name = format!("bench-{}", uuid::Uuid::new_v4());
    let new = json!({ "selector": {}, "from": "end" });
    Api::connect(host.address()).await?.create(&name, &new).await?;
    let (mut ours, mut of_bare) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=rounds.count {
        let (sent, got) = (Times::default(), Times::default());
        let consuming = Consuming::start(host.address(), name.clone(), got.clone()).await?;
        let clients = Client::connect_all(host.address(), Form::Json, CLIENTS).await?;
        let turn = turn(clients, Client::place, rate, rounds.time, &sent, &got).await?;
        drop(consuming);
        if round > 0 {
            ours.push(turn);
        }
        let (sent, got) = (Times::default(), Times::default());
        let mut follower = bare.follow().await?;
        let times = got.clone();
        let following = tokio::spawn(async move {
            while let Ok(place) = follower.next().await {
                times.lock().insert(place, Instant::now());
            }
        });
        let clients = bare.connect_all(CLIENTS).await?;
        let turn =
            self::turn(clients, crate::bare::BareClient::place, rate, rounds.time, &sent, &got).await?;
        following.abort();
        if round > 0 {
            of_bare.push(turn);
        }
    }
    Ok(Delivery { appends_per_second_wanted: rate, ours: latencies(&ours)?, bare: latencies(&of_bare)? })
}

fn latencies(turns: &[Turn]) -> anyhow::Result<Latencies> {
    let spread = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure)).context("no round");
    Ok(Latencies {
        appends_per_second: spread(|turn| turn.appends_per_second)?,
        p50_us: spread(|turn| turn.p50_us)?,
        p99_us: spread(|turn| turn.p99_us)?,
    })
}

/// Appends at a rate for some time, and waits until all of it was delivered. `place` is that of a client's last event.
async fn turn<A: Appender>(
    mut clients: Vec<A>,
    place: fn(&A) -> (String, u64),
    rate: u32,
    time: Duration,
    sent: &Times,
    got: &Times,
) -> anyhow::Result<Turn> {
    let times = sent.clone();
    let appended = move |client: &A| {
        times.lock().insert(place(client), Instant::now());
    };
    let paced = paced::append(&mut clients, rate, time, appended).await?;
    let until = Instant::now() + PATIENCE;
    loop {
        let missing = {
            let (sent, got) = (sent.lock(), got.lock());
            sent.keys().filter(|place| !got.contains_key(*place)).count()
        };
        if missing == 0 {
            break;
        }
        anyhow::ensure!(Instant::now() < until, "{missing} events were not delivered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (sent, got) = (sent.lock(), got.lock());
    let latency = |(place, sent): (&(String, u64), &Instant)| got[place].saturating_duration_since(*sent);
    let mut latencies: Vec<Duration> = sent.iter().map(latency).collect();
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        let latency = latencies.get(latencies.len().saturating_sub(1) * percent / 100);
        latency.map(|latency| latency.as_secs_f64() * 1e6).context("nothing was appended")
    };
    Ok(Turn { appends_per_second: paced.per_second(), p50_us: percentile(50)?, p99_us: percentile(99)? })
}

/// A consumer on a thread of its own, which ends when this is dropped.
struct Consuming {
    _stop: oneshot::Sender<()>,
}

impl Consuming {
    async fn start(address: SocketAddr, name: String, got: Times) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (joined, has_joined) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let consume = async {
                let consumer = Consumer::join(address, &name, WINDOW).await;
                let (consumer, result) = match consumer {
                    Ok(consumer) => (Some(consumer), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                // An error means that nobody waits any more.
                if let (Ok(()), Some(consumer)) = (joined.send(result), consumer) {
                    tokio::select! {
                        // It ends with the connection, when the turn is over.
                        ended = consume(address, &name, consumer, &got) => drop(ended),
                        stopped = stopped => drop(stopped),
                    }
                }
            };
            runtime.map(|runtime| runtime.block_on(consume))
        });
        has_joined.await.context("the thread of the consumer ended")??;
        Ok(Self { _stop: stop })
    }
}

async fn consume(address: SocketAddr, name: &str, mut consumer: Consumer, got: &Times) -> anyhow::Result<()> {
    let places: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (id, done) = (consumer.id, places.clone());
    let acknowledge = async {
        let mut api = Api::connect(address).await?;
        loop {
            tokio::time::sleep(ACKNOWLEDGES).await;
            let places = std::mem::take(&mut *done.lock());
            if !places.is_empty() {
                api.acknowledge(name, id, &places).await?;
            }
        }
        #[expect(unreachable_code, reason = "it says what the result is")]
        anyhow::Ok(())
    };
    let receive = async {
        loop {
            let mut failed = None;
            consumer
                .next(|data| match serde_json::from_slice::<Delivered<'_>>(data) {
                    Ok(event) => {
                        got.lock().insert((event.stream.into_owned(), event.version), Instant::now());
                        places.lock().push(event.delivery.place);
                    }
                    Err(error) => failed = Some(error),
                })
                .await?;
            failed.map_or(Ok(()), Err)?;
        }
        #[expect(unreachable_code, reason = "it says what the result is")]
        anyhow::Ok(())
    };
    tokio::try_join!(acknowledge, receive).map(|((), ())| ())
}
