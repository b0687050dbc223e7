//! Bodies of requests and answers, and JSON in them.

use std::error::Error;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::hello::Refusal;

/// Why a body ended too early.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// A body as it streams.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body of bytes that are there.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, content: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(content).expect("our own types have keys of text");
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The answer that refuses.
pub(crate) fn refusing(refusal: &Refusal) -> Response<Body> {
    json(StatusCode::FORBIDDEN, refusal)
}

/// Reads a body of at most so many bytes.
pub(crate) async fn read(body: Incoming, max: usize) -> Result<Bytes, String> {
    let collected = Limited::new(body, max).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
}

/// Reads JSON of at most so many bytes.
pub(crate) async fn read_json<T: DeserializeOwned>(body: Incoming, max: usize) -> Result<T, String> {
    let bytes = read(body, max).await?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}
