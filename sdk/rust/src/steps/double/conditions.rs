//! The conditions under which a request is made, and what its client got.

use crate::steps::{Header, ResponseHead};

/// In which events the outcomes of calls come that are there at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// All in one event, in the order of the calls.
    #[default]
    Together,
    /// Each in an event of its own, in the order of the calls.
    Alone,
    /// Each in an event of its own, the last one first, but for those that are in order.
    Reversed,
}

/// The conditions of a request.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// The most bytes of a body that comes with the request.
    pub inline_body: usize,
    /// The most bytes of a piece, unless a step asks for more.
    pub piece_bytes: usize,
    /// Whether the client says the length of a body that comes in pieces.
    pub says_length: bool,
    /// How outcomes come.
    pub delivery: Delivery,
    /// Outcomes are awaited before more of the body is delivered.
    pub outcomes_first: bool,
    /// What subscriptions bring at once is delivered before more of the body and before outcomes.
    pub pages_first: bool,
    /// The client leaves after so many writes.
    pub writes: usize,
    /// The host begins to stop after so many events, when the response has begun.
    pub draining_after: usize,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            inline_body: 1 << 20,
            piece_bytes: 64 << 10,
            says_length: true,
            delivery: Delivery::Together,
            outcomes_first: false,
            pages_first: false,
            writes: usize::MAX,
            draining_after: usize::MAX,
        }
    }
}

/// What a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The head.
    pub head: ResponseHead,
    /// All bytes of the body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Vec<Header>,
    /// The number of writes after the head; 0 if the body came with it.
    pub writes: usize,
    /// Whether the response came to its end, and was not reset.
    pub is_whole: bool,
    /// The number of steps.
    pub steps: usize,
}
