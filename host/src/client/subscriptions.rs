//! Durable subscriptions: created, changed, described, consumed.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ClientError;
use super::events::PAGE_COUNT_MAX;
use super::http::Client;
use super::url::escaped;

/// A page of subscriptions, each as the gateway wrote it.
#[derive(Debug, Deserialize)]
pub struct SubscriptionPage {
    /// In the order of their names.
    pub subscriptions: Vec<Box<RawValue>>,
    /// Whether there are more.
    pub more: bool,
}

/// Events that were delivered.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// The consumer that has them.
    pub consumer: u64,
    /// As the gateway wrote them.
    pub events: Vec<Box<RawValue>>,
}

/// What a consumer says about events.
#[derive(Debug, Default, Serialize)]
pub struct Settlement {
    /// The consumer.
    pub consumer: u64,
    /// Places of events that are done.
    pub ack: Vec<u64>,
    /// The consumer leaves.
    pub leave: bool,
}

/// Which parked events are meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParkedScope {
    /// From this place on.
    pub from: Option<u64>,
    /// Up to this place.
    pub up_to: Option<u64>,
}

impl Client {
    fn subscription(&self, name: &str, rest: &[&str]) -> String {
        let segments: Vec<&str> = ["subscriptions", name].iter().chain(rest).copied().collect();
        self.path(&segments)
    }

    /// Creates a subscription. Returns whether it was not there before.
    pub async fn create_subscription(
        &self,
        name: &str,
        new: &serde_json::Value,
    ) -> Result<bool, ClientError> {
        #[derive(Deserialize)]
        struct Created {
            created: bool,
        }
        let created: Created = self.json(Method::PUT, &self.subscription(name, &[]), Some(new)).await?;
        Ok(created.created)
    }

    /// Changes settings of a subscription.
    pub async fn update_subscription(
        &self,
        name: &str,
        settings: &serde_json::Value,
    ) -> Result<(), ClientError> {
        self.send_json(Method::PATCH, &self.subscription(name, &[]), settings).await
    }

    /// Removes a subscription.
    pub async fn delete_subscription(&self, name: &str) -> Result<(), ClientError> {
        self.done(Method::DELETE, &self.subscription(name, &[])).await
    }

    /// Pauses a subscription.
    pub async fn pause_subscription(&self, name: &str) -> Result<(), ClientError> {
        self.done(Method::POST, &self.subscription(name, &["pause"])).await
    }

    /// Resumes a subscription.
    pub async fn resume_subscription(&self, name: &str) -> Result<(), ClientError> {
        self.done(Method::POST, &self.subscription(name, &["resume"])).await
    }

    async fn done(&self, method: Method, url: &str) -> Result<(), ClientError> {
        self.bytes(method, url, HeaderMap::new(), Bytes::new()).await.map(drop)
    }

    /// Describes a subscription, as the gateway wrote it.
    pub async fn describe_subscription(&self, name: &str) -> Result<Box<RawValue>, ClientError> {
        self.json(Method::GET, &self.subscription(name, &[]), None::<&()>).await
    }

    /// Lists subscriptions after this name.
    pub async fn subscriptions(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<SubscriptionPage, ClientError> {
        let mut url = self.path(&["subscriptions"]);
        let _ = write!(url, "?count={PAGE_COUNT_MAX}&prefix={}", escaped(prefix));
        if let Some(after) = after {
            let _ = write!(url, "&after={}", escaped(after));
        }
        self.json(Method::GET, &url, None::<&()>).await
    }

    /// A page of parked events from a place on, as the gateway wrote it.
    pub async fn parked(&self, name: &str, from: u64) -> Result<serde_json::Value, ClientError> {
        let mut url = self.subscription(name, &["parked"]);
        let _ = write!(url, "?count={PAGE_COUNT_MAX}&from={from}");
        self.json(Method::GET, &url, None::<&()>).await
    }

    /// Has parked events delivered once more. Returns how many.
    pub async fn replay_parked(&self, name: &str, scope: ParkedScope) -> Result<u64, ClientError> {
        self.parked_scope(Method::POST, self.subscription(name, &["parked", "replay"]), scope).await
    }

    /// Forgets parked events. Returns how many.
    pub async fn truncate_parked(&self, name: &str, scope: ParkedScope) -> Result<u64, ClientError> {
        self.parked_scope(Method::DELETE, self.subscription(name, &["parked"]), scope).await
    }

    async fn parked_scope(
        &self,
        method: Method,
        mut url: String,
        scope: ParkedScope,
    ) -> Result<u64, ClientError> {
        #[derive(Deserialize)]
        struct Count {
            count: u64,
        }
        let _ = write!(url, "?from={}", scope.from.unwrap_or(0));
        if let Some(up_to) = scope.up_to {
            let _ = write!(url, "&up_to={up_to}");
        }
        let count: Count = self.json(method, &url, None::<&()>).await?;
        Ok(count.count)
    }

    /// Takes the events that a subscription delivers to a consumer, none for a new one. Waits at most `wait_ms` milliseconds for the
    /// first one.
    pub async fn consume(
        &self,
        name: &str,
        consumer: Option<u64>,
        window: u32,
        wait_ms: u32,
    ) -> Result<Batch, ClientError> {
        let mut url = self.subscription(name, &["events"]);
        let _ = write!(url, "?window={window}&wait_ms={wait_ms}");
        if let Some(consumer) = consumer {
            let _ = write!(url, "&consumer={consumer}");
        }
        self.json(Method::GET, &url, None::<&()>).await
    }

    /// Says what became of events.
    pub async fn settle(&self, name: &str, settlement: &Settlement) -> Result<(), ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(settlement).expect("requests of this client are JSON");
        let url = self.subscription(name, &["settlements"]);
        self.bytes(Method::POST, &url, headers, body.into()).await.map(drop)
    }
}
