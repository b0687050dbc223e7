//! The bodies of a request and of its response, observed on their way through the host.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::steps::StepsBody;
use crate::admission::{SHORT_BYTES_MAX, SHORT_TIME_MAX};
use crate::request_control::RequestControl;

/// Sent when the guest's call has returned; dropped when the call ended in any other way.
pub(super) type Completion = oneshot::Sender<()>;

/// Tells the guest to finish when the client's side is dropped.
pub(super) struct Client(pub(super) Arc<RequestControl>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The body of a response.
pub enum GatewayBody {
    /// As one instance writes it.
    Instance(InstanceBody),
    /// As steps make it.
    Steps(StepsBody),
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Instance(body) => Pin::new(body).poll_frame(context),
            Self::Steps(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Instance(body) => body.is_end_stream(),
            Self::Steps(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Instance(body) => body.size_hint(),
            Self::Steps(body) => body.size_hint(),
        }
    }
}

/// The body of a response, as an instance writes it.
///
/// For the engine, a body whose instance is gone ends like any other. Here it ends only when the guest's call has
/// returned, and otherwise with an error, so that no client takes a partial response for a complete one.
pub struct InstanceBody {
    /// Frames that were read ahead.
    held: VecDeque<Frame<Bytes>>,
    body: HyperOutgoingBody,
    completion: oneshot::Receiver<()>,
    client: Client,
}

impl InstanceBody {
    pub(super) fn new(body: HyperOutgoingBody, completion: oneshot::Receiver<()>, client: Client) -> Self {
        Self { held: VecDeque::new(), body, completion, client }
    }

    /// The whole body, if it is short and complete soon; otherwise none.
    pub(super) async fn if_short(mut self) -> Option<Self> {
        let until = tokio::time::Instant::now() + SHORT_TIME_MAX;
        let (mut held, mut bytes) = (VecDeque::new(), 0);
        loop {
            let frame = std::future::poll_fn(|context| Pin::new(&mut self).poll_frame(context));
            match tokio::time::timeout_at(until, frame).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    if bytes > SHORT_BYTES_MAX {
                        return None;
                    }
                    held.push_back(frame);
                }
                Ok(Some(Err(_))) | Err(_) => return None,
            }
        }
        self.held = held;
        Some(self)
    }
}

impl Body for InstanceBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(frame) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        self.client.0.body_requested();
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None if self.completion.is_terminated() => None,
            None => match ready!(Pin::new(&mut self.completion).poll(context)) {
                Ok(()) => None,
                Err(_) => Some(Err(Self::Error::HttpProtocolError)),
            },
            frame => frame,
        };
        self.client.0.body_taken();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.held.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}

/// The body of a request, which records when its parts arrive.
pub(super) struct ArrivingBody<B> {
    pub(super) body: B,
    pub(super) control: Arc<RequestControl>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for ArrivingBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_ready() {
            self.control.body_arrived();
        } else {
            self.control.body_awaited();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
