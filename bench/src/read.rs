//! Reads of one stream and of the whole store, in each representation that the gateway offers, next to a bare scan of the
//! storage.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::body::{EVENT_BYTES, Form, PACKED_MEDIA_TYPE};
use crate::client::Client;
use crate::host::BenchHost;
use crate::load::Appender as _;
use crate::scan::BareScan;
use crate::spread::Spread;

/// Number of streams in the store that is read.
const STREAMS: usize = 10;

/// Events in each append that fills the store.
const FILL_EVENTS: usize = 500;

/// Events in a page of JSON: the gateway's maximum.
const PAGE_EVENTS: usize = 1_000;

const NO_ROUND: &str = "no round was measured";

/// A representation of events, as HTTP calls it.
#[derive(Clone, Copy)]
enum Representation {
    /// Many requests, each for one page that is a JSON document.
    Json,
    /// One response of many lines.
    Ndjson,
    /// One response of packed events.
    Binary,
}

impl Representation {
    const ALL: [Self; 3] = [Self::Json, Self::Ndjson, Self::Binary];

    fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON pages",
            Self::Ndjson => "NDJSON",
            Self::Binary => "binary",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Binary => PACKED_MEDIA_TYPE,
        }
    }
}

/// The result of one read.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    workload: &'static str,
    form: &'static str,
    events: usize,
    events_per_second: Spread,
    /// Of all threads of the host, in microseconds for each event.
    processor_us: Spread,
    bytes_per_event: f64,
    /// Events per second for each of the bare scan, round by round; only of the whole store, which the scan reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_of_scan: Option<Spread>,
}

impl Row {
    pub(crate) const HEADING: &str = concat!(
        "reads                              events   events/s  of the bare scan   ",
        "   us of host per event  bytes per event",
    );

    pub(crate) fn line(&self) -> String {
        format!(
            "{:<30}  {:>9}  {:>9.0}  {:<19}  {:>21.2}  {:>15.0}",
            format!("{}, {}", self.workload, self.form),
            self.events,
            self.events_per_second.median,
            self.events_of_scan.map_or_else(|| "-".into(), |spread| spread.text()),
            self.processor_us.median,
            self.bytes_per_event
        )
    }
}

/// All reads, and the scan that they are compared with.
#[derive(Debug, Serialize)]
pub(crate) struct Reads {
    pub(crate) rows: Vec<Row>,
    pub(crate) scanned_per_second: Spread,
}

/// Fills an empty store with `events`; the streams take turns with their appends.
pub(crate) async fn fill(address: SocketAddr, events: usize) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for number in 0..STREAMS {
        clients.push(Client::connect(address, Form::Json, stream(number)).await?);
    }
    let mut left = events;
    while left > 0 {
        for client in &mut clients {
            let now = left.min(FILL_EVENTS);
            if now == 0 {
                break;
            }
            client.append(now).await?;
            left -= now;
        }
    }
    Ok(())
}

fn stream(number: usize) -> String {
    format!("filled-{number}")
}

/// The turns of one round.
struct Round {
    /// One of each representation, in their order.
    reads: [Turn; Representation::ALL.len()],
    /// Of the whole store.
    scan: Duration,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    took: Duration,
    processor: Duration,
    bytes: usize,
}

/// Reads one stream and the whole store in each representation. In each round, the representations and the scan of a
/// copy of the store take turns.
pub(crate) async fn measure(
    host: &BenchHost,
    scan: &mut BareScan,
    events: usize,
    rounds: usize,
) -> anyhow::Result<Reads> {
    let one = format!("/v1/stores/main/streams/{}/events", stream(0));
    let one = measure_rounds(host, scan, &one, events / STREAMS, rounds).await?;
    let all = measure_rounds(host, scan, "/v1/stores/main/events", events, rounds).await?;
    let scanned_per_second =
        Spread::of(all.iter().map(|round| events as f64 / round.scan.as_secs_f64())).context(NO_ROUND)?;
    let mut rows = Vec::new();
    for (index, form) in Representation::ALL.into_iter().enumerate() {
        let events_of_scan = Spread::of_ratios(
            all.iter().map(|round| (round.scan.as_secs_f64(), round.reads[index].took.as_secs_f64())),
        );
        let one = one.iter().map(|round| round.reads[index]);
        let all = all.iter().map(|round| round.reads[index]);
        rows.push(row("D: one stream", form, events / STREAMS, one, None).context(NO_ROUND)?);
        rows.push(row("E: the whole store", form, events, all, events_of_scan).context(NO_ROUND)?);
    }
    rows.sort_by_key(|row| row.workload);
    Ok(Reads { rows, scanned_per_second })
}

async fn measure_rounds(
    host: &BenchHost,
    scan: &mut BareScan,
    path: &str,
    events: usize,
    rounds: usize,
) -> anyhow::Result<Vec<Round>> {
    let mut measured = Vec::new();
    for _ in 0..rounds {
        let mut reads = [Turn::default(); Representation::ALL.len()];
        for (turn, representation) in reads.iter_mut().zip(Representation::ALL) {
            let before = host.processor_time()?;
            let start = Instant::now();
            let bytes = read(host.address(), path, representation, events).await?;
            let took = start.elapsed();
            *turn = Turn { took, processor: host.processor_time()?.since(&before), bytes };
        }
        measured.push(Round { reads, scan: scan.run().await? });
    }
    Ok(measured)
}

fn row(
    workload: &'static str,
    form: Representation,
    events: usize,
    turns: impl Iterator<Item = Turn> + Clone,
    events_of_scan: Option<Spread>,
) -> Option<Row> {
    let bytes = turns.clone().last()?.bytes;
    let count = events as f64;
    Some(Row {
        workload,
        form: form.name(),
        events,
        events_per_second: Spread::of(turns.clone().map(|turn| count / turn.took.as_secs_f64()))?,
        processor_us: Spread::of(turns.map(|turn| turn.processor.as_secs_f64() * 1e6 / count))?,
        bytes_per_event: bytes as f64 / count,
        events_of_scan,
    })
}

/// Reads forward, and returns the number of bytes received.
async fn read(
    address: SocketAddr,
    path: &str,
    representation: Representation,
    events: usize,
) -> anyhow::Result<usize> {
    let socket = TcpStream::connect(address).await.context("cannot connect to the measured host")?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let mut bytes = 0;
    match representation {
        Representation::Json => {
            for from in (0..events).step_by(PAGE_EVENTS) {
                let count = PAGE_EVENTS.min(events - from);
                let page =
                    get(&mut sender, &format!("{path}?from={from}&count={count}"), representation).await?;
                bytes += page.collect().await?.to_bytes().len();
            }
        }
        Representation::Ndjson | Representation::Binary => {
            let mut body = get(&mut sender, &format!("{path}?from=0&count={events}"), representation).await?;
            while let Some(frame) = body.frame().await {
                bytes += frame?.data_ref().map_or(0, Bytes::len);
            }
        }
    }
    anyhow::ensure!(bytes > events * EVENT_BYTES, "a read gave {bytes} bytes for {events} events");
    connection.abort();
    Ok(bytes)
}

async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    target: &str,
    representation: Representation,
) -> anyhow::Result<Incoming> {
    sender.ready().await?;
    let request = Request::get(target)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, representation.media_type())
        .body(Empty::new())?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status() == StatusCode::OK, "a read was answered {}", response.status());
    Ok(response.into_body())
}
