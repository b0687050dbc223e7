//! A consumer of a durable subscription over server-sent events.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::client::AbortOnDropHandle;

/// An event that was delivered.
#[derive(Debug, Deserialize)]
pub(super) struct Delivered<'a> {
    #[serde(borrow)]
    pub(super) stream: std::borrow::Cow<'a, str>,
    pub(super) version: u64,
    pub(super) delivery: Place,
}

/// Where a delivered event is in its subscription.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    pub(super) place: u64,
}

/// The first message.
#[derive(Deserialize)]
struct Joined {
    consumer: u64,
}

/// A connection that gets what is delivered to one consumer.
pub(super) struct Consumer {
    body: Incoming,
    /// What was received and is not a whole line yet.
    rest: Vec<u8>,
    /// The consumer's number.
    pub(super) id: u64,
    _connection: AbortOnDropHandle,
}

impl Consumer {
    /// Joins a subscription.
    pub(super) async fn join(address: SocketAddr, name: &str, window: u32) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("a consumer cannot connect")?;
        socket.set_nodelay(true)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::get(format!("/v1/stores/main/subscriptions/{name}/events?window={window}"))
            .header(header::HOST, address.to_string())
            .header(header::ACCEPT, "text/event-stream")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        anyhow::ensure!(status == StatusCode::OK, "a consumer got the response {status}");
        let mut consumer =
            Self { body: response.into_body(), rest: Vec::new(), id: 0, _connection: connection };
        let mut id = None;
        while id.is_none() {
            consumer.next(|line| id = serde_json::from_slice::<Joined>(line).ok()).await?;
        }
        consumer.id = id.context("a consumer has a number")?.consumer;
        Ok(consumer)
    }

    /// Waits for what comes next, and calls `take` with the data of each message of it.
    pub(super) async fn next(&mut self, mut take: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let frame = self.body.frame().await.context("the host ended a consumer")??;
        let Some(bytes) = frame.data_ref() else { return Ok(()) };
        self.rest.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(length) = self.rest[begin..].iter().position(|byte| *byte == b'\n') {
            if let Some(data) = self.rest[begin..begin + length].strip_prefix(b"data: ") {
                take(data);
            }
            begin += length + 1;
        }
        self.rest.drain(..begin);
        Ok(())
    }
}
