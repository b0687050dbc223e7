//! Commits that wait for the committer: a bounded queue with one taker.
//!
//! A channel would do; but those there are look again and again before they put the taker to sleep, and where there are
//! few processors the ones that it waits for need that time.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::commit::writer::{CommitError, Request};
use crate::space::Purpose;

/// The queue.
pub(crate) struct Waiting {
    state: Mutex<State>,
    arrived: Condvar,
    commits_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    requests: VecDeque<Request>,
    /// Bytes of the requests.
    bytes: usize,
    closed: bool,
}

/// What a wait came to.
pub(crate) enum Next {
    /// The request that has waited longest.
    Request(Request),
    /// Nothing came until the deadline.
    Due,
    /// Nothing waits, and nothing will come.
    Closed,
}

impl Waiting {
    pub(crate) fn new(commits_max: usize, bytes_max: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), commits_max, bytes_max }
    }

    /// Puts a request at the end, unless the queue is full or closed. The first request fits whatever its size.
    pub(crate) fn push(&self, request: Request) -> Result<(), CommitError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(CommitError::Closed);
        }
        if state.requests.len() >= self.commits_max {
            return Err(CommitError::Overloaded { limit: format!("{} commits", self.commits_max) });
        }
        if !state.requests.is_empty() && state.bytes + request.bytes > self.bytes_max {
            return Err(CommitError::Overloaded { limit: format!("{} bytes", self.bytes_max) });
        }
        state.bytes += request.bytes;
        state.requests.push_back(request);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for a request until `due` (none: for ever).
    pub(crate) fn next(&self, due: Option<Instant>) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(request) = state.take() {
                return Next::Request(request);
            }
            if state.closed {
                return Next::Closed;
            }
            match due {
                None => self.arrived.wait(&mut state),
                Some(due) if self.arrived.wait_until(&mut state, due).timed_out() => {
                    return state.take().map_or(Next::Due, Next::Request);
                }
                Some(_) => {}
            }
        }
    }

    /// The request that has waited longest, if any does and it is for this purpose.
    pub(crate) fn take(&self, purpose: Purpose) -> Option<Request> {
        let mut state = self.state.lock();
        state.requests.front().filter(|request| request.purpose == purpose)?;
        state.take()
    }

    /// Lets nothing further in.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }
}

impl State {
    fn take(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= request.bytes;
        Some(request)
    }
}
