//! Messages between replicas as bytes.
//!
//! Numbers are big-endian. A message is a request or an answer to one.
//!
//! ```text
//! request    version u8 (1), kind u8, group u64, from u64, to u64 (replicas), content
//!   1        vote: vote, last id?
//!   2        pre-vote: last id?
//!   3        append: vote, previous id?, committed id?, entries: count u32, of each: bytes u32, entry
//!   4        head of a snapshot: vote
//!   5        read index: nothing
//!   6        successor: vote, replica u64
//! answer     version u8 (1), kind u8, content
//!   1        vote: vote, granted u8, last id?
//!   2        pre-vote: granted u8
//!   3        append: outcome u8 (0 all; 1 up to, id?; 2 conflict; 3 higher, vote), last id?
//!   4        snapshot: vote
//!   5        read index: id u8 (0 not leading; 1, id)
//!   6        successor: nothing
//! vote       term u64, replica u64, granted by a majority u8
//! id         term u64, leader u64, index u64
//! x?         u8 (0; or 1, x)
//! ```
//!
//! Nothing follows the content. Whatever is decoded is safe to give to the engine: terms and indexes leave room to count on,
//! and the entries of an append follow each other and the one before them.

mod answer;
mod parts;
mod request;

use crate::entry::LogEntryError;

use self::parts::Rest;

pub(crate) use self::answer::{Answer, Appended};
pub(crate) use self::request::{Append, Ask, Request};

const VERSION: u8 = 1;

const VOTE: u8 = 1;
const PRE_VOTE: u8 = 2;
const APPEND: u8 = 3;
const SNAPSHOT: u8 = 4;
const READ_INDEX: u8 = 5;
const SUCCESSOR: u8 = 6;

/// Between whom a message goes, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// Number of the group.
    pub group: u64,
    /// Id of the replica that sends it.
    pub from: u64,
    /// Id of the replica that it is for.
    pub to: u64,
}

/// Reads between whom a message goes, and nothing else of it.
///
/// # Errors
///
/// [`WireError`], if the message is of another version or shorter than that.
pub fn addressed(message: &[u8]) -> Result<Addressed, WireError> {
    let mut rest = Rest::new(message);
    let version = rest.u8()?;
    if version != VERSION {
        return Err(WireError::UnknownVersion { found: version });
    }
    rest.u8()?;
    Ok(Addressed { group: rest.u64()?, from: rest.u64()?, to: rest.u64()? })
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It has another version of the encoding.
    #[error("the message has version {found} of the encoding, and this software knows {VERSION}")]
    UnknownVersion {
        /// The version found.
        found: u8,
    },
    /// There is no such kind, or it is no answer to what was asked.
    #[error("the message has {what} of kind {found}, which was not expected")]
    UnknownKind {
        /// Of what.
        what: &'static str,
        /// The kind found.
        found: u8,
    },
    /// It ends too early, or a length in it is too large.
    #[error("the message is cut short in {what}")]
    Truncated {
        /// The part that is not complete.
        what: &'static str,
    },
    /// Bytes follow it.
    #[error("{bytes} bytes follow the message")]
    TooLong {
        /// Number of the bytes.
        bytes: usize,
    },
    /// A number is over its limit.
    #[error("{what} is {found}, over the limit of {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The number found.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// An entry is malformed.
    #[error("entry {at} of the message: {error}")]
    Entry {
        /// Which one, counted from 0.
        at: usize,
        /// What is wrong.
        error: LogEntryError,
    },
    /// An entry does not follow the one before it, or has a later term than the leader that sends it.
    #[error(
        "entry {at} of the message does not follow the one before it, or is of a later term than its sender"
    )]
    OutOfOrder {
        /// Which one, counted from 0.
        at: usize,
    },
    /// A vote is not the sender's, or not of the kind that such a message has.
    #[error("the vote in the message is not one that its sender may send")]
    OtherVote,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Addressed, Answer, Ask, Request, WireError, addressed};

    #[test]
    fn fuzzed_messages_are_read_or_refused() {
        let (mut requests, mut answers) = (0, 0);
        exesdb_fuzz::fuzz("messages", |bytes| {
            if let Ok(request) = Request::decode(&Bytes::copy_from_slice(bytes)) {
                assert_eq!(request.encode(), bytes, "a request has one form only");
                requests += 1;
            }
            if let Ok(answer) = Answer::decode(bytes) {
                assert_eq!(answer.encode(), bytes, "an answer has one form only");
                answers += 1;
            }
        });
        assert!(requests > 0 && answers > 0, "{requests} requests and {answers} answers were accepted");
    }

    #[test]
    fn a_message_says_between_whom_it_goes() {
        let bytes = Request { group: 7, from: 2, to: 3, ask: Ask::ReadIndex }.encode();
        assert_eq!(addressed(&bytes), Ok(Addressed { group: 7, from: 2, to: 3 }));
        assert_eq!(addressed(&[9; 26]), Err(WireError::UnknownVersion { found: 9 }));
        for len in 0..bytes.len() {
            assert!(matches!(addressed(&bytes[..len]), Err(WireError::Truncated { .. })), "{len}");
        }
    }
}
