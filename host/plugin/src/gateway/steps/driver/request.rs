//! A request as the gateway gets it. Pure.

use http::request::Parts;

use crate::bindings::gateway::requests::{Caller, Header, Request, RequestBody};
use crate::context::ComponentContext;
use crate::gateway::steps::limits::MOUNT;
use crate::trace::new_id;

/// The request, with its body still to come; `length` is what the client said of it.
pub(super) fn of(parts: &Parts, length: Option<u64>, context: &ComponentContext) -> Request {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
        name: name.as_str().to_owned(),
        value: value.as_bytes().to_vec(),
    };
    let traceparent = parts.headers.get("traceparent").and_then(|value| value.to_str().ok());
    let path = parts.uri.path();
    Request {
        id: new_id(),
        method: parts.method.as_str().to_owned(),
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers.iter().map(header).collect(),
        body: RequestBody::Pieces(length),
        store: context.store.clone(),
        mount: MOUNT.to_owned(),
        caller: Caller { identity: None, scopes: Vec::new() },
        traceparent: traceparent.map(str::to_owned),
        fields: Vec::new(),
    }
}
