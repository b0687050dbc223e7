//! Imports one after the other on one connection, of which many have no answer yet.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::Either;
use http_body_util::channel::{Channel, Sender};
use serde::Serialize;

use super::error::{ClientError, Problem};
use super::http::{Client, RESPONSE_TIMEOUT};
use super::import::Imported;
use super::response_lines::{NDJSON, ResponseLines};

/// Imports that may have no answer. Each has up to 3 MiB, and the host has one decided while another is synced.
pub const IMPORTS_IN_FLIGHT: usize = 4;

/// A request whose body consists of imports, and whose response of the answers to them, in order.
pub struct ImportPipeline {
    imports: Sender<Bytes, Infallible>,
    answers: ResponseLines,
}

/// The line of an import, which is an [`ImportRequest`](super::ImportRequest) or a [`RowsRequest`](super::RowsRequest).
pub fn import_body(request: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(request).expect("requests of this client are JSON");
    line.push(b'\n');
    line.into()
}

impl Client {
    /// Begins a pipeline.
    pub async fn import_pipeline(&self) -> Result<ImportPipeline, ClientError> {
        let url = self.path(&["import"]);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        headers.insert(ACCEPT, HeaderValue::from_static(NDJSON));
        let (imports, body) = Channel::new(IMPORTS_IN_FLIGHT);
        let response = self.send(Method::POST, &url, headers, Either::Right(body));
        let response = tokio::time::timeout(RESPONSE_TIMEOUT, response).await;
        let response = response.unwrap_or_else(|_| Err(timed_out(&url)))?;
        Ok(ImportPipeline { imports, answers: ResponseLines::of(url, response.into_body()) })
    }
}

impl ImportPipeline {
    /// Sends an [import](import_body). At most [`IMPORTS_IN_FLIGHT`] may have no answer.
    pub async fn send(&mut self, body: Bytes) -> Result<(), ClientError> {
        let lost = |_| ClientError::Lost {
            url: self.answers.url().to_owned(),
            detail: "the host reads no more".to_owned(),
        };
        self.imports.send_data(body).await.map_err(lost)
    }

    /// Waits for the answer to the first import that has none.
    pub async fn answer(&mut self) -> Result<Imported, ClientError> {
        let line = tokio::time::timeout(RESPONSE_TIMEOUT, self.answers.next_line()).await;
        let line = line.unwrap_or_else(|_| Err(timed_out(self.answers.url())))?;
        let url = || self.answers.url().to_owned();
        if let Ok(imported) = serde_json::from_slice(&line) {
            return Ok(imported);
        }
        Err(ClientError::Refused { url: url(), problem: Box::new(Problem::of_document(&line)) })
    }
}

fn timed_out(url: &str) -> ClientError {
    ClientError::TimedOut { url: url.to_owned(), seconds: RESPONSE_TIMEOUT.as_secs() }
}
