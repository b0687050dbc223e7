//! A client of the measured host that appends on one connection without waiting for each answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{Request, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::body::{PACKED_MEDIA_TYPE, pipelined};
use crate::client::AbortOnDropHandle;
use crate::load::{Appender, Measured, WARM_UP};

/// Appends of a connection that have no answer yet.
pub(crate) const IN_FLIGHT: usize = 64;

/// What only the answer to an append that was made contains, as opposed to a problem.
const MADE: &[u8] = b"\"last_version\"";

/// A connection with one request that never ends, whose body has the appends and whose response has the answers.
pub(crate) struct PipelineClient {
    appends: mpsc::Sender<Bytes>,
    answers: Incoming,
    /// The beginning of an answer.
    unread: Vec<u8>,
    stream: String,
    version: usize,
    random: fastrand::Rng,
    /// When each append that has no answer was sent.
    sent: VecDeque<Instant>,
    _connection: AbortOnDropHandle,
}

impl PipelineClient {
    async fn connect(address: SocketAddr, stream: String) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("cannot connect to the measured host")?;
        socket.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let (appends, receiver) = mpsc::channel(IN_FLIGHT);
        let body = unfold(receiver, async |mut receiver| {
            let append = receiver.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(Frame::data(append)), receiver))
        });
        let request = Request::post("/v1/stores/main/append")
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, PACKED_MEDIA_TYPE)
            .header(header::ACCEPT, "application/x-ndjson")
            .body(StreamBody::new(Box::pin(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        anyhow::ensure!(status == StatusCode::OK, "a pipeline of appends was answered {status}");
        Ok(Self {
            appends,
            answers: response.into_body(),
            unread: Vec::new(),
            stream,
            version: 0,
            random: fastrand::Rng::new(),
            sent: VecDeque::new(),
            _connection: connection,
        })
    }

    /// Connects this many clients, each with a stream of its own.
    pub(crate) async fn connect_all(address: SocketAddr, clients: usize) -> anyhow::Result<Vec<Self>> {
        let run = uuid::Uuid::new_v4();
        let mut connected = Vec::with_capacity(clients);
        for number in 0..clients {
            connected.push(Self::connect(address, format!("bench-{run}-{number}")).await?);
        }
        Ok(connected)
    }

    async fn send(&mut self, events: usize) -> anyhow::Result<()> {
        let append = pipelined(&mut self.random, &self.stream, self.version, events);
        self.sent.push_back(Instant::now());
        self.appends.send(append).await.context("the measured host closed the connection")?;
        self.version += events;
        Ok(())
    }

    /// Waits for the next answers, and returns how many came.
    async fn answers(&mut self) -> anyhow::Result<usize> {
        let frame = self.answers.frame().await.context("the measured host ended a pipeline of appends")??;
        let mut count = 0;
        for part in frame.data_ref().map_or(&[][..], |bytes| bytes).split_inclusive(|byte| *byte == b'\n') {
            self.unread.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let is_made = self.unread.windows(MADE.len()).any(|found| found == MADE);
                let answer = String::from_utf8_lossy(&self.unread);
                anyhow::ensure!(is_made, "an append was answered {answer}");
                self.unread.clear();
                count += 1;
            }
        }
        Ok(count)
    }
}

impl Appender for PipelineClient {
    async fn append(&mut self, events: usize) -> anyhow::Result<Duration> {
        self.send(events).await?;
        while self.answers().await? == 0 {}
        let sent = self.sent.pop_front().context("an answer came that no append has")?;
        Ok(sent.elapsed())
    }

    /// Keeps [`IN_FLIGHT`] appends without an answer. Counts those that were answered after the warm-up.
    async fn append_for(&mut self, events: usize, time: Duration) -> anyhow::Result<Measured> {
        let count_from = Instant::now() + WARM_UP;
        let end = count_from + time;
        let (mut latencies, mut appends) = (Vec::new(), 0);
        loop {
            while self.sent.len() < IN_FLIGHT && Instant::now() < end {
                self.send(events).await?;
            }
            if self.sent.is_empty() {
                return Ok(Measured::new(latencies, appends, time));
            }
            let count = self.answers().await?;
            let now = Instant::now();
            for sent in self.sent.drain(..count) {
                appends += 1;
                if (count_from..end).contains(&now) {
                    latencies.push(now - sent);
                }
            }
        }
    }
}
