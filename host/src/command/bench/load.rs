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
use tokio::task::JoinSet;

/// Bytes of an event's data.
const EVENT_BYTES: usize = 256;

/// Time before counting begins: connections, instances and files are there then.
const WARM_UP: Duration = Duration::from_secs(1);

/// A workload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Connections at a time.
    pub(super) clients: usize,
    /// Events of each append.
    pub(super) events: usize,
}

/// What a workload reached.
#[derive(Debug)]
pub(super) struct Measured {
    /// Of each append after the warm-up, sorted.
    latencies: Vec<Duration>,
    time: Duration,
}

impl Measured {
    pub(super) fn appends_per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    pub(super) fn percentile_us(&self, percent: usize) -> u64 {
        let index = self.latencies.len().saturating_sub(1) * percent / 100;
        self.latencies.get(index).map_or(0, |latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Load {
    pub(super) async fn run(self, address: SocketAddr, time: Duration) -> anyhow::Result<Measured> {
        let run = uuid::Uuid::new_v4();
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            clients.spawn(client(address, format!("bench-{run}-{number}"), self.events, time));
        }
        let mut latencies = Vec::new();
        while let Some(client) = clients.join_next().await {
            latencies.extend(client.context("a client failed")??);
        }
        latencies.sort_unstable();
        Ok(Measured { latencies, time })
    }
}

async fn client(
    address: SocketAddr,
    stream: String,
    events: usize,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let socket = TcpStream::connect(address).await.context("cannot connect to the measured host")?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let connection = tokio::spawn(connection);
    let path = format!("/v1/stores/main/streams/{stream}/events");
    let count_from = Instant::now() + WARM_UP;
    let (mut latencies, mut version) = (Vec::new(), 0);
    loop {
        let body = body(version, events);
        let start = Instant::now();
        if start >= count_from + time {
            break;
        }
        append(&mut sender, address, &path, body).await?;
        if start >= count_from {
            latencies.push(start.elapsed());
        }
        version += events;
    }
    connection.abort();
    Ok(latencies)
}

async fn append(
    sender: &mut SendRequest<Full<Bytes>>,
    address: SocketAddr,
    path: &str,
    body: Bytes,
) -> anyhow::Result<()> {
    sender.ready().await?;
    let request = Request::post(path)
        .header(header::HOST, address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    anyhow::ensure!(
        status == StatusCode::OK,
        "an append was answered {status}: {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

fn body(version: usize, events: usize) -> Bytes {
    let expected = version.checked_sub(1).map_or_else(|| "\"no_stream\"".into(), |last| last.to_string());
    let mut body = format!("{{\"expected_version\":{expected},\"events\":[");
    for index in 0..events {
        let comma = if index == 0 { "" } else { "," };
        let (id, data) = (uuid::Uuid::new_v4(), payload());
        // Writing to a string cannot fail.
        let _ = write!(body, "{comma}{{\"id\":\"{id}\",\"type\":\"order-placed\",\"data\":\"{data}\"}}");
    }
    body.push_str("]}");
    body.into()
}

/// A JSON string of [`EVENT_BYTES`] with its quotes, random so that compression has no easy game.
fn payload() -> String {
    let mut text = String::with_capacity(EVENT_BYTES);
    while text.len() < EVENT_BYTES - 2 {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", uuid::Uuid::new_v4().simple());
    }
    text.truncate(EVENT_BYTES - 2);
    text
}

#[cfg(test)]
mod tests {
    use super::{EVENT_BYTES, Measured, body, payload};
    use std::time::Duration;

    #[test]
    fn an_append_is_what_the_workload_says() {
        assert_eq!(payload().len() + 2, EVENT_BYTES);
        let first: serde_json::Value = serde_json::from_slice(&body(0, 1)).expect("JSON");
        assert_eq!(first["expected_version"], "no_stream");
        let later: serde_json::Value = serde_json::from_slice(&body(200, 100)).expect("JSON");
        assert_eq!(later["expected_version"], 199);
        assert_eq!(later["events"].as_array().map(Vec::len), Some(100));
    }

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let latencies = (1..=100).map(Duration::from_micros).collect();
        let measured = Measured { latencies, time: Duration::from_secs(2) };
        assert_eq!((measured.percentile_us(50), measured.percentile_us(99)), (50, 99));
        assert!((measured.appends_per_second() - 50.0).abs() < f64::EPSILON);
        let nothing = Measured { latencies: Vec::new(), time: Duration::from_secs(1) };
        assert_eq!(nothing.percentile_us(99), 0);
    }
}
