//! A request's body, with a limit on how long it may take.
//!
//! A component may answer without having read the body, as it does when that is too large. Most clients look for the
//! answer when they have sent everything; a connection that is closed before costs them the answer. So what is left
//! of a body is read and thrown away, up to a point.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::Sleep;

/// How long a request's body may be waited for, from the first time that it has to be: the largest at 70 KB a second.
/// A body that trickles holds a gateway instance, of which there are few.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of a body that are thrown away, at most: four times the largest request. Whoever sends more is cut off.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// How long throwing away may take. No instance is held meanwhile, but the connection is.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(10);

/// A request's body.
pub(crate) struct RequestBody {
    /// None when it has ended.
    body: Option<Incoming>,
    /// When it has taken too long. Made at the first wait: most bodies are there when they are asked for.
    overdue: Option<Pin<Box<Sleep>>>,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    #[error("the request's body took more than {} s", BODY_TIME_MAX.as_secs())]
    Slow,
}

impl From<BodyError> for exesdb_plugin::BodyError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Connection(error) => error.into(),
            BodyError::Slow => Self::ConnectionReadTimeout,
        }
    }
}

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body: (!body.is_end_stream()).then_some(body), overdue: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            if !matches!(frame, Some(Ok(_))) {
                self.body = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)));
        }
        let overdue = self.overdue.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_TIME_MAX)));
        match overdue.as_mut().poll(context) {
            Poll::Ready(()) => {
                self.body = None;
                Poll::Ready(Some(Err(BodyError::Slow)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Without a runtime the host is at its end, and so is the connection.
        if let Some(body) = self.body.take()
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(discard(body));
        }
    }
}

async fn discard(mut body: Incoming) {
    let rest = async {
        let mut left = DISCARDED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(bytes) else { return };
            left = less;
        }
    };
    // A body that takes longer is dropped here, and its connection closed.
    drop(tokio::time::timeout(DISCARD_TIME_MAX, rest).await);
}

#[cfg(test)]
mod tests {
    use super::BodyError;

    #[test]
    fn the_message_says_how_long_is_too_long() {
        assert_eq!(BodyError::Slow.to_string(), "the request's body took more than 60 s");
    }
}
