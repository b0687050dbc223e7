//! The body of a response, from the driver to the connection. It is a queue of whole parts, whose bytes the driver counts.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::limits::{READ_PAUSE_MAX, SMALL_PAGE_BYTES};

/// The driver's side.
pub(super) struct Outflow(Arc<Shared>);

/// The connection's side: the body of a response. Its client has left when it is dropped.
pub struct StepsBody(Arc<Shared>);

/// Bytes that the clients of one store have not taken of their responses, all together.
#[derive(Clone, Default)]
pub(in crate::gateway) struct Untaken(Arc<AtomicUsize>);

impl Untaken {
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a part was taken.
    taken: Notify,
    /// Notified when the client has left.
    left: Notify,
}

#[derive(Default)]
struct State {
    parts: VecDeque<Bytes>,
    /// Bytes of the parts.
    untaken: usize,
    /// That, with those of the other clients.
    of_all: Untaken,
    /// Parts that were taken so far.
    taken: u64,
    end: End,
    has_left: bool,
    /// Who else is told when the client leaves, and its number there.
    watched: Option<(Arc<Departures>, u64)>,
    waker: Option<Waker>,
}

impl State {
    fn add(&mut self, part: Bytes) {
        self.untaken += part.len();
        self.of_all.0.fetch_add(part.len(), Ordering::Relaxed);
        self.parts.push_back(part);
    }

    fn take(&mut self) -> Option<Bytes> {
        let part = self.parts.pop_front()?;
        self.untaken -= part.len();
        self.of_all.0.fetch_sub(part.len(), Ordering::Relaxed);
        self.taken += 1;
        Some(part)
    }

    fn clear(&mut self) {
        self.parts.clear();
        self.of_all.0.fetch_sub(std::mem::take(&mut self.untaken), Ordering::Relaxed);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The clients that left of those that somebody watches together.
#[derive(Default)]
pub(super) struct Departures {
    left: Mutex<Vec<u64>>,
    told: Notify,
}

impl Departures {
    /// The numbers of the clients that left since the last call.
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.left.lock())
    }

    /// Completes when a client has left since the last call of this. Only one caller may wait.
    pub(super) async fn some(&self) {
        self.told.notified().await;
    }
}

#[derive(Default)]
enum End {
    /// More may come.
    #[default]
    None,
    /// The body is complete, with these trailers.
    Complete(Option<HeaderMap>),
    /// It was cut off.
    Reset,
    /// The connection has the end.
    Told,
}

/// A body without content yet, which is counted among all of its store.
pub(super) fn outflow(of_all: &Untaken) -> (Outflow, StepsBody) {
    let shared = Arc::<Shared>::default();
    shared.state.lock().of_all = of_all.clone();
    (Outflow(shared.clone()), StepsBody(shared))
}

impl Outflow {
    /// Adds a part, which is sent as a whole or not at all. Returns the number of parts so far.
    pub(super) fn push(&self, part: impl Into<Bytes>) -> u64 {
        let part = part.into();
        self.change(|state| {
            if !part.is_empty() {
                state.add(part);
            }
            state.taken + state.parts.len() as u64
        })
    }

    /// Ends the body.
    pub(super) fn finish(&self, trailers: HeaderMap) {
        let trailers = (!trailers.is_empty()).then_some(trailers);
        self.change(|state| state.end = End::Complete(trailers));
    }

    /// Cuts the body off: the client must not take what it got for the whole.
    pub(super) fn reset(&self) {
        self.change(|state| {
            if !matches!(state.end, End::Complete(_) | End::Told) {
                state.clear();
                state.end = End::Reset;
            }
        });
    }

    /// Drops the parts that were not taken. Returns how many were taken.
    pub(super) fn drop_untaken(&self) -> u64 {
        let mut state = self.0.state.lock();
        state.clear();
        state.taken
    }

    /// Bytes that were not taken.
    pub(super) fn untaken(&self) -> usize {
        self.0.state.lock().untaken
    }

    /// Bytes that all clients of the store have not taken.
    pub(super) fn untaken_of_all(&self) -> usize {
        self.0.state.lock().of_all.bytes()
    }

    /// Parts that were taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.0.state.lock().taken
    }

    /// Completes when a part was taken since the last call. Only one caller may wait.
    pub(super) async fn more_taken(&self) {
        self.0.taken.notified().await;
    }

    /// Completes when the client has left. Only one caller may wait.
    pub(super) fn left(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.0.clone();
        async move {
            while !shared.state.lock().has_left {
                shared.left.notified().await;
            }
        }
    }

    /// Has `departures` told when the client leaves, by this number. Whether it is still there.
    pub(super) fn watch(&self, departures: &Arc<Departures>, number: u64) -> bool {
        let mut state = self.0.state.lock();
        state.watched = Some((departures.clone(), number));
        !state.has_left
    }

    /// Ends that.
    pub(super) fn unwatch(&self) {
        self.0.state.lock().watched = None;
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (changed, waker) = {
            let mut state = self.0.state.lock();
            (change(&mut state), state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        changed
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.reset();
        let (is_large, is_complete) = {
            let state = self.0.state.lock();
            (state.untaken > SMALL_PAGE_BYTES as usize, matches!(state.end, End::Complete(_)))
        };
        // Without a runtime the host has ended.
        if is_large
            && is_complete
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(see_off(self.0.clone()));
        }
    }
}

/// Cuts a complete body off when its client takes nothing of it for [`READ_PAUSE_MAX`].
async fn see_off(body: Arc<Shared>) {
    while body.state.lock().untaken > 0 {
        if tokio::time::timeout(READ_PAUSE_MAX, body.taken.notified()).await.is_err() {
            let waker = {
                let mut state = body.state.lock();
                if state.untaken == 0 {
                    return;
                }
                state.clear();
                state.end = End::Reset;
                state.waker.take()
            };
            tracing::info!("a response was cut off: its client took nothing of it");
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
        }
    }
}

impl Body for StepsBody {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut state = self.0.state.lock();
        if let Some(part) = state.take() {
            drop(state);
            self.0.taken.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        match std::mem::replace(&mut state.end, End::Told) {
            End::None => {
                state.end = End::None;
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            End::Complete(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            End::Complete(None) | End::Told => Poll::Ready(None),
            End::Reset => Poll::Ready(Some(Err(Self::Error::HttpProtocolError))),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.state.lock();
        state.parts.is_empty() && matches!(state.end, End::Complete(None) | End::Told)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.state.lock();
        match state.end {
            End::Complete(None) | End::Told => SizeHint::with_exact(state.untaken as u64),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for StepsBody {
    fn drop(&mut self) {
        let watched = {
            let mut state = self.0.state.lock();
            state.has_left = true;
            state.clear();
            state.watched.take()
        };
        self.0.left.notify_one();
        self.0.taken.notify_one();
        if let Some((departures, number)) = watched {
            departures.left.lock().push(number);
            departures.told.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use http::HeaderMap;
    use http_body::Body as _;

    use super::{Departures, READ_PAUSE_MAX, SMALL_PAGE_BYTES, StepsBody, Untaken, outflow};

    /// The next frame, as text.
    fn poll(body: &mut StepsBody) -> String {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => "pending".into(),
            Poll::Ready(None) => "end".into(),
            Poll::Ready(Some(Err(_))) => "reset".into(),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => String::from_utf8_lossy(&data).into_owned(),
                Err(frame) => format!("trailers {}", frame.trailers_ref().map_or(0, HeaderMap::len)),
            },
        }
    }

    #[test]
    fn a_body_that_is_complete_at_once_has_a_length() {
        let (out, mut body) = outflow(&Untaken::default());
        assert_eq!(body.size_hint().exact(), None);
        out.push("one");
        out.push("");
        out.push("two");
        out.finish(HeaderMap::new());
        assert_eq!(body.size_hint().exact(), Some(6));
        assert!(!body.is_end_stream());
        assert_eq!([poll(&mut body), poll(&mut body), poll(&mut body)], ["one", "two", "end"]);
        assert!(body.is_end_stream());
        let (out, body) = outflow(&Untaken::default());
        out.finish(HeaderMap::new());
        assert!(body.is_end_stream(), "a response without a body ends with its head");
    }

    #[test]
    fn what_is_not_taken_is_counted() {
        let (out, mut body) = outflow(&Untaken::default());
        assert_eq!(poll(&mut body), "pending");
        out.push("1234");
        out.push("567");
        assert_eq!((out.untaken(), out.taken()), (7, 0));
        assert_eq!(poll(&mut body), "1234");
        assert_eq!((out.untaken(), out.taken()), (3, 1));
        assert_eq!(out.drop_untaken(), 1);
        out.push("8");
        let mut trailers = HeaderMap::new();
        trailers.insert("x", "y".parse().expect("a value"));
        out.finish(trailers);
        assert_eq!(body.size_hint().exact(), None, "trailers come after chunks");
        assert_eq!([poll(&mut body), poll(&mut body), poll(&mut body)], ["8", "trailers 1", "end"]);
    }

    #[test]
    fn what_the_clients_of_a_store_have_not_taken_is_counted_until_it_is_gone() {
        let of_all = Untaken::default();
        let (one, mut body) = outflow(&of_all);
        let (other, other_body) = outflow(&of_all);
        one.push("1234");
        other.push("567");
        assert_eq!((one.untaken_of_all(), other.untaken()), (7, 3));
        assert_eq!((poll(&mut body), of_all.bytes()), ("1234".to_owned(), 3));
        drop(other_body);
        assert_eq!(of_all.bytes(), 0, "the client left");
        one.push("89");
        drop(one);
        assert_eq!((of_all.bytes(), poll(&mut body)), (0, "reset".to_owned()));
        let (out, body) = outflow(&of_all);
        out.push("whole");
        out.finish(HeaderMap::new());
        drop(out);
        assert_eq!(of_all.bytes(), 5, "the connection has it");
        drop(body);
        assert_eq!(of_all.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_body_that_is_not_taken_is_cut_off_unless_it_is_small() {
        let of_all = Untaken::default();
        let [(large, mut large_body), (small, mut small_body)] = [outflow(&of_all), outflow(&of_all)];
        let page = "x".repeat(SMALL_PAGE_BYTES as usize);
        for _ in 0..2 {
            large.push(page.clone());
        }
        small.push(page.clone());
        [large, small].into_iter().for_each(|out| out.finish(HeaderMap::new()));
        assert_eq!(poll(&mut large_body), page);
        tokio::time::sleep(READ_PAUSE_MAX * 2).await;
        assert_eq!([poll(&mut large_body), poll(&mut large_body)], ["reset", "end"]);
        assert_eq!([poll(&mut small_body), poll(&mut small_body)], [page, "end".to_owned()]);
        assert_eq!(of_all.bytes(), 0);
    }

    #[test]
    fn a_body_that_is_not_finished_is_reset() {
        let (out, mut body) = outflow(&Untaken::default());
        out.push("part");
        drop(out);
        assert_eq!([poll(&mut body), poll(&mut body)], ["reset", "end"]);
        let (out, mut body) = outflow(&Untaken::default());
        out.push("whole");
        out.finish(HeaderMap::new());
        drop(out);
        assert_eq!([poll(&mut body), poll(&mut body)], ["whole", "end"]);
    }

    #[tokio::test]
    async fn the_driver_is_told_when_its_client_leaves() {
        let (out, body) = outflow(&Untaken::default());
        {
            let mut left = std::pin::pin!(out.left());
            assert!(futures_util::poll!(left.as_mut()).is_pending());
            drop(body);
            left.await;
        }
        out.left().await;
    }

    #[tokio::test]
    async fn one_watches_many_clients() {
        let departures = Arc::<Departures>::default();
        let clients: Vec<_> = (0..3).map(|_| outflow(&Untaken::default())).collect();
        for (number, (out, _)) in (0..).zip(&clients) {
            assert!(out.watch(&departures, number));
        }
        let (outs, mut bodies): (Vec<_>, Vec<_>) = clients.into_iter().unzip();
        outs[0].unwatch();
        drop(bodies.remove(0));
        assert!(futures_util::poll!(std::pin::pin!(departures.some())).is_pending());
        bodies.clear();
        departures.some().await;
        assert_eq!(departures.take(), [1, 2]);
        assert!(!outs[0].watch(&departures, 7), "it left before");
        assert!(departures.take().is_empty());
    }
}
