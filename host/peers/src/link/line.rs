//! A connection that is made when it is needed.

use hyper::client::conn::http2::SendRequest;
use tokio::sync::Mutex;

use super::Live;
use crate::body::Body;
use crate::dial::{DialError, Dialed, dial};
use crate::hello::Kind;
use crate::node::Node;

pub(crate) struct Line {
    kind: Kind,
    /// Held while it is made: the others wait for it.
    made: Mutex<Option<Dialed>>,
}

impl Line {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, made: Mutex::default() }
    }

    /// The connection to the address and log that the live one goes to.
    pub(crate) async fn get(
        &self,
        node: &Node,
        name: &str,
        live: &Live,
    ) -> Result<SendRequest<Body>, DialError> {
        let mut made = self.made.lock().await;
        if let Some(dialed) =
            made.as_ref().filter(|made| made.remote == live.remote && !made.requests.is_closed())
        {
            return Ok(dialed.requests.clone());
        }
        *made = None;
        let dialed = dial(node, name, std::slice::from_ref(&live.address), self.kind).await?;
        let requests = dialed.requests.clone();
        *made = Some(dialed);
        Ok(requests)
    }
}
