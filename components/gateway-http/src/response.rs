//! Responses.

use exesdb_sdk::logging;
use exesdb_sdk::steps::Response;

use crate::history::{HISTORY_HEADER, HistoryId};
use crate::problem::{Kind, Problem};

/// The OpenAPI document that the gateway serves.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// A JSON response.
pub(crate) fn json(body: impl Into<Vec<u8>>) -> Response {
    Response::new(200).header("content-type", "application/json").body(body)
}

/// A JSON response whose positions belong to a history.
pub(crate) fn json_of(history: HistoryId, body: Vec<u8>) -> Response {
    json(body).header(HISTORY_HEADER, history.to_string())
}

/// A response that says only that it was done.
pub(crate) fn no_content() -> Response {
    Response::new(204)
}

/// The response to a request that failed. What the client cannot know is logged.
pub(crate) fn of_problem(problem: &Problem) -> Response {
    if problem.kind == Kind::Internal {
        logging::error(&format!("a request failed: {}", problem.detail));
    }
    let mut response =
        Response::new(problem.kind.status()).header("content-type", "application/problem+json");
    if let Some(allow) = problem.allow {
        response = response.header("allow", allow);
    }
    if let Some(seconds) = problem.retry_after() {
        response = response.header("retry-after", seconds.to_string());
    }
    response.body(problem.encode())
}

/// Turns a response to `GET` into one to `HEAD`: removes the body and states its length.
pub(crate) fn without_body(mut response: Response) -> Response {
    let length = std::mem::take(&mut response.body).len();
    response.header("content-length", length.to_string())
}
