//! Clients that append in a closed loop, each to its own stream with the exact expected version.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

/// Bytes of an event's data.
pub(crate) const EVENT_BYTES: usize = 256;

/// Characters of an event's id: 22 of 6 bits each hold as many bits as a UUID.
const ID_BYTES: usize = 22;

/// Time before measuring begins, in which connections, instances and files come into being.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// A workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Concurrent connections.
    pub(crate) clients: usize,
    /// Events in each append.
    pub(crate) events: usize,
}

/// The result of a workload.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The latency of each append after the warm-up, sorted.
    latencies: Vec<Duration>,
    time: Duration,
}

impl Measured {
    pub(crate) fn new(mut latencies: Vec<Duration>, time: Duration) -> Self {
        latencies.sort_unstable();
        Self { latencies, time }
    }

    pub(crate) fn appends_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    pub(crate) fn percentile_us(&self, percent: usize) -> u64 {
        let index = self.latencies.len().saturating_sub(1) * percent / 100;
        self.latencies.get(index).map_or(0, |latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Load {
    pub(crate) async fn run(self, address: SocketAddr, time: Duration) -> anyhow::Result<Measured> {
        let run = uuid::Uuid::new_v4();
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            clients.spawn(async move {
                let mut client = Client::connect(address, format!("bench-{run}-{number}")).await?;
                anyhow::Ok(client.append_for(self.events, time).await?.latencies)
            });
        }
        let mut latencies = Vec::new();
        while let Some(client) = clients.join_next().await {
            latencies.extend(client.context("a client failed")??);
        }
        Ok(Measured::new(latencies, time))
    }
}

/// A connection that appends to one stream at a time.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    path: String,
    version: usize,
    random: fastrand::Rng,
    connection: AbortOnDropHandle,
}

/// Ends the connection's task when its client is dropped.
struct AbortOnDropHandle(JoinHandle<Result<(), hyper::Error>>);

impl Drop for AbortOnDropHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Connects, in order to append to a stream that does not exist yet.
    pub(crate) async fn connect(address: SocketAddr, stream: String) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("cannot connect to the measured host")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let connection = AbortOnDropHandle(tokio::spawn(connection));
        let mut client = Self {
            sender,
            address,
            path: String::new(),
            version: 0,
            random: fastrand::Rng::new(),
            connection,
        };
        client.switch_to(stream);
        Ok(client)
    }

    /// Appends to another stream from now on, which does not exist yet.
    pub(crate) fn switch_to(&mut self, stream: impl std::fmt::Display) {
        self.path = format!("/v1/stores/main/streams/{stream}/events");
        self.version = 0;
    }

    /// Number of events in the stream.
    pub(crate) fn version(&self) -> usize {
        self.version
    }

    /// Appends in a loop, and measures after the warm-up.
    pub(crate) async fn append_for(&mut self, events: usize, time: Duration) -> anyhow::Result<Measured> {
        let count_from = Instant::now() + WARM_UP;
        let mut latencies = Vec::new();
        while Instant::now() < count_from + time {
            let (start, took) = self.append(events).await?;
            if start >= count_from {
                latencies.push(took);
            }
        }
        Ok(Measured::new(latencies, time))
    }

    /// Appends events. Returns when the request was sent and how long the response took.
    pub(crate) async fn append(&mut self, events: usize) -> anyhow::Result<(Instant, Duration)> {
        let body = body(&mut self.random, self.version, events);
        let start = Instant::now();
        anyhow::ensure!(!self.connection.0.is_finished(), "the measured host closed the connection");
        self.sender.ready().await?;
        let request = Request::post(&self.path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::ensure!(
            status == StatusCode::OK,
            "an append was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        self.version += events;
        Ok((start, start.elapsed()))
    }
}

/// The body of an append. Ids and data are random, so that they do not compress, and cheap to make, because client and
/// host share the processors.
fn body(random: &mut fastrand::Rng, version: usize, events: usize) -> Bytes {
    let expected = version.checked_sub(1).map_or_else(|| "\"no_stream\"".into(), |last| last.to_string());
    let mut body = String::with_capacity(64 + events * (EVENT_BYTES + 96));
    // Writing to a string cannot fail.
    let _ = write!(body, "{{\"expected_version\":{expected},\"events\":[");
    for index in 0..events {
        body.push_str(if index == 0 { "{\"id\":\"" } else { ",{\"id\":\"" });
        push_random(&mut body, random, ID_BYTES);
        body.push_str("\",\"type\":\"order-placed\",\"data\":\"");
        push_random(&mut body, random, EVENT_BYTES - 2);
        body.push_str("\"}");
    }
    body.push_str("]}");
    body.into()
}

/// Appends random characters, ten of six bits from each number.
fn push_random(text: &mut String, random: &mut fastrand::Rng, length: usize) {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let end = text.len() + length;
    while text.len() < end {
        let bits = random.u64(..);
        for shift in (0..60).step_by(6).take(end - text.len()) {
            text.push(char::from(CHARACTERS[(bits >> shift) as usize % 64]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES, ID_BYTES, Measured, body};
    use std::time::Duration;

    #[test]
    fn a_body_has_the_workloads_events_and_expected_version() {
        let mut random = fastrand::Rng::new();
        let first: serde_json::Value = serde_json::from_slice(&body(&mut random, 0, 1)).expect("JSON");
        assert_eq!(first["expected_version"], "no_stream");
        let text = |event: &serde_json::Value, name: &str| event[name].as_str().expect("a text").to_owned();
        assert_eq!(text(&first["events"][0], "data").len() + 2, EVENT_BYTES);
        let later: serde_json::Value = serde_json::from_slice(&body(&mut random, 200, 100)).expect("JSON");
        assert_eq!(later["expected_version"], 199);
        let ids = later["events"].as_array().expect("events").iter().map(|event| text(event, "id"));
        let ids: std::collections::HashSet<_> = ids.filter(|id| id.len() == ID_BYTES).collect();
        assert_eq!(ids.len(), 100);
    }

    #[test]
    fn percentiles_and_rates_are_computed_from_the_latencies() {
        let latencies = (1..=100).map(Duration::from_micros).collect();
        let measured = Measured::new(latencies, Duration::from_secs(2));
        assert_eq!((measured.percentile_us(50), measured.percentile_us(99)), (50, 99));
        assert!((measured.appends_per_second() - 50.0).abs() < f64::EPSILON);
        let nothing = Measured::new(Vec::new(), Duration::from_secs(1));
        assert_eq!(nothing.percentile_us(99), 0);
    }
}
