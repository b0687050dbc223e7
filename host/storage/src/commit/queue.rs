//! A bounded queue of commits with one consumer, the committer.
//!
//! A channel would do, but the existing ones spin before they put the consumer to sleep, and on a machine with few
//! processors the threads that the consumer waits for need that time.

use std::collections::VecDeque;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::request::{CommitError, Request};
use crate::space::Purpose;

/// Requests in order of arrival, bounded in number and bytes.
pub(super) struct CommitQueue {
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

/// The outcome of waiting for a request.
pub(super) enum Next {
    /// The oldest request.
    Request(Request),
    /// No request came until the deadline.
    Deadline,
    /// The queue is empty, and nothing more will come.
    Closed,
}

impl CommitQueue {
    pub(super) fn new(commits_max: usize, bytes_max: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), commits_max, bytes_max }
    }

    /// Appends a request unless the queue is full or closed. An empty queue takes a request of any size.
    pub(super) fn push(&self, request: Request) -> Result<(), CommitError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(CommitError::Closed);
        }
        if state.requests.len() >= self.commits_max {
            return Err(CommitError::Overloaded { limit: format!("{} commits", self.commits_max) });
        }
        if !state.requests.is_empty() && state.bytes + request.bytes() > self.bytes_max {
            return Err(CommitError::Overloaded { limit: format!("{} bytes", self.bytes_max) });
        }
        state.bytes += request.bytes();
        state.requests.push_back(request);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for a request until `deadline` (`None`: without end).
    pub(super) fn next(&self, deadline: Option<Instant>) -> Next {
        let mut state = self.state.lock();
        loop {
            if let Some(request) = state.pop() {
                return Next::Request(request);
            }
            if state.closed {
                return Next::Closed;
            }
            match deadline {
                None => self.arrived.wait(&mut state),
                Some(deadline) if self.arrived.wait_until(&mut state, deadline).timed_out() => {
                    return state.pop().map_or(Next::Deadline, Next::Request);
                }
                Some(_) => {}
            }
        }
    }

    /// The oldest request, if it is no commit of another purpose.
    pub(super) fn pop(&self, purpose: Purpose) -> Option<Request> {
        let mut state = self.state.lock();
        match state.requests.front()? {
            Request::Commit(commit) if commit.purpose != purpose => None,
            Request::Commit(_) | Request::Barrier(_) => state.pop(),
        }
    }

    /// Refuses all further requests.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }
}

impl State {
    fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= request.bytes();
        Some(request)
    }
}
