//! Requests that other nodes relay to this one.

use std::sync::Arc;

use http::{Request, Response};

use crate::body::RequestBody;
use crate::cluster::{RelayedBody, mark_relayed};
use crate::service::{Service, ServiceConfig, relayed_body};

/// Serves requests that come over connections of peers. Their origins were checked by the node that a web page has sent them to.
pub struct Relays(Arc<Service>);

impl Relays {
    /// Serves the same as a listener with this configuration.
    #[must_use]
    pub fn new(config: ServiceConfig) -> Self {
        Self(Arc::new(Service::new(config)))
    }

    /// Serves a request. It is not relayed once more.
    pub async fn respond(&self, request: Request<RelayedBody>) -> Response<RelayedBody> {
        let mut request = request.map(RequestBody::relayed);
        mark_relayed(&mut request);
        self.0.route(request).await.map(relayed_body)
    }
}
