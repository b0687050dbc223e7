//! Frames that wait for a connection, as the body of a request or answer: what waits goes in one write.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::sync::mpsc;

use crate::frame::Frame;
use crate::limits::WRITE_BYTES;

/// A frame that waits, with what is dropped when it does no more.
pub(crate) struct Waiting {
    pub(crate) frame: Frame,
    pub(crate) held: Option<Box<dyn Send>>,
}

impl From<Frame> for Waiting {
    fn from(frame: Frame) -> Self {
        Self { frame, held: None }
    }
}

/// The body that takes frames out of a queue.
pub(crate) struct Frames {
    queue: mpsc::Receiver<Waiting>,
    /// Content that is too large to be copied, and goes next.
    content: Option<Bytes>,
}

impl Frames {
    pub(crate) fn new(queue: mpsc::Receiver<Waiting>) -> Self {
        Self { queue, content: None }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if let Some(content) = self.content.take() {
            return Poll::Ready(Some(Ok(http_body::Frame::data(content))));
        }
        let mut write = BytesMut::new();
        while write.len() < WRITE_BYTES {
            match self.queue.poll_recv(context) {
                Poll::Ready(Some(Waiting { frame, held: _held })) => {
                    let (head, content) = frame.encode();
                    write.extend_from_slice(&head);
                    if content.len() >= WRITE_BYTES {
                        self.content = Some(content);
                        break;
                    }
                    write.extend_from_slice(&content);
                }
                Poll::Ready(None) if write.is_empty() => return Poll::Ready(None),
                Poll::Pending if write.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(http_body::Frame::data(write.freeze()))))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::Frames;
    use crate::frame::{Decoder, Frame, Side};
    use crate::limits::WRITE_BYTES;

    #[tokio::test]
    async fn what_waits_goes_in_one_write_and_large_content_is_not_copied() {
        let (queue, waiting) = mpsc::channel(8);
        let small = |id| Frame::Ask { id, message: Bytes::from_static(b"message") };
        let large = Bytes::from(vec![7; WRITE_BYTES]);
        let sent = [small(1), small(2), Frame::Ask { id: 3, message: large.clone() }, small(4)];
        for frame in sent.clone() {
            queue.send(frame.into()).await.expect("there is room");
        }
        drop(queue);
        let mut body = Frames::new(waiting);
        let mut decoder = Decoder::new(Side::Asks);
        let mut writes = Vec::new();
        while let Some(Ok(write)) = body.frame().await {
            let data = write.into_data().expect("frames are data");
            decoder.push(&data);
            writes.push(data);
        }
        assert_eq!(writes.len(), 3);
        assert_eq!(writes[1].as_ptr(), large.as_ptr());
        let read: Vec<_> = std::iter::from_fn(|| decoder.next().expect("they are frames")).collect();
        assert_eq!(read, sent);
    }
}
