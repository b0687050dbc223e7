//! Durable subscriptions: how soon an event is delivered, how fast one subscription catches up, and what many of them cost those
//! who append.

mod catch_up;
mod consumer;
mod delivery;
mod many;

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::client::AbortOnDropHandle;

pub(crate) use catch_up::{CaughtUp, measure as measure_catch_up};
pub(crate) use delivery::{Delivery, measure as measure_delivery};
pub(crate) use many::{Many, measure as measure_many};

/// A connection for the requests of subscriptions.
struct Api {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
    _connection: AbortOnDropHandle,
}

impl Api {
    async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.context("cannot connect to the measured host")?;
        socket.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        Ok(Self { sender, address, _connection: AbortOnDropHandle::new(tokio::spawn(connection)) })
    }

    async fn request(&mut self, method: Method, path: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        self.sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/stores/main/subscriptions/{path}"))
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        anyhow::ensure!(
            status == StatusCode::OK || status == StatusCode::CREATED,
            "a request of {path} got the response {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(serde_json::from_slice(&body)?)
    }

    /// Creates a subscription.
    async fn create(&mut self, name: &str, new: &Value) -> anyhow::Result<()> {
        self.request(Method::PUT, name, new.to_string().into_bytes()).await.map(drop)
    }

    /// Removes a subscription.
    async fn remove(&mut self, name: &str) -> anyhow::Result<()> {
        self.request(Method::DELETE, name, Vec::new()).await.map(drop)
    }

    /// Acknowledges events. Returns how many were meant.
    async fn acknowledge(&mut self, name: &str, consumer: u64, places: &[u64]) -> anyhow::Result<u64> {
        let settlement = serde_json::json!({ "consumer": consumer, "ack": places });
        let path = format!("{name}/settlements");
        let counts = self.request(Method::POST, &path, settlement.to_string().into_bytes()).await?;
        counts["acknowledged"].as_u64().context("a settlement has a count")
    }

    /// The number of events from the checkpoint to the end of what is selected.
    async fn lag(&mut self, name: &str) -> anyhow::Result<u64> {
        let info = self.request(Method::GET, name, Vec::new()).await?;
        info["lag"]["events"].as_u64().context("a subscription has a lag")
    }
}
