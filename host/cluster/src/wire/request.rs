//! Requests.

use bytes::Bytes;
use exesdb_storage::LogId;

use super::parts::{Rest, push_id, push_option, push_u64, push_vote};
use super::{APPEND, PRE_VOTE, READ_INDEX, SNAPSHOT, SUCCESSOR, VERSION, VOTE, WireError};
use crate::entry::LogEntry;
use crate::limits::{APPEND_ENTRIES_MAX, ENTRY_FRAME_BYTES_MAX};
use crate::types::Vote;

/// A request of one replica to another one of its group.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) group: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) ask: Ask,
}

/// What is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    Vote { vote: Vote, last: Option<LogId> },
    PreVote { last: Option<LogId> },
    Append(Append),
    Snapshot { vote: Vote },
    ReadIndex,
    Successor { vote: Vote, successor: u64 },
}

#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) vote: Vote,
    pub(crate) previous: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) entries: Vec<LogEntry>,
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { group, from, to, ask } = self;
        let mut out = vec![VERSION];
        out.push(match ask {
            Ask::Vote { .. } => VOTE,
            Ask::PreVote { .. } => PRE_VOTE,
            Ask::Append(_) => APPEND,
            Ask::Snapshot { .. } => SNAPSHOT,
            Ask::ReadIndex => READ_INDEX,
            Ask::Successor { .. } => SUCCESSOR,
        });
        [group, from, to].into_iter().for_each(|number| push_u64(&mut out, *number));
        match ask {
            Ask::Vote { vote, last } => {
                push_vote(&mut out, vote);
                push_option(&mut out, last.as_ref(), push_id);
            }
            Ask::PreVote { last } => push_option(&mut out, last.as_ref(), push_id),
            Ask::Append(append) => push_append(&mut out, append),
            Ask::Snapshot { vote } => push_vote(&mut out, vote),
            Ask::Successor { vote, successor } => {
                push_vote(&mut out, vote);
                push_u64(&mut out, *successor);
            }
            Ask::ReadIndex => {}
        }
        out
    }

    /// Reads a request, and checks all that can be checked without knowing the group. Its entries are parts of the message.
    pub(crate) fn decode(message: &Bytes) -> Result<Self, WireError> {
        let mut rest = Rest::new(message);
        let version = rest.u8()?;
        if version != VERSION {
            return Err(WireError::UnknownVersion { found: version });
        }
        let kind = rest.u8()?;
        let (group, from, to) = (rest.u64()?, rest.u64()?, rest.u64()?);
        let ask = match kind {
            VOTE => {
                let vote = vote_of(&mut rest, from, false)?;
                rest.begin("its last id");
                Ask::Vote { vote, last: rest.option(Rest::id)? }
            }
            PRE_VOTE => {
                rest.begin("its last id");
                Ask::PreVote { last: rest.option(Rest::id)? }
            }
            APPEND => Ask::Append(append(&mut rest, from, message)?),
            SNAPSHOT => Ask::Snapshot { vote: vote_of(&mut rest, from, true)? },
            READ_INDEX => Ask::ReadIndex,
            SUCCESSOR => Ask::Successor { vote: vote_of(&mut rest, from, true)?, successor: rest.u64()? },
            found => return Err(WireError::UnknownKind { what: "a request", found }),
        };
        rest.end()?;
        Ok(Self { group, from, to, ask })
    }
}

/// A vote for the sender: of a candidate, or of a leader that a majority has granted it.
fn vote_of(rest: &mut Rest<'_>, from: u64, of_leader: bool) -> Result<Vote, WireError> {
    rest.begin("its vote");
    let vote = rest.vote()?;
    if vote.leader_id().node_id != from || vote.committed != of_leader || vote.leader_id().term == 0 {
        return Err(WireError::OtherVote);
    }
    Ok(vote)
}

fn push_append(out: &mut Vec<u8>, append: &Append) {
    push_vote(out, &append.vote);
    push_option(out, append.previous.as_ref(), push_id);
    push_option(out, append.committed.as_ref(), push_id);
    let count = u32::try_from(append.entries.len()).expect("a message has fewer entries");
    out.extend(count.to_be_bytes());
    out.reserve(append.entries.iter().map(|entry| 4 + entry.encoded().len()).sum());
    for entry in &append.entries {
        let entry = entry.encoded();
        let len = u32::try_from(entry.len()).expect("an entry is within its limit");
        out.extend(len.to_be_bytes());
        out.extend(entry);
    }
}

fn append(rest: &mut Rest<'_>, from: u64, message: &Bytes) -> Result<Append, WireError> {
    let vote = vote_of(rest, from, true)?;
    rest.begin("its previous id");
    let previous = rest.option(Rest::id)?;
    rest.begin("its committed id");
    let committed = rest.option(Rest::id)?;
    rest.begin("its entries");
    let count = rest.u32()? as usize;
    if count > APPEND_ENTRIES_MAX {
        let max = APPEND_ENTRIES_MAX as u64;
        return Err(WireError::TooLarge { what: "the number of entries", found: count as u64, max });
    }
    let leader = (vote.leader_id().term, vote.leader_id().node_id);
    let mut before = previous;
    let mut entries = Vec::new();
    for at in 0..count {
        let len = rest.u32()? as usize;
        if len > ENTRY_FRAME_BYTES_MAX {
            let max = ENTRY_FRAME_BYTES_MAX as u64;
            return Err(WireError::TooLarge { what: "an entry in bytes", found: len as u64, max });
        }
        let entry = message.slice_ref(rest.bytes(len)?);
        let entry = LogEntry::decode(entry).map_err(|error| WireError::Entry { at, error })?;
        let id = entry.id();
        let follows = match before {
            // Without a previous entry the log begins with index 0.
            None => id.index == 0,
            Some(before) => {
                id.index == before.index + 1 && (id.term, id.leader) >= (before.term, before.leader)
            }
        };
        if !follows || (id.term, id.leader) > leader {
            return Err(WireError::OutOfOrder { at });
        }
        before = Some(id);
        entries.push(entry);
    }
    Ok(Append { vote, previous, committed, entries })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use exesdb_storage::LogId;
    use openraft::entry::RaftEntry;

    use super::{Append, Ask, Request};
    use crate::entry::LogEntry;
    use crate::limits::NUMBER_MAX;
    use crate::types::{Vote, to_raft};
    use crate::wire::WireError;

    const FROM: u64 = 2;

    fn request(ask: Ask) -> Request {
        Request { group: 7, from: FROM, to: 3, ask }
    }

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, leader: FROM, index }
    }

    fn append(previous: Option<LogId>, ids: &[LogId]) -> Request {
        let entries = ids.iter().map(|id| LogEntry::new_blank(to_raft(*id))).collect();
        let vote = Vote::new_committed(5, FROM);
        request(Ask::Append(Append { vote, previous, committed: Some(id(4, 8)), entries }))
    }

    fn all() -> Vec<Request> {
        let (candidate, leader) = (Vote::new(5, FROM), Vote::new_committed(5, FROM));
        vec![
            request(Ask::Vote { vote: candidate, last: Some(id(4, 9)) }),
            request(Ask::PreVote { last: None }),
            append(Some(id(4, 9)), &[id(4, 10), id(5, 11)]),
            request(Ask::Snapshot { vote: leader }),
            request(Ask::ReadIndex),
            request(Ask::Successor { vote: leader, successor: 3 }),
        ]
    }

    #[test]
    fn requests_are_read_back_and_their_prefixes_refused() {
        for request in all() {
            let bytes = request.encode();
            let read = Request::decode(&Bytes::from(bytes.clone())).expect("what was encoded is decoded");
            assert_eq!(format!("{read:?}"), format!("{request:?}"));
            for len in 0..bytes.len() {
                let refused =
                    Request::decode(&Bytes::copy_from_slice(&bytes[..len])).expect_err("it is cut short");
                assert!(matches!(refused, WireError::Truncated { .. }), "{len}: {refused}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Request::decode(&longer.into()).err(), Some(WireError::TooLong { bytes: 1 }));
        }
    }

    #[test]
    fn mutated_requests_are_read_or_refused() {
        let mut random = exesdb_test_support::random();
        for request in all() {
            let bytes = request.encode();
            for _ in 0..2_000 {
                let mut bytes = bytes.clone();
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
                drop(Request::decode(&bytes.into()));
            }
        }
    }

    #[test]
    fn hostile_numbers_are_refused() {
        let with = |request: Request, at: usize, bytes: &[u8]| {
            let mut message = request.encode();
            message[at..at + bytes.len()].copy_from_slice(bytes);
            Request::decode(&message.into()).expect_err("it is hostile")
        };
        let vote = || request(Ask::Vote { vote: Vote::new(5, FROM), last: Some(id(4, 9)) });
        assert_eq!(with(vote(), 0, &[2]), WireError::UnknownVersion { found: 2 });
        assert_eq!(with(vote(), 1, &[9]), WireError::UnknownKind { what: "a request", found: 9 });
        // The head has 26 bytes, a vote 17.
        let too_large = |what| WireError::TooLarge { what, found: u64::MAX, max: NUMBER_MAX };
        assert_eq!(with(vote(), 26, &[0xff; 8]), too_large("its vote"));
        assert_eq!(with(vote(), 34, &[0xff; 8]), WireError::OtherVote, "for another replica");
        assert_eq!(with(vote(), 42, &[1]), WireError::OtherVote, "of a leader");
        assert_eq!(with(vote(), 26, &[0; 8]), WireError::OtherVote, "of no term");
        assert_eq!(with(vote(), 44 + 16, &[0xff; 8]), too_large("its last id"));
        let append = || append(Some(id(4, 9)), &[id(4, 10)]);
        let count = 26 + 17 + 25 + 25;
        assert!(matches!(with(append(), count, &[0xff; 4]), WireError::TooLarge { .. }));
        assert_eq!(with(append(), count, &[0, 0, 0, 2]), WireError::Truncated { what: "its entries" });
        assert!(matches!(with(append(), count + 4, &[0xff; 4]), WireError::TooLarge { .. }));
        assert!(matches!(with(append(), count + 8, &[9]), WireError::Entry { at: 0, .. }));
    }

    #[test]
    fn entries_that_do_not_follow_are_refused() {
        let previous = Some(id(4, 9));
        let table = [
            ("a gap", append(previous, &[id(4, 11)]), 0),
            ("a gap between them", append(previous, &[id(4, 10), id(4, 12)]), 1),
            ("one twice", append(previous, &[id(4, 10), id(4, 10)]), 1),
            ("an earlier term", append(previous, &[id(3, 10)]), 0),
            ("a later term than the leader's", append(previous, &[id(6, 10)]), 0),
            ("none before, and not the first", append(None, &[id(4, 10)]), 0),
        ];
        for (case, request, at) in table {
            assert_eq!(
                Request::decode(&request.encode().into()).err(),
                Some(WireError::OutOfOrder { at }),
                "{case}"
            );
        }
    }
}
