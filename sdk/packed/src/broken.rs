//! Why bytes are no events, and why an event does not fit into bytes.

use std::fmt;

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where the frame or envelope begins that is broken: its offset in the bytes.
    pub at: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the packed events are broken at byte {}: {}", self.at, self.what)
    }
}

impl std::error::Error for Broken {}

/// A part of an event is longer than its length can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// The name of the part.
    pub part: &'static str,
    /// The most that the layout can hold: bytes, or for tags their number.
    pub most: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} has more than {}, which is the most that packed events can hold",
            self.part, self.most
        )
    }
}

impl std::error::Error for TooLong {}
