//! Reads of one stream and of the whole store, in each representation that the gateway offers.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;

use crate::append;

/// Number of streams in the store that is read.
const STREAMS: usize = 10;

/// Events in each append that fills the store.
const FILL_EVENTS: usize = 500;

/// Events in a page of JSON: the gateway's maximum.
const PAGE_EVENTS: usize = 1_000;

/// How often each read is measured; the median counts.
const RUNS: usize = 3;

/// A representation of events, as HTTP calls it.
#[derive(Clone, Copy)]
enum Representation {
    /// Many requests, each for one page that is a JSON document.
    Json,
    /// One response of many lines.
    Ndjson,
    /// One response of many frames.
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
            Self::Binary => "application/vnd.exesdb.events",
        }
    }
}

/// The result of one read.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    workload: &'static str,
    form: &'static str,
    events: usize,
    events_per_second: f64,
    bytes_per_event: f64,
}

impl Row {
    pub(crate) fn line(&self) -> String {
        format!(
            "{:<16} {:<11} {:>9}  {:>10.0}  {:>15.0}",
            self.workload, self.form, self.events, self.events_per_second, self.bytes_per_event
        )
    }

    pub(crate) const HEADING: &str = "read             form           events    events/s  bytes per event";
}

/// Fills an empty store with `events`; the streams take turns with their appends.
pub(crate) async fn fill(address: SocketAddr, events: usize) -> anyhow::Result<()> {
    let mut clients = Vec::new();
    for number in 0..STREAMS {
        clients.push(append::Client::connect(address, stream(number)).await?);
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

/// Reads one stream and the whole store in each representation.
pub(crate) async fn measure(address: SocketAddr, events: usize) -> anyhow::Result<Vec<Row>> {
    let workloads = [
        ("one stream", format!("/v1/stores/main/streams/{}/events", stream(0)), events / STREAMS),
        ("the whole store", "/v1/stores/main/events".to_owned(), events),
    ];
    let mut rows = Vec::new();
    for (workload, path, events) in workloads {
        for representation in Representation::ALL {
            let mut times = Vec::new();
            let mut bytes = 0;
            for _ in 0..RUNS {
                let start = Instant::now();
                bytes = read(address, &path, representation, events).await?;
                times.push(start.elapsed());
            }
            times.sort_unstable();
            rows.push(Row {
                workload,
                form: representation.name(),
                events,
                events_per_second: events as f64 / times[RUNS / 2].as_secs_f64(),
                bytes_per_event: bytes as f64 / events as f64,
            });
        }
    }
    Ok(rows)
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
    anyhow::ensure!(bytes > events * append::EVENT_BYTES, "a read gave {bytes} bytes for {events} events");
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
