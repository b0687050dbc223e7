//! Followers of the whole store: what they cost the host while they are idle and while events come, and what they cost those
//! who append. Appends come at a fixed rate, as clients send them, so rounds with and without followers have the same load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
use crate::load::Appender as _;
use crate::rounds::Rounds;
use crate::spread::Spread;

/// Clients that append, each in its turn.
const CLIENTS: u32 = 8;

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
            "{} followers of the whole store, at {} appends/s\n\
             idle memory            {:>8.1} KiB for each\n\
             appends/s held         {:>8.0} (without followers {:.0})\n\
             p50 of an append       {:>8.0} us (without {:.0}; ratio {})\n\
             deliveries/s           {:>8.0}\n\
             processor per delivery {:>8.1} us ({:.1} to {:.1})",
            self.followers,
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
        )
    }
}

/// A turn of appends.
struct Turn {
    appends: usize,
    seconds: f64,
    p50_us: f64,
    processor: Duration,
    deliveries: u64,
}

impl Turn {
    fn processor_us_per_append(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / self.appends as f64
    }
}

/// Measures `followers` while `rate` events are appended each second, next to the same without followers.
pub(crate) async fn measure(
    host: &BenchHost,
    followers: usize,
    rate: u32,
    rounds: Rounds,
) -> anyhow::Result<Followed> {
    let mut clients = Client::connect_all(host.address(), Form::Json, CLIENTS as usize).await?;
    let seen = Arc::new(AtomicU64::new(0));
    // Once without measuring: what followers need the first time stays.
    let warm = Followers::connect(host.address(), followers.min(CONNECTING), &seen).await?;
    turn(host, &mut clients, rate, rounds.time, &seen).await?;
    drop(warm);
    let (mut without, mut with, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds.count {
        without.push(turn(host, &mut clients, rate, rounds.time, &seen).await?);
        // What the host makes for the first of them, such as instances, is no cost of one more.
        let first = followers.div_ceil(FIRST);
        let few = Followers::connect(host.address(), first, &seen).await?;
        tokio::time::sleep(SETTLES).await;
        let before = host.memory_bytes()?;
        let rest = Followers::connect(host.address(), followers - first, &seen).await?;
        tokio::time::sleep(SETTLES).await;
        let grown = host.memory_bytes()? as f64 - before as f64;
        idle.push(grown / (followers - first).max(1) as f64);
        // Connections that were idle for long are closed.
        clients = Client::connect_all(host.address(), Form::Json, CLIENTS as usize).await?;
        with.push(turn(host, &mut clients, rate, rounds.time, &seen).await?);
        drop((few, rest));
        clients = Client::connect_all(host.address(), Form::Json, CLIENTS as usize).await?;
    }
    // Memory that the host has from an earlier round is no cost of the later ones: the first round says it.
    let idle_bytes_each = *idle.first().context("no round was measured")?;
    let pairs = || without.iter().zip(&with);
    let per_delivery = pairs().map(|(without, with)| {
        let appends_us = without.processor_us_per_append() * with.appends as f64;
        (with.processor.as_secs_f64() * 1e6 - appends_us) / with.deliveries as f64
    });
    let spread = |figures: Option<Spread>| figures.context("no round was measured");
    Ok(Followed {
        followers,
        appends_per_second_wanted: rate,
        idle_bytes_each,
        processor_us_per_delivery: spread(Spread::of(per_delivery))?,
        deliveries_per_second: spread(Spread::of(
            with.iter().map(|turn| turn.deliveries as f64 / turn.seconds),
        ))?,
        p50_with_of_without: spread(Spread::of_ratios(
            pairs().map(|(without, with)| (with.p50_us, without.p50_us)),
        ))?,
        without: spread_of(&without)?,
        with: spread_of(&with)?,
    })
}

fn spread_of(turns: &[Turn]) -> anyhow::Result<Appends> {
    let spread = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure)).context("no round");
    Ok(Appends {
        per_second: spread(|turn| turn.appends as f64 / turn.seconds)?,
        p50_us: spread(|turn| turn.p50_us)?,
        processor_us_per_append: spread(Turn::processor_us_per_append)?,
    })
}

/// Appends at a rate for some time, and waits until followers have got what was appended.
async fn turn(
    host: &BenchHost,
    clients: &mut Vec<Client>,
    rate: u32,
    time: Duration,
    seen: &AtomicU64,
) -> anyhow::Result<Turn> {
    let (before, seen_before) = (host.processor_time()?, seen.load(Ordering::Relaxed));
    let begun = Instant::now();
    let mut running = JoinSet::new();
    let pause = Duration::from_secs(1) * CLIENTS / rate;
    for (number, mut client) in (0..CLIENTS).zip(clients.drain(..)) {
        let first = tokio::time::Instant::now() + pause * number / CLIENTS;
        running.spawn(async move {
            let (mut ticks, mut latencies) = (tokio::time::interval_at(first, pause), Vec::new());
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            while begun.elapsed() < time {
                ticks.tick().await;
                latencies.push(client.append(1).await?);
            }
            anyhow::Ok((client, latencies))
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = running.join_next().await {
        let (client, of_client) = ended.context("a client failed")??;
        clients.push(client);
        latencies.extend(of_client);
    }
    let seconds = begun.elapsed().as_secs_f64();
    settled(seen).await;
    latencies.sort_unstable();
    let p50 = latencies.get(latencies.len() / 2).context("nothing was appended")?;
    Ok(Turn {
        appends: latencies.len(),
        seconds,
        p50_us: p50.as_secs_f64() * 1e6,
        processor: host.processor_time()?.since(&before),
        deliveries: seen.load(Ordering::Relaxed) - seen_before,
    })
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
struct Followers {
    _stop: oneshot::Sender<()>,
}

impl Followers {
    /// Connects so many, which add the events that they get to `seen`.
    async fn connect(address: SocketAddr, count: usize, seen: &Arc<AtomicU64>) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (told, connected) = oneshot::channel();
        let seen = seen.clone();
        std::thread::spawn(move || {
            let follow = async {
                let reading = connect_all(address, count, &seen).await;
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
    count: usize,
    seen: &Arc<AtomicU64>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let (mut reading, mut connecting, mut left) = (JoinSet::new(), JoinSet::new(), count);
    while left > 0 || !connecting.is_empty() {
        while left > 0 && connecting.len() < CONNECTING {
            connecting.spawn(connect(address));
            left -= 1;
        }
        let connected = connecting.join_next().await.context("somebody connects")?;
        let socket = connected.context("a follower failed")?;
        reading.spawn(read(socket?, seen.clone()));
    }
    Ok(reading)
}

async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await.context("a follower cannot connect")?;
    let request = format!(
        "GET /v1/stores/main/events?from=end HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\n\r\n"
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

async fn read(mut socket: TcpStream, seen: Arc<AtomicU64>) -> anyhow::Result<()> {
    // The end of what was read before, in which a mark may have begun.
    let (mut bytes, mut kept) = (vec![0; READ_BYTES], 0);
    loop {
        let read = socket.read(&mut bytes[kept..]).await?;
        anyhow::ensure!(read > 0, "the host ended a follower");
        let filled = kept + read;
        let found = bytes[..filled].windows(DATA.len()).filter(|window| *window == DATA).count();
        seen.fetch_add(found as u64, Ordering::Relaxed);
        let rest = filled.min(DATA.len() - 1);
        bytes.copy_within(filled - rest..filled, 0);
        kept = rest;
    }
}
