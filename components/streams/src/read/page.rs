//! The page that a read of the whole store fills.

use exesdb_sdk::packed::push_envelope;
use exesdb_sdk::types::{PackedPage, Position};

use super::Limits;
use crate::events::Event;

/// The events of a page so far.
pub(super) struct Page {
    frames: Vec<u8>,
    count: usize,
    limits: Limits,
}

impl Page {
    pub(super) fn new(limits: Limits) -> Self {
        Self { frames: Vec::new(), count: 0, limits }
    }

    /// Adds as many of the events as fit. Returns the position of the first one that does not.
    pub(super) fn add(&mut self, events: &[Event<'_>]) -> Option<Position> {
        for event in events {
            let begin = self.frames.len();
            push_envelope(&mut self.frames, event.position, event.bytes)
                .expect("it came from a frame, so it fits into one");
            let is_over = self.frames.len() > self.limits.bytes as usize && self.count > 0;
            if is_over || self.is_full() {
                self.frames.truncate(begin);
                return Some(event.position);
            }
            self.count += 1;
        }
        None
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= self.limits.count as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The page, with where to go on and whether the read reached the end.
    pub(super) fn finish(self, (next, end): (Option<Position>, bool)) -> PackedPage {
        PackedPage { events: self.frames, next, end, last_version: None }
    }
}
