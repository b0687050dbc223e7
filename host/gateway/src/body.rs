//! A request's body, with a limit on how long it may take.
//!
//! A component may respond without having read the body, for example because that is too large. Most clients read the
//! response only after they have sent everything, and lose it if the connection is closed before. So the rest of a body is
//! read and discarded, within limits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use exesdb_plugin::LimitedBody;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Either};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::cluster::RelayedBody;

/// How long a request's body may take from the first wait for it: the largest body at 70 KB per second. A slow body occupies
/// one of few gateway instances.
pub(crate) const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of a body that are discarded: four times the largest request. If there are more, the connection is closed.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// How long discarding may take. It occupies the connection, but no instance.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(10);

/// A body as it arrives: from a client, or from a node that relays it.
type Arriving = Either<Incoming, RelayedBody>;

/// A request's body.
pub(crate) struct RequestBody {
    /// None after its end.
    body: Option<Arriving>,
    /// Completes when the body has taken too long. Made at the first wait, because most bodies arrive at once.
    timeout: Option<Pin<Box<Sleep>>>,
    /// The body may take as long as it likes.
    is_unlimited: bool,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Connection(#[from] hyper::Error),
    #[error("the node that relays the request: {0}")]
    Relay(Box<dyn std::error::Error + Send + Sync>),
    #[error("the request's body took more than {} s", BODY_TIME_MAX.as_secs())]
    Slow,
}

impl From<BodyError> for exesdb_plugin::BodyError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Connection(error) => error.into(),
            BodyError::Relay(_) => Self::ConnectionTerminated,
            BodyError::Slow => Self::ConnectionReadTimeout,
        }
    }
}

impl BodyError {
    /// The error of an [`Arriving`] body.
    fn of(error: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match error.downcast::<hyper::Error>() {
            Ok(error) => Self::Connection(*error),
            Err(error) => Self::Relay(error),
        }
    }
}

impl RequestBody {
    pub(crate) fn new(body: Incoming) -> Self {
        Self::of(Either::Left(body))
    }

    /// The body of a request that another node relays.
    pub(crate) fn relayed(body: RelayedBody) -> Self {
        Self::of(Either::Right(body))
    }

    fn of(body: Arriving) -> Self {
        Self { body: (!body.is_end_stream()).then_some(body), timeout: None, is_unlimited: false }
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
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::of)));
        }
        if self.is_unlimited {
            return Poll::Pending;
        }
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(BODY_TIME_MAX)));
        match timeout.as_mut().poll(context) {
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

impl LimitedBody for RequestBody {
    fn lift_time_limit(&mut self) {
        self.is_unlimited = true;
        self.timeout = None;
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // Without a runtime the host has ended, and so has the connection.
        if let Some(body) = self.body.take()
            && !body.is_end_stream()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(discard(body));
        }
    }
}

async fn discard(mut body: Arriving) {
    let rest = async {
        let mut left = DISCARDED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            let Some(less) = left.checked_sub(bytes) else { return };
            left = less;
        }
    };
    // A body that takes longer is dropped here, which closes its connection.
    drop(tokio::time::timeout(DISCARD_TIME_MAX, rest).await);
}

#[cfg(test)]
mod tests {
    use super::BodyError;

    #[test]
    fn the_error_names_the_limit() {
        assert_eq!(BodyError::Slow.to_string(), "the request's body took more than 60 s");
    }
}
