//! Server-sent events of a response. The crate `sse-stream` parses them, and buffers a message until it is complete, so the
//! size of a message is limited before.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::stream::{BoxStream, Peekable, Stream, StreamExt as _, unfold};
use http::header::{ACCEPT, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;
use sse_stream::{Error, Sse, SseByteStream};

use super::error::{ClientError, Problem};
use super::http::{Client, RESPONSE_TIMEOUT, innermost, whole};

/// How long a live stream may be silent. The gateway sends something every 15 s, so the peer is gone then.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// The type of a message that carries an event, which need not be named.
const MESSAGE: &str = "message";

/// The type of the message that says, as a problem document, why the gateway ends the stream.
const END: &str = "end";

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The largest message, in bytes. An event of 1 MiB takes less, also in base64 and with its metadata.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// The end of a message, as the gateway writes it.
const MESSAGE_END: &[u8] = b"\n\n";

/// The messages of a response. A message without data has only an id, or a delay for the next attempt.
type Messages = Peekable<BoxStream<'static, Result<Sse, Error>>>;

/// Why the bytes of a response end early. [`Error::Body`] has it as its source.
#[derive(Debug, thiserror::Error)]
enum BodyError<E: std::error::Error + 'static> {
    #[error(transparent)]
    Connection(E),
    #[error("a message is larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("silent for {} s", SILENCE_TIMEOUT.as_secs())]
    Silent,
}

/// A live stream of messages.
pub(super) struct EventStream {
    url: String,
    messages: Messages,
}

impl EventStream {
    /// Opens a stream, after the message with this id.
    pub(super) async fn open(client: &Client, url: &str, last_id: Option<&str>) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_id {
            let id = HeaderValue::from_str(id).map_err(|error| unreadable(url, error.to_string()))?;
            headers.insert(LAST_EVENT_ID, id);
        }
        let response = client.send(Method::GET, url, headers, whole(Bytes::new()));
        let response = tokio::time::timeout(RESPONSE_TIMEOUT, response).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut { url: url.to_owned(), seconds: RESPONSE_TIMEOUT.as_secs() })
        })?;
        Ok(Self { url: url.to_owned(), messages: messages(response.into_body()) })
    }

    /// The next message. The end of the stream is an error.
    pub(super) async fn next(&mut self) -> Result<Sse, ClientError> {
        let lost = |detail: String| ClientError::Lost { url: self.url.clone(), detail };
        let message = match self.messages.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.broken(&error)),
            None => return Err(lost("the host ended it".to_owned())),
        };
        match &message.data {
            Some(problem) if message.event.as_deref() == Some(END) => {
                let problem = Box::new(Problem::of_document(problem.as_bytes()));
                Err(ClientError::Refused { url: self.url.clone(), problem })
            }
            _ => Ok(message),
        }
    }

    /// Whether the next message has arrived and has an event.
    pub(super) fn is_ready(&mut self) -> bool {
        let next = Pin::new(&mut self.messages).peek().now_or_never().flatten();
        matches!(next, Some(Ok(message)) if message.data.is_some() && is_event(message))
    }

    fn broken(&self, error: &Error) -> ClientError {
        let Error::Body(source) = error else { return unreadable(&self.url, error.to_string()) };
        match source.downcast_ref::<BodyError<hyper::Error>>() {
            Some(BodyError::TooLarge) => unreadable(&self.url, source.to_string()),
            _ => ClientError::Lost { url: self.url.clone(), detail: innermost(&**source) },
        }
    }
}

/// Whether a message is of the type that carries an event.
pub(super) fn is_event(message: &Sse) -> bool {
    matches!(message.event.as_deref(), None | Some("" | MESSAGE))
}

/// The error of what the gateway sent and cannot be read.
pub(super) fn unreadable(url: &str, detail: String) -> ClientError {
    ClientError::Unreadable { url: url.to_owned(), detail }
}

/// Parses the body of a response.
fn messages(body: Incoming) -> Messages {
    SseByteStream::new(limited(heard(BodyDataStream::new(body)))).boxed().peekable()
}

/// Fails when nothing is heard for long. A comment is no message, but a sign of life.
fn heard<E: std::error::Error + Send + 'static>(
    pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, BodyError<E>>> {
    unfold(Some(Box::pin(pieces)), |pieces| async move {
        let mut pieces = pieces?;
        match tokio::time::timeout(SILENCE_TIMEOUT, pieces.next()).await {
            Ok(piece) => Some((piece?.map_err(BodyError::Connection), Some(pieces))),
            Err(_) => Some((Err(BodyError::Silent), None)),
        }
    })
}

/// Fails where more bytes come in succession than a message may have.
fn limited<E: std::error::Error + 'static>(
    pieces: impl Stream<Item = Result<Bytes, BodyError<E>>>,
) -> impl Stream<Item = Result<Bytes, BodyError<E>>> {
    let mut unfinished = 0;
    pieces.map(move |piece| {
        let piece = piece?;
        let end = piece.windows(MESSAGE_END.len()).rposition(|window| window == MESSAGE_END);
        unfinished = end.map_or(unfinished + piece.len(), |end| piece.len() - end);
        if unfinished > MESSAGE_BYTES_MAX { Err(BodyError::TooLarge) } else { Ok(piece) }
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::stream::{self, StreamExt as _, iter};
    use sse_stream::{Error, Sse, SseByteStream};

    use super::{BodyError, MESSAGE_BYTES_MAX, SILENCE_TIMEOUT, heard, limited};

    async fn parse(pieces: Vec<Bytes>) -> Vec<Result<Sse, Error>> {
        let pieces = iter(pieces.into_iter().map(Ok::<_, Infallible>));
        SseByteStream::new(limited(heard(pieces))).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_comment_is_a_sign_of_life_and_silence_is_none() {
        let comments = stream::unfold(0, |sent| async move {
            let pause = if sent < 10 { SILENCE_TIMEOUT / 4 } else { SILENCE_TIMEOUT * 2 };
            tokio::time::sleep(pause).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b": \n\n")), sent + 1))
        });
        let begun = tokio::time::Instant::now();
        let found: Vec<_> = SseByteStream::new(limited(heard(comments))).collect().await;
        let [Err(Error::Body(error))] = found.as_slice() else { panic!("{found:?}") };
        assert!(matches!(error.downcast_ref(), Some(BodyError::<Infallible>::Silent)), "{error}");
        assert_eq!(begun.elapsed(), SILENCE_TIMEOUT / 4 * 10 + SILENCE_TIMEOUT);
    }

    #[tokio::test]
    async fn messages_are_found_wherever_the_pieces_end() {
        let message = |id: &str, data: &str| Sse::default().id(id).data(data);
        let cases = [
            ("id: 7\ndata: {}\n\n", vec![message("7", "{}")]),
            ("id:7\r\ndata:ä\r\n\r\n: keep-alive\n\n", vec![message("7", "ä")]),
            ("id: 1\n\nid: 2\ndata: a\n\n", vec![Sse::default().id("1"), message("2", "a")]),
            ("event: end\ndata: a\ndata: b\n\n", vec![Sse::default().event("end").data("a\nb")]),
            ("data: unfinished\n", vec![]),
        ];
        for (text, expected) in cases {
            for size in 1..=text.len() {
                let pieces = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
                let found: Vec<Sse> = parse(pieces).await.into_iter().map(Result::unwrap).collect();
                assert_eq!(found, expected, "{text:?} in pieces of {size}");
            }
        }
    }

    #[tokio::test]
    async fn a_message_that_is_too_large_is_an_error() {
        let piece = |text: &str| Bytes::from(format!("{text}{}", "x".repeat(1 << 20)));
        let pieces = MESSAGE_BYTES_MAX / (1 << 20);
        for text in ["", "data: ", "\ndata: "] {
            let last = parse(vec![piece(text); pieces + 1]).await.pop();
            let Some(Err(Error::Body(source))) = last else { panic!("{text:?}: {last:?}") };
            let error = source.downcast_ref::<BodyError<Infallible>>();
            assert!(matches!(error, Some(BodyError::TooLarge)), "{text:?}: {error:?}");
        }
        let found = parse(vec![piece("\n\ndata: "); pieces * 2]).await;
        assert!(found.iter().all(Result::is_ok), "{} messages", found.len());
    }
}
