//! What a test supplies: the outcomes of calls, what feeds bring, and a clock.

use crate::steps::{Call, Error, NamedCall, Outcome, Query};
use crate::types::{Packed, code, problem};

/// Why a follower is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There may be events.
    Events,
    /// The time is over.
    Timeout,
    /// The host stops.
    Stopping,
    /// The client takes events too slowly.
    Slow,
    /// The client has left.
    Left,
}

/// A page of a named feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub events: Packed,
    /// Where the feed goes on; none if it has no positions.
    pub next: Option<u64>,
    /// What the feed says about the events.
    pub notes: Vec<u8>,
    /// Nothing more is there at the moment.
    pub caught_up: bool,
}

/// What a named feed brings when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supply {
    /// A page, at once.
    Page(Page),
    /// A page, after which the feed is complete.
    Last(Page),
    /// Nothing for so many milliseconds. Then it is asked again.
    Later(u32),
    /// Nothing any more, and no end.
    Nothing,
    /// The end: with an error, or because it is complete.
    End(Option<Error>),
    /// The host stops.
    Stopping,
    /// The client has left.
    Left,
}

/// The store of a test. A function from calls to outcomes is one without live events and without named feeds.
pub trait Backend {
    /// Makes a call.
    fn call(&mut self, call: Call) -> Outcome;

    /// Waits at most so many milliseconds for events of a query that are not before `next`. [`Wake::Timeout`] is taken to mean
    /// that they have passed, whether [`clock_ms`](Self::clock_ms) has moved or not.
    fn wait(&mut self, query: &Query, next: u64, ms: u32) -> Wake {
        let _ = (query, next, ms);
        Wake::Stopping
    }

    /// What the subscription of this number, to a named feed, brings next: at most `most` events. It is asked while it has
    /// credit, at first and after each page. What a subscription to a query brings comes from [`call`](Self::call) and
    /// [`wait`](Self::wait).
    fn supply(&mut self, id: u32, feed: &NamedCall, most: u32) -> Supply {
        let _ = (id, most);
        let message = format!("this host does not have `{}`", feed.name);
        Supply::End(Some(problem(code::UNSUPPORTED, message)))
    }

    /// The time of a monotonic clock in milliseconds. While nothing happens, the double goes ahead of it.
    fn clock_ms(&mut self) -> u64 {
        0
    }
}

impl<F: FnMut(Call) -> Outcome> Backend for F {
    fn call(&mut self, call: Call) -> Outcome {
        self(call)
    }
}
