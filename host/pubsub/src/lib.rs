//! Wakes tasks that wait for committed events.
//!
//! A [`Bus`] carries no events: a task that is woken reads the log. So the restart of a bus, or a lost publication, can
//! delay an event, but never lose or reorder it.
//!
//! A waiter passes the store position up to which it has read. The bus remembers the latest publications, so that an event
//! between the waiter's read and its wait is not missed. A waiter that has read less than the bus remembers is woken at once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Appends that a bus remembers. A waiter whose read is older is woken at once and reads again.
const REMEMBERED_APPENDS: usize = 4_096;

/// Waiters on one bus at a time: more than the host has connections. Each takes some hundred bytes.
const WAITERS_MAX: usize = 16_384;

/// The bus of one store.
#[derive(Default)]
pub struct Bus {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The stream and the last position of each of the latest appends, in the order of publication.
    recent: VecDeque<(u64, Arc<str>)>,
    /// The position from which on `recent` is complete.
    remembered_from: u64,
    /// One past the highest published position.
    next: u64,
    waiting: HashMap<u64, Waiter>,
    by_stream: HashMap<Arc<str>, Vec<u64>>,
    for_any: Vec<u64>,
    tickets: u64,
}

struct Waiter {
    stream: Option<Arc<str>>,
    wake: oneshot::Sender<()>,
}

/// The bus has as many waiters as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyWaiters;

/// A wait in progress. Dropping it removes it from the bus. It does not keep the bus alive, and is woken when the bus ends.
pub struct Wait {
    bus: Weak<Bus>,
    ticket: u64,
    woken: Option<oneshot::Receiver<()>>,
}

impl Bus {
    /// The bus of a store whose positions below `next_position` are durable.
    pub fn new(next_position: u64) -> Arc<Self> {
        let state = State { remembered_from: next_position, next: next_position, ..State::default() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Publishes a durable append to `stream` whose last event has `position`.
    pub fn publish(&self, stream: &str, position: u64) {
        let mut state = self.state.lock();
        let stream: Arc<str> = stream.into();
        state.next = state.next.max(position.saturating_add(1));
        if state.recent.len() == REMEMBERED_APPENDS
            && let Some((forgotten, _)) = state.recent.pop_front()
        {
            state.remembered_from = state.remembered_from.max(forgotten + 1);
        }
        state.recent.push_back((position, stream.clone()));
        let mut tickets = std::mem::take(&mut state.for_any);
        tickets.extend(state.by_stream.remove(&stream).unwrap_or_default());
        state.wake(&tickets);
    }

    /// Wakes the waiters of `stream` for another reason than an append, such as its deletion. Later waiters are not woken.
    pub fn touch(&self, stream: &str) {
        let mut state = self.state.lock();
        let tickets = state.by_stream.remove(stream).unwrap_or_default();
        state.wake(&tickets);
    }

    /// Wakes every waiter because appends below `next_position` may not have been published, as when the store ends between
    /// an fsync and what follows from it, or were too many to name. The bus then remembers only what follows.
    pub fn resync(&self, next_position: u64) {
        let mut state = self.state.lock();
        state.next = state.next.max(next_position);
        state.remembered_from = state.remembered_from.max(next_position);
        state.recent.retain(|(position, _)| *position >= next_position);
        state.for_any.clear();
        state.by_stream.clear();
        let tickets: Vec<u64> = state.waiting.keys().copied().collect();
        state.wake(&tickets);
    }

    /// Waits for an append at or after position `seen`, to `stream` or to any stream.
    ///
    /// # Errors
    ///
    /// The bus has as many waiters as it may have.
    pub fn wait(self: &Arc<Self>, stream: Option<&str>, seen: u64) -> Result<Wait, TooManyWaiters> {
        let mut state = self.state.lock();
        if state.has_news(stream, seen) {
            return Ok(Wait { bus: Arc::downgrade(self), ticket: 0, woken: None });
        }
        if state.waiting.len() >= WAITERS_MAX {
            return Err(TooManyWaiters);
        }
        state.tickets += 1;
        let ticket = state.tickets;
        let (wake, woken) = oneshot::channel();
        let stream: Option<Arc<str>> = stream.map(Into::into);
        match &stream {
            Some(name) => state.by_stream.entry(name.clone()).or_default().push(ticket),
            None => state.for_any.push(ticket),
        }
        state.waiting.insert(ticket, Waiter { stream, wake });
        Ok(Wait { bus: Arc::downgrade(self), ticket, woken: Some(woken) })
    }
}

impl State {
    fn has_news(&self, stream: Option<&str>, seen: u64) -> bool {
        if seen < self.remembered_from {
            return true;
        }
        match stream {
            None => seen < self.next,
            Some(name) => {
                self.recent.iter().rev().any(|(position, stream)| *position >= seen && **stream == *name)
            }
        }
    }

    fn wake(&mut self, tickets: &[u64]) {
        for ticket in tickets {
            if let Some(waiter) = self.waiting.remove(ticket) {
                // The waiter may have been dropped.
                let _ = waiter.wake.send(());
            }
        }
    }

    fn forget(&mut self, ticket: u64) {
        let Some(waiter) = self.waiting.remove(&ticket) else { return };
        match waiter.stream {
            None => self.for_any.retain(|other| *other != ticket),
            Some(name) => {
                if let Some(tickets) = self.by_stream.get_mut(&name) {
                    tickets.retain(|other| *other != ticket);
                    if tickets.is_empty() {
                        self.by_stream.remove(&name);
                    }
                }
            }
        }
    }
}

impl Wait {
    /// Completes when there may be something to read.
    pub async fn woken(mut self) {
        if let Some(woken) = self.woken.take() {
            // An error means that the bus has ended. Its successor does not know this waiter, so the waiter reads.
            let _ = woken.await;
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(bus) = self.bus.upgrade() {
            bus.state.lock().forget(self.ticket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bus, REMEMBERED_APPENDS, TooManyWaiters, WAITERS_MAX};
    use std::sync::Arc;

    fn ready(bus: &Arc<Bus>, stream: Option<&str>, seen: u64) -> bool {
        bus.wait(stream, seen).expect("room for a waiter").woken.is_none()
    }

    #[test]
    fn a_waiter_is_woken_by_its_stream_only() {
        let bus = Bus::new(10);
        let mut mine = bus.wait(Some("a"), 10).expect("room");
        let mut other = bus.wait(Some("b"), 10).expect("room");
        let mut any = bus.wait(None, 10).expect("room");
        bus.publish("a", 10);
        assert!(mine.woken.as_mut().expect("waits").try_recv().is_ok());
        assert!(any.woken.as_mut().expect("waits").try_recv().is_ok());
        assert!(other.woken.as_mut().expect("waits").try_recv().is_err());
    }

    #[test]
    fn an_append_between_read_and_wait_is_not_missed() {
        let bus = Bus::new(10);
        bus.publish("a", 10);
        assert!(ready(&bus, Some("a"), 10));
        assert!(ready(&bus, None, 10));
        assert!(!ready(&bus, Some("b"), 10));
        assert!(!ready(&bus, Some("a"), 11));
        assert!(!ready(&bus, None, 11));
    }

    #[test]
    fn a_waiter_with_an_old_position_is_woken_at_once() {
        let bus = Bus::new(10);
        assert!(ready(&bus, Some("quiet"), 9));
        for position in 10..10 + REMEMBERED_APPENDS as u64 + 1 {
            bus.publish("busy", position);
        }
        assert!(ready(&bus, Some("quiet"), 10));
        assert!(!ready(&bus, Some("quiet"), 11));
    }

    #[test]
    fn a_resync_wakes_all_waiters_before_its_position() {
        let bus = Bus::new(0);
        let mut waiting = bus.wait(Some("a"), 0).expect("room");
        bus.resync(5);
        assert!(waiting.woken.as_mut().expect("waits").try_recv().is_ok());
        assert!(ready(&bus, Some("a"), 4));
        assert!(ready(&bus, None, 4));
        assert!(!ready(&bus, Some("a"), 5));
        assert!(!ready(&bus, None, 5));
    }

    #[test]
    fn a_dropped_wait_is_removed() {
        let bus = Bus::new(0);
        drop(bus.wait(Some("a"), 0).expect("room"));
        drop(bus.wait(None, 0).expect("room"));
        let state = bus.state.lock();
        assert!(state.waiting.is_empty() && state.by_stream.is_empty() && state.for_any.is_empty());
    }

    #[tokio::test]
    async fn the_end_of_a_bus_wakes_its_waiters() {
        let bus = Bus::new(0);
        let wait = bus.wait(Some("a"), 0).expect("room");
        drop(bus);
        wait.woken().await;
    }

    #[test]
    fn waiters_are_bounded() {
        let bus = Bus::new(0);
        let waits: Vec<_> = (0..WAITERS_MAX).map(|_| bus.wait(None, 0).expect("room")).collect();
        assert_eq!(bus.wait(None, 0).err(), Some(TooManyWaiters));
        drop(waits);
        assert!(bus.wait(None, 0).is_ok());
    }

    #[tokio::test]
    async fn a_touch_wakes_only_waiters_of_the_stream() {
        let bus = Bus::new(0);
        let touched = bus.wait(Some("s"), 0).expect("there is room");
        let mut others = [
            Box::pin(bus.wait(Some("t"), 0).expect("there is room").woken()),
            Box::pin(bus.wait(None, 0).expect("there is room").woken()),
        ];
        bus.touch("s");
        bus.touch("unheard-of");
        touched.woken().await;
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for other in &mut others {
            assert!(other.as_mut().poll(&mut context).is_pending());
        }
        bus.publish("t", 0);
        for other in others {
            other.await;
        }
    }
}
