//! The body of a request, from the connection to the gateway.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::Error;

use super::limits::{ROOM_FREE_BYTES, SEND_BYTES_MIN, SEND_PAUSE_MAX};
use super::room::{NoRoom, Share};
use crate::bindings::gateway::requests::{Header, RequestBody};
use crate::bindings::gateway::steps::{Intake, Piece};

/// A request's body as it arrives, whose time is limited until the response begins.
pub trait LimitedBody: Body<Data = Bytes> {
    /// From now on the body may take as long as it likes.
    fn lift_time_limit(&mut self);
}

/// Why no more of a body comes.
#[derive(Debug)]
pub(super) enum Lost {
    /// The connection failed, or the client was too slow.
    Connection(Error),
    /// There is no room for it.
    NoRoom,
}

/// A body of any type.
trait AnyBody: Send {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>>;
    fn lift_time_limit(&mut self);
}

impl<B> AnyBody for B
where
    B: LimitedBody + Unpin + Send,
    B::Error: Into<Error>,
{
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(self).poll_frame(context).map_err(Into::into)
    }

    fn lift_time_limit(&mut self) {
        LimitedBody::lift_time_limit(self);
    }
}

/// The body of one request.
pub(super) struct Arrival {
    /// None once its end has come.
    body: Option<Box<dyn AnyBody>>,
    /// What has come and was not used.
    kept: BytesMut,
    /// So many bytes of it do not have the byte that was last asked for.
    searched: usize,
    trailers: Vec<Header>,
    share: Share,
    /// When a part last came.
    last_part: Instant,
    /// Since when fewer than [`SEND_BYTES_MIN`] have come of a message that has some of the room.
    slow_since: Instant,
    /// Bytes that have come since then.
    slow_bytes: usize,
    /// The response has begun.
    has_begun: bool,
    /// The gateway waits for more.
    is_wanted: bool,
}

impl Arrival {
    pub(super) fn of<B>(body: B, share: Share) -> Self
    where
        B: LimitedBody + Unpin + Send + 'static,
        B::Error: Into<Error>,
    {
        let body: Option<Box<dyn AnyBody>> = if body.is_end_stream() { None } else { Some(Box::new(body)) };
        Self {
            body,
            kept: BytesMut::new(),
            searched: 0,
            trailers: Vec::new(),
            share,
            last_part: Instant::now(),
            slow_since: Instant::now(),
            slow_bytes: 0,
            has_begun: false,
            is_wanted: false,
        }
    }

    /// Notes whether the gateway waits for more. Time in which it did not is no slowness of the client.
    pub(super) fn want(&mut self, is_wanted: bool) {
        if is_wanted && !self.is_wanted {
            (self.slow_since, self.slow_bytes) = (Instant::now(), 0);
        }
        self.is_wanted = is_wanted;
    }

    /// From now on the body may take as long as it likes, as far as it has none of the room.
    pub(super) fn lift_time_limit(&mut self) {
        self.has_begun = true;
        if let Some(body) = &mut self.body {
            body.lift_time_limit();
        }
    }

    /// The body as the request has it when it begins: whole, if its length is known and at most `inline`, or if it has come
    /// already.
    pub(super) async fn at_begin(&mut self, length: Option<u64>, inline: usize) -> Result<RequestBody, Lost> {
        let fits = length.is_some_and(|length| usize::try_from(length).is_ok_and(|length| length <= inline));
        while self.body.is_some() && self.kept.len() <= inline {
            let mut more = std::pin::pin!(self.more());
            if fits {
                more.await?;
            } else {
                match futures_util::poll!(more.as_mut()) {
                    Poll::Ready(more) => more?,
                    Poll::Pending => break,
                }
            }
        }
        if self.body.is_none() && self.kept.len() <= inline {
            return Ok(RequestBody::Whole(self.kept.to_vec()));
        }
        Ok(RequestBody::Pieces(length))
    }

    /// When a part of the body last came, or the request.
    pub(super) fn last_part(&self) -> Instant {
        self.last_part
    }

    /// Until when more has to come of a message that has some of the room that all requests share.
    fn slow_at(&self) -> Option<Instant> {
        (self.has_begun && self.has_room()).then(|| self.slow_since + SEND_PAUSE_MAX)
    }

    fn has_room(&self) -> bool {
        self.share.bytes() > 0
    }

    /// Drops what was used.
    pub(super) fn used(&mut self, bytes: usize) {
        self.kept.advance(bytes.min(self.kept.len()));
        self.searched = 0;
        self.set_share().ok();
        (self.slow_since, self.slow_bytes) = (Instant::now(), 0);
    }

    /// The piece that was asked for, when it has come. May be dropped and called again.
    pub(super) async fn piece(&mut self, intake: Intake) -> Result<Piece, Lost> {
        let (at_least, at_most) = (intake.at_least.max(1) as usize, intake.at_most as usize);
        while self.body.is_some() && self.kept.len() < at_most {
            let enough = self.kept.len() >= at_least || intake.until.is_some_and(|byte| self.has(byte));
            let mut more = std::pin::pin!(self.more());
            if !enough {
                more.await?;
                continue;
            }
            // What is there already comes with it.
            match futures_util::poll!(more.as_mut()) {
                Poll::Ready(more) => more?,
                Poll::Pending => break,
            }
        }
        let length = self.kept.len().min(at_most);
        let ends = self.body.is_none() && length == self.kept.len();
        let trailers = ends.then(|| self.trailers.clone());
        Ok(Piece { bytes: self.kept[..length].to_vec(), trailers })
    }

    /// Whether this byte is in what was not used. It is asked for again and again until the next use.
    fn has(&mut self, byte: u8) -> bool {
        let is_there = self.kept[self.searched..].contains(&byte);
        if !is_there {
            self.searched = self.kept.len();
        }
        is_there
    }

    /// Waits for more of the body, or its end.
    async fn more(&mut self) -> Result<(), Lost> {
        let slow_at = self.slow_at();
        let Some(body) = &mut self.body else { return Ok(()) };
        let part = poll_fn(|context| body.poll(context));
        let part = match slow_at {
            None => part.await,
            Some(at) => timeout_at(at, part).await.unwrap_or(Some(Err(Error::ConnectionReadTimeout))),
        };
        self.last_part = Instant::now();
        match part {
            None => self.body = None,
            Some(Err(error)) => {
                self.body = None;
                return Err(Lost::Connection(error));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.kept.extend_from_slice(&data);
                    self.slow_bytes += data.len();
                    if self.slow_bytes >= SEND_BYTES_MIN || !self.has_room() {
                        (self.slow_since, self.slow_bytes) = (self.last_part, 0);
                    }
                    self.set_share().map_err(|NoRoom| Lost::NoRoom)?;
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
                        name: name.as_str().to_owned(),
                        value: value.as_bytes().to_vec(),
                    };
                    self.trailers = trailers.iter().map(header).collect();
                }
            },
        }
        Ok(())
    }

    fn set_share(&mut self) -> Result<(), NoRoom> {
        let bytes = self.kept.len().saturating_sub(ROOM_FREE_BYTES);
        if bytes == self.share.bytes() { Ok(()) } else { self.share.set(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use bytes::Bytes;
    use http_body::{Body, Frame};
    use tokio::time::{Instant, advance, timeout};

    use super::{
        Arrival, Error, Intake, LimitedBody, Lost, ROOM_FREE_BYTES, RequestBody, SEND_BYTES_MIN,
        SEND_PAUSE_MAX,
    };
    use crate::gateway::steps::room::Room;

    /// A body of these parts, which comes as far as they go; `None` is its end.
    struct Parts(VecDeque<Option<&'static str>>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = wasmtime_wasi_http::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0.pop_front() {
                None => Poll::Pending,
                Some(part) => Poll::Ready(part.map(|part| Ok(Frame::data(Bytes::from(part))))),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.0.front() == Some(&None)
        }
    }

    impl LimitedBody for Parts {
        fn lift_time_limit(&mut self) {}
    }

    fn arrival(parts: &[Option<&'static str>], room: usize) -> Arrival {
        Arrival::of(Parts(parts.iter().copied().collect()), Room::of(room).share())
    }

    #[tokio::test]
    async fn a_body_is_whole_if_it_has_ended_or_is_short() {
        let whole = |text: &str| format!("{:?}", RequestBody::Whole(text.as_bytes().to_vec()));
        let pieces = |length| format!("{:?}", RequestBody::Pieces(length));
        for (parts, length, expected) in [
            (&[None][..], None, whole("")),
            (&[None], Some(0), whole("")),
            (&[Some("ab"), Some("cd"), None], Some(4), whole("abcd")),
            (&[Some("ab"), Some("cd"), None], None, whole("abcd")),
            (&[Some("ab")], None, pieces(None)),
            (&[Some("abcdef"), None], Some(6), pieces(Some(6))),
            (&[Some("abcdef"), None], None, pieces(None)),
        ] {
            let mut arrival = arrival(parts, 100);
            let body = arrival.at_begin(length, 5).await.expect("there is room");
            assert_eq!(format!("{body:?}"), expected, "{parts:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_has_some_of_the_room_is_limited_in_time() {
        let part = |bytes: usize| Some(&*"x".repeat(bytes).leak());
        let (free, few, enough) = (part(ROOM_FREE_BYTES), part(1), part(SEND_BYTES_MIN));
        let mut arrival = arrival(&[free, few, few, enough, few, few], 10 * SEND_BYTES_MIN);
        let begun = Instant::now();
        let mut limits = Vec::new();
        for used in [0, 0, 0, 0, ROOM_FREE_BYTES, SEND_BYTES_MIN] {
            arrival.used(used);
            advance(Duration::from_secs(1)).await;
            arrival.more().await.expect("there is room");
            assert_eq!(arrival.slow_at(), None, "the response has not begun");
            arrival.has_begun = true;
            limits.push(arrival.slow_at().map(|at| (at - SEND_PAUSE_MAX - begun).as_secs()));
            arrival.has_begun = false;
        }
        assert_eq!(limits, [None, Some(2), Some(2), Some(4), Some(4), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_not_slow_while_the_gateway_takes_nothing() {
        let large = &*"x".repeat(ROOM_FREE_BYTES + 1).leak();
        let mut arrival = arrival(&[Some(large)], SEND_BYTES_MIN);
        arrival.lift_time_limit();
        arrival.want(true);
        arrival.more().await.expect("there is room");
        for is_wanted in [false, false, true] {
            advance(SEND_PAUSE_MAX).await;
            arrival.want(is_wanted);
        }
        let now = Instant::now();
        assert_eq!(arrival.slow_at(), Some(now + SEND_PAUSE_MAX));
        // Asked for again and again, as between the outcomes of calls, it is the same wait.
        advance(SEND_PAUSE_MAX / 2).await;
        arrival.want(true);
        assert_eq!(arrival.slow_at(), Some(now + SEND_PAUSE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_large_message_has_to_come_in_time() {
        let large = "x".repeat(ROOM_FREE_BYTES + 1).leak();
        for (part, expected) in [("x", None), (large, Some(SEND_PAUSE_MAX))] {
            let mut arrival = arrival(&[Some(part)], SEND_BYTES_MIN);
            arrival.lift_time_limit();
            let begun = Instant::now();
            let all = Intake { used: 0, at_least: u32::MAX, until: None, at_most: u32::MAX };
            let waited = timeout(SEND_PAUSE_MAX * 10, arrival.piece(all)).await;
            let slow = waited.ok().map(|piece| {
                assert!(matches!(piece, Err(Lost::Connection(Error::ConnectionReadTimeout))), "{piece:?}");
                begun.elapsed()
            });
            assert_eq!(slow, expected, "{} bytes", part.len());
        }
    }

    #[tokio::test]
    async fn pieces_have_the_size_that_was_asked_for() {
        let mut arrival = arrival(&[Some("abc"), Some("defgh"), Some("i"), None], 100);
        // What was used, at least, at most; the piece and whether the body ends with it.
        for (used, at_least, at_most, expected, ends) in [
            (0, 0, 2, "ab", false),
            (0, 1, 4, "abcd", false),
            (1, 5, 6, "bcdefg", false),
            (6, 1, 100, "hi", true),
            (0, 50, 100, "hi", true),
            (1, 1, 1, "i", true),
            (1, 1, 1, "", true),
        ] {
            arrival.used(used);
            let piece = arrival
                .piece(Intake { used: 0, at_least, until: None, at_most })
                .await
                .expect("there is room");
            assert_eq!(
                (String::from_utf8_lossy(&piece.bytes).as_ref(), piece.trailers.is_some()),
                (expected, ends)
            );
        }
    }

    #[tokio::test]
    async fn a_piece_is_enough_when_the_byte_has_come_that_it_was_asked_for_up_to() {
        // Nothing more comes after these parts, and the body does not end.
        let mut arrival = arrival(&[Some("ab"), Some("c"), Some("d\n"), Some("e\nf")], 100);
        let intake = Intake { used: 0, at_least: 50, until: Some(b'\n'), at_most: 50 };
        for (used, expected) in [(0, "abcd\ne\nf"), (5, "e\nf")] {
            arrival.used(used);
            let piece = arrival.piece(intake).await.expect("there is room");
            assert_eq!(
                (String::from_utf8_lossy(&piece.bytes).as_ref(), piece.trailers.is_some()),
                (expected, false)
            );
        }
        arrival.used(2);
        assert!(futures_util::poll!(std::pin::pin!(arrival.piece(intake))).is_pending());
    }

    #[tokio::test]
    async fn a_whole_body_can_be_received_from_its_beginning() {
        let mut arrival = arrival(&[Some("abc"), None], 100);
        assert!(matches!(arrival.at_begin(Some(3), 5).await, Ok(RequestBody::Whole(_))));
        let piece = arrival
            .piece(Intake { used: 0, at_least: 1, until: None, at_most: 9 })
            .await
            .expect("there is room");
        assert_eq!((piece.bytes.as_slice(), piece.trailers.is_some()), (b"abc".as_slice(), true));
    }

    #[tokio::test]
    async fn a_body_needs_room_beyond_what_is_free() {
        const LARGE: &str = match std::str::from_utf8(&[b'x'; 17 << 10]) {
            Ok(text) => text,
            Err(_) => "",
        };
        let intake = Intake { used: 0, at_least: 1 << 20, until: None, at_most: 1 << 20 };
        let parts = [Some(LARGE), Some(LARGE), None];
        let piece = arrival(&parts, 18 << 10).piece(intake).await.expect("there is room");
        assert_eq!(piece.bytes.len(), 34 << 10);
        let refused = arrival(&parts, (18 << 10) - 1).piece(intake).await;
        assert!(matches!(refused, Err(Lost::NoRoom)), "{refused:?}");
    }
}
