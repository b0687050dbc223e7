//! Followers of the whole store, or of one stream: what they cost the host while they are idle and while events come, what they cost
//! those who append, and, of one stream, how soon they get an event. Appends come at a fixed rate, as clients send them, so rounds with and without followers have the same load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::body::Form;
use crate::client::Client;
use crate::host::BenchHost;
use crate::paced::{self, Paced};
use crate::rounds::Rounds;
use crate::spread::Spread;

/// Clients that append, each in its turn, if followers follow the whole store.
const CLIENTS: usize = 8;

/// Events of one stream whose deliveries are timed.
const TIMED_EVENTS_MAX: usize = 100_000;

/// Latencies are counted in steps of so many microseconds,
const STEP_US: u64 = 100;

/// up to this many steps.
const STEPS: usize = 100_000;

/// Followers that connect at a time.
const CONNECTING: usize = 32;

/// How long followers are left alone before their memory is measured: less than the time after which they get a sign of life.
const SETTLES: Duration = Duration::from_secs(3);

/// One in so many followers connects before memory is measured.
const FIRST: usize = 5;

/// What begins the data of each message.
const DATA: &[u8] = b"\ndata:";

/// Reads of all connections that are open at a time have so many bytes each.
const READ_BYTES: usize = 4 << 10;

/// What was measured with and without followers.
#[derive(Debug, Serialize)]
pub(crate) struct Followed {
    followers: usize,
    of: &'static str,
    appends_per_second_wanted: u32,
    /// Resident memory of the host for each follower, before any event.
    idle_bytes_each: f64,
    without: Appends,
    with: Appends,
    /// Processor time of the host for each event that a follower got, beyond that of the same appends without followers.
    processor_us_per_delivery: Spread,
    deliveries_per_second: Spread,
    /// The median latency of appends with followers, in that without, round by round.
    p50_with_of_without: Spread,
    /// From the response to an append of the stream that is followed until a follower has the event, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_p99_us: Option<Spread>,
}

/// What followers follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followers {
    OfStore,
    /// Of the one stream that is appended to.
    OfStream,
}

/// What followers have heard.
struct Heard {
    deliveries: AtomicU64,
    begun: Instant,
    /// When the append of the stream's event with this version had its response, in microseconds since then; 0 before.
    appended: Vec<AtomicU64>,
    /// Deliveries by their latency.
    latencies: Vec<AtomicU32>,
}

impl Heard {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            deliveries: AtomicU64::new(0),
            begun: Instant::now(),
            appended: (0..TIMED_EVENTS_MAX).map(|_| AtomicU64::new(0)).collect(),
            latencies: (0..STEPS).map(|_| AtomicU32::new(0)).collect(),
        })
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Another stream is appended to and followed from now on.
    fn begin_stream(&self) {
        self.appended.iter().for_each(|at| at.store(0, Ordering::Relaxed));
        self.latencies.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// The append of the event with this version has its response.
    fn appended(&self, version: u64) {
        if let Some(at) = usize::try_from(version).ok().and_then(|version| self.appended.get(version)) {
            at.store(self.now_us(), Ordering::Relaxed);
        }
    }

    /// A follower has got so many events, after this many.
    fn delivered(&self, before: usize, count: usize) {
        self.deliveries.fetch_add(count as u64, Ordering::Relaxed);
        let now = self.now_us();
        for at in self.appended.iter().skip(before).take(count) {
            // Before the response if it is not there yet.
            let appended = match at.load(Ordering::Relaxed) {
                0 => now,
                at => at,
            };
            let step = usize::try_from(now.saturating_sub(appended) / STEP_US).unwrap_or(usize::MAX);
            self.latencies[step.min(STEPS - 1)].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn p99_us(&self) -> f64 {
        let counts: Vec<u64> =
            self.latencies.iter().map(|count| count.load(Ordering::Relaxed).into()).collect();
        let (mut left, mut step) = (counts.iter().sum::<u64>() / 100, STEPS - 1);
        while step > 0 && counts[step] <= left {
            left -= counts[step];
            step -= 1;
        }
        ((step as u64 + 1) * STEP_US) as f64
    }
}

/// Appends at a rate.
#[derive(Debug, Serialize)]
struct Appends {
    per_second: Spread,
    p50_us: Spread,
    processor_us_per_append: Spread,
}

impl Followed {
    pub(crate) fn lines(&self) -> String {
        format!(
            "{} followers of {}, at {} appends/s\n\
             idle memory            {:>8.1} KiB for each\n\
             appends/s held         {:>8.0} (without followers {:.0})\n\
             p50 of an append       {:>8.0} us (without {:.0}; ratio {})\n\
             deliveries/s           {:>8.0}\n\
             processor per delivery {:>8.1} us ({:.1} to {:.1}){}",
            self.followers,
            self.of,
            self.appends_per_second_wanted,
            self.idle_bytes_each / 1_024.0,
            self.with.per_second.median,
            self.without.per_second.median,
            self.with.p50_us.median,
            self.without.p50_us.median,
            self.p50_with_of_without.text(),
            self.deliveries_per_second.median,
            self.processor_us_per_delivery.median,
            self.processor_us_per_delivery.least,
            self.processor_us_per_delivery.most,
            self.delivery_p99_us.map_or_else(String::new, |p99| format!(
                "\np99 of a delivery       {:>8.1} ms ({:.1} to {:.1})",
                p99.median / 1e3,
                p99.least / 1e3,
                p99.most / 1e3
            ))
        )
    }
}

/// A turn of appends.
struct Turn {
    paced: Paced,
    processor: Duration,
    deliveries: u64,
}

impl Turn {
    fn processor_us_per_append(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.paced.appends as f64
    }
}

/// Measures `followers` while `rate` events are appended each second, next to the same without followers.
pub(crate) async fn measure(
    host: &BenchHost,
    of: Followers,
    followers: usize,
    rate: u32,
    rounds: Rounds,
) -> anyhow::Result<Followed> {
    let address = host.address();
    let count = if of == Followers::OfStore { CLIENTS } else { 1 };
    let mut clients = Client::connect_all(address, Form::Json, count).await?;
    let heard = Heard::new();
    // Once without measuring: what followers need the first time stays.
    let warm = Following::connect(address, "events", followers.min(CONNECTING), &heard).await?;
    turn(host, &mut clients, rate, rounds.time, &heard).await?;
    drop(warm);
    let (mut without, mut with, mut idle, mut p99_us) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.count {
        without.push(turn(host, &mut clients, rate, rounds.time, &heard).await?);
        // What the host makes for the first of them, such as instances, is no cost of one more.
        let first = followers.div_ceil(FIRST);
        let stream = format!("followed-{}", uuid::Uuid::new_v4());
        let path = match of {
            Followers::OfStore => "events".to_owned(),
            Followers::OfStream => format!("streams/{stream}/events"),
        };
        heard.begin_stream();
        let few = Following::connect(address, &path, first, &heard).await?;
        tokio::time::sleep(SETTLES).await;
        let before = host.memory_bytes()?;
        let rest = Following::connect(address, &path, followers - first, &heard).await?;
        tokio::time::sleep(SETTLES).await;
        let grown = host.memory_bytes()? as f64 - before as f64;
        idle.push(grown / (followers - first).max(1) as f64);
        // Connections that were idle for long are closed.
        clients = match of {
            Followers::OfStore => Client::connect_all(address, Form::Json, count).await?,
            Followers::OfStream => vec![Client::connect(address, Form::Json, stream).await?],
        };
        with.push(turn(host, &mut clients, rate, rounds.time, &heard).await?);
        p99_us.push(heard.p99_us());
        drop((few, rest));
        clients = Client::connect_all(address, Form::Json, count).await?;
    }
    // Memory that the host has from an earlier round is no cost of the later ones: the first round says it.
    let idle_bytes_each = *idle.first().context("no round was measured")?;
    let pairs = || without.iter().zip(&with);
    let per_delivery = pairs().map(|(without, with)| {
        let appends_us = without.processor_us_per_append() * with.paced.appends as f64;
        (with.processor.as_secs_f64() * 1e6 - appends_us) / with.deliveries as f64
    });
    let spread = |figures: Option<Spread>| figures.context("no round was measured");
    let is_timed = of == Followers::OfStream;
    Ok(Followed {
        followers,
        of: if is_timed { "one stream" } else { "the whole store" },
        delivery_p99_us: Spread::of(p99_us).filter(|_| is_timed),
        appends_per_second_wanted: rate,
        idle_bytes_each,
        processor_us_per_delivery: spread(Spread::of(per_delivery))?,
        deliveries_per_second: spread(Spread::of(
            with.iter().map(|turn| turn.deliveries as f64 / turn.paced.seconds),
        ))?,
        p50_with_of_without: spread(Spread::of_ratios(
            pairs().map(|(without, with)| (with.paced.p50_us, without.paced.p50_us)),
        ))?,
        without: spread_of(&without)?,
        with: spread_of(&with)?,
    })
}

fn spread_of(turns: &[Turn]) -> anyhow::Result<Appends> {
    let spread = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure)).context("no round");
    Ok(Appends {
        per_second: spread(|turn| turn.paced.per_second())?,
        p50_us: spread(|turn| turn.paced.p50_us)?,
        processor_us_per_append: spread(Turn::processor_us_per_append)?,
    })
}

/// Appends at a rate for some time, and waits until followers have got what was appended.
async fn turn(
    host: &BenchHost,
    clients: &mut Vec<Client>,
    rate: u32,
    time: Duration,
    heard: &Arc<Heard>,
) -> anyhow::Result<Turn> {
    let (before, heard_before) = (host.processor_time()?, heard.deliveries.load(Ordering::Relaxed));
    let appended = {
        let heard = heard.clone();
        move |client: &Client| heard.appended(client.place().1)
    };
    let paced = paced::append(clients, rate, time, appended).await?;
    settled(&heard.deliveries).await;
    let processor = host.processor_time()?.since(&before);
    Ok(Turn { paced, processor, deliveries: heard.deliveries.load(Ordering::Relaxed) - heard_before })
}

/// Waits until no follower has got anything for a moment.
async fn settled(seen: &AtomicU64) {
    let mut before = u64::MAX;
    while before != seen.load(Ordering::Relaxed) {
        before = seen.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The followers' connections. A thread of their own reads them, so that reading does not delay the clients that append. They are
/// closed when dropped.
struct Following {
    _stop: oneshot::Sender<()>,
}

impl Following {
    /// Connects so many, which follow the events at this path of the store.
    async fn connect(
        address: SocketAddr,
        path: &str,
        count: usize,
        heard: &Arc<Heard>,
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (told, connected) = oneshot::channel();
        let (path, heard) = (path.to_owned(), heard.clone());
        std::thread::spawn(move || {
            let follow = async {
                let reading = connect_all(address, &path, count, &heard).await;
                let (result, _reading) = match reading {
                    Ok(reading) => (Ok(()), Some(reading)),
                    Err(error) => (Err(error), None),
                };
                // An error means that nobody waits for them any more.
                if told.send(result).is_ok() {
                    drop(stopped.await);
                }
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(follow))
        });
        connected.await.context("the thread of the followers ended")??;
        Ok(Self { _stop: stop })
    }
}

async fn connect_all(
    address: SocketAddr,
    path: &str,
    count: usize,
    heard: &Arc<Heard>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let (mut reading, mut connecting, mut left) = (JoinSet::new(), JoinSet::new(), count);
    while left > 0 || !connecting.is_empty() {
        while left > 0 && connecting.len() < CONNECTING {
            connecting.spawn(connect(address, path.to_owned()));
            left -= 1;
        }
        let connected = connecting.join_next().await.context("somebody connects")?;
        let socket = connected.context("a follower failed")?;
        reading.spawn(read(socket?, heard.clone()));
    }
    Ok(reading)
}

async fn connect(address: SocketAddr, path: String) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await.context("a follower cannot connect")?;
    let request = format!(
        "GET /v1/stores/main/{path}?from=end HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut head = [0; READ_BYTES];
    let bytes = socket.read(&mut head).await?;
    anyhow::ensure!(
        head[..bytes].starts_with(b"HTTP/1.1 200 "),
        "a follower was answered: {}",
        String::from_utf8_lossy(&head[..bytes])
    );
    Ok(socket)
}

async fn read(mut socket: TcpStream, heard: Arc<Heard>) -> anyhow::Result<()> {
    // The end of what was read before, in which a mark may have begun.
    let (mut bytes, mut kept, mut before) = (vec![0; READ_BYTES], 0, 0);
    loop {
        let read = socket.read(&mut bytes[kept..]).await?;
        anyhow::ensure!(read > 0, "the host ended a follower");
        let filled = kept + read;
        let found = bytes[..filled].windows(DATA.len()).filter(|window| *window == DATA).count();
        heard.delivered(before, found);
        before += found;
        let rest = filled.min(DATA.len() - 1);
        bytes.copy_within(filled - rest..filled, 0);
        kept = rest;
    }
}
