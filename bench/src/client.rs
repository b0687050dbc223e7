//! A client of the measured host, which appends to one stream with the exact expected version.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::body::Form;
use crate::load::Appender;

/// A connection that appends to one stream at a time.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    form: Form,
    stream: String,
    version: usize,
    random: fastrand::Rng,
    connection: AbortOnDropHandle,
}

/// Ends the connection's task when its client is dropped.
pub(crate) struct AbortOnDropHandle(JoinHandle<Result<(), hyper::Error>>);

impl AbortOnDropHandle {
    pub(crate) fn new(task: JoinHandle<Result<(), hyper::Error>>) -> Self {
        Self(task)
    }
}

impl Drop for AbortOnDropHandle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Connects, in order to append to a stream that does not exist yet.
    pub(crate) async fn connect(address: SocketAddr, form: Form, stream: String) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("cannot connect to the measured host")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let mut client = Self {
            sender,
            address,
            form,
            stream: String::new(),
            version: 0,
            random: fastrand::Rng::new(),
            connection,
        };
        client.switch_to(stream);
        Ok(client)
    }

    /// Connects this many clients, each with a stream of its own.
    pub(crate) async fn connect_all(
        address: SocketAddr,
        form: Form,
        clients: usize,
    ) -> anyhow::Result<Vec<Self>> {
        let run = uuid::Uuid::new_v4();
        let mut connected = Vec::with_capacity(clients);
        for number in 0..clients {
            connected.push(Self::connect(address, form, format!("bench-{run}-{number}")).await?);
        }
        Ok(connected)
    }

    /// Appends to another stream from now on, which does not exist yet.
    pub(crate) fn switch_to(&mut self, stream: impl std::fmt::Display) {
        self.stream = stream.to_string();
        self.version = 0;
    }

    /// The stream and version of the last event.
    pub(crate) fn place(&self) -> (String, u64) {
        (self.stream.clone(), self.version.saturating_sub(1) as u64)
    }

    /// Number of events in the stream.
    pub(crate) fn version(&self) -> usize {
        self.version
    }
}

impl Appender for Client {
    async fn append(&mut self, events: usize) -> anyhow::Result<Duration> {
        let body = self.form.body(&mut self.random, &self.stream, self.version, events);
        let query = self.form.query(self.version);
        let target = format!("/v1/stores/main/streams/{}/events{query}", self.stream);
        let start = Instant::now();
        anyhow::ensure!(!self.connection.0.is_finished(), "the measured host closed the connection");
        self.sender.ready().await?;
        let request = Request::post(target)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, self.form.media_type())
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
        Ok(start.elapsed())
    }
}
