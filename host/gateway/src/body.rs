//! A request's body, with a limit on how long its sender may pause.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

/// Longest pause within a request's body. A body that trickles holds a gateway instance, of which there are few.
pub(crate) const BODY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// A request's body.
pub(crate) struct RequestBody {
    body: Incoming,
    /// Made at the first pause: most bodies are there when they are asked for.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    #[error("the request's body paused for more than {} s", BODY_PAUSE_MAX.as_secs())]
    Paused,
}

impl From<BodyError> for exesdb_plugin::BodyError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Connection(error) => error.into(),
            BodyError::Paused => Self::ConnectionReadTimeout,
        }
    }
}

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, pause: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        let until = Instant::now() + BODY_PAUSE_MAX;
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        match pause.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Paused))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::BodyError;

    #[test]
    fn the_message_says_how_long_is_too_long() {
        assert_eq!(BodyError::Paused.to_string(), "the request's body paused for more than 10 s");
    }
}
