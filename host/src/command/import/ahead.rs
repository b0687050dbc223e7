//! Requests that are sent ahead of the answers to those before them, in a pipeline.
//!
//! The first request is sent alone, because it shows whether anything can be imported at all. If the store refuses one, or the
//! connection breaks, the caller gets back all requests without an answer, to send them one after the other: versions and ids
//! make it safe to send them twice. By then the store has answered all of them, or the connection is lost.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::client::{Client, IMPORTS_IN_FLIGHT, ImportPipeline, Imported};

/// Requests without an answer. `R` is what the caller needs to know of each.
pub(super) struct Ahead<R> {
    /// Opened after the first request has succeeded.
    pipeline: Option<ImportPipeline>,
    requests: VecDeque<Request<R>>,
    has_begun: bool,
    /// Whether the gateway has no pipelines.
    is_unsupported: bool,
}

struct Request<R> {
    what: R,
    /// Whether there was anything to send.
    is_sent: bool,
}

/// What became of requests.
#[derive(Debug)]
pub(super) enum Answer<R> {
    /// The first request without an answer was carried out.
    Imported(R, Imported),
    /// The first request was refused, or the connection broke. These are all that had no answer, each with the answer that came
    /// after it if it was carried out.
    Back(Vec<(R, Option<Imported>)>),
}

impl<R> Default for Ahead<R> {
    fn default() -> Ahead<R> {
        Ahead { pipeline: None, requests: VecDeque::new(), has_begun: false, is_unsupported: false }
    }
}

impl<R> Ahead<R> {
    /// Whether the next request may be sent ahead.
    pub(super) fn may_send(&mut self) -> bool {
        std::mem::replace(&mut self.has_begun, true) && !self.is_unsupported
    }

    /// Whether an answer has to come before the next request.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= IMPORTS_IN_FLIGHT
    }

    /// Opens the pipeline if there is none. Returns whether there is one.
    pub(super) async fn open(&mut self, client: &Client) -> bool {
        if self.pipeline.is_none() {
            match client.import_pipeline().await {
                Ok(pipeline) => self.pipeline = Some(pipeline),
                Err(error) => self.is_unsupported = !error.is_transient(),
            }
        }
        self.pipeline.is_some()
    }

    /// Sends a request. Without a body, it counts as carried out when its turn comes.
    pub(super) async fn send(&mut self, what: R, body: Option<Bytes>) {
        let is_sent = body.is_some();
        if let (Some(pipeline), Some(body)) = (&mut self.pipeline, body) {
            // What could not be sent has no answer, either.
            drop(pipeline.send(body).await);
        }
        self.requests.push_back(Request { what, is_sent });
    }

    /// Waits for the answer to the first request that has none; none if there is no such request.
    pub(super) async fn answer(&mut self) -> Option<Answer<R>> {
        let first = self.requests.front()?;
        let answered = match &mut self.pipeline {
            _ if !first.is_sent => Ok(Imported::default()),
            Some(pipeline) => pipeline.answer().await,
            None => return Some(self.take_back().await),
        };
        match answered {
            Ok(imported) => {
                let Request { what, .. } = self.requests.pop_front()?;
                Some(Answer::Imported(what, imported))
            }
            Err(error) => {
                tracing::debug!(%error, "requests are sent again, one after the other");
                Some(self.take_back().await)
            }
        }
    }

    /// Takes back all requests. The first one has been answered, and was not carried out.
    async fn take_back(&mut self) -> Answer<R> {
        let mut pipeline = self.pipeline.take();
        let mut back = Vec::with_capacity(self.requests.len());
        for (at, Request { what, is_sent }) in std::mem::take(&mut self.requests).into_iter().enumerate() {
            // Until the host has answered, it may still be carrying them out.
            let answer = match &mut pipeline {
                Some(pipeline) if at > 0 && is_sent => Some(pipeline.answer().await),
                _ => None,
            };
            if matches!(&answer, Some(Err(error)) if error.problem_kind().is_empty()) {
                pipeline = None;
            }
            back.push((what, answer.and_then(Result::ok)));
        }
        Answer::Back(back)
    }
}
