//! Answers.

use exesdb_storage::LogId;

use super::parts::{Rest, push_id, push_option, push_vote};
use super::{APPEND, PRE_VOTE, READ_INDEX, SNAPSHOT, SUCCESSOR, VERSION, VOTE, WireError};
use crate::types::Vote;

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Vote {
        vote: Vote,
        is_granted: bool,
        last: Option<LogId>,
    },
    PreVote {
        is_granted: bool,
    },
    Append {
        appended: Appended,
        /// The last entry that the replica has.
        last: Option<LogId>,
    },
    Snapshot {
        vote: Vote,
    },
    /// `None` from a replica that does not lead.
    ReadIndex(Option<LogId>),
    Successor,
}

/// What became of the entries of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    All,
    UpTo(Option<LogId>),
    /// The replica does not have the previous entry.
    Conflict,
    /// It has accepted a higher vote.
    Higher(Vote),
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Vote { vote, is_granted, last } => {
                out.push(VOTE);
                push_vote(&mut out, vote);
                out.push((*is_granted).into());
                push_option(&mut out, last.as_ref(), push_id);
            }
            Self::PreVote { is_granted } => out.extend([PRE_VOTE, (*is_granted).into()]),
            Self::Append { appended, last } => {
                out.push(APPEND);
                match appended {
                    Appended::All => out.push(0),
                    Appended::UpTo(id) => {
                        out.push(1);
                        push_option(&mut out, id.as_ref(), push_id);
                    }
                    Appended::Conflict => out.push(2),
                    Appended::Higher(vote) => {
                        out.push(3);
                        push_vote(&mut out, vote);
                    }
                }
                push_option(&mut out, last.as_ref(), push_id);
            }
            Self::Snapshot { vote } => {
                out.push(SNAPSHOT);
                push_vote(&mut out, vote);
            }
            Self::ReadIndex(id) => {
                out.push(READ_INDEX);
                push_option(&mut out, id.as_ref(), push_id);
            }
            Self::Successor => out.push(SUCCESSOR),
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut rest = Rest::new(bytes);
        let version = rest.u8()?;
        if version != VERSION {
            return Err(WireError::UnknownVersion { found: version });
        }
        let kind = rest.u8()?;
        rest.begin("an answer");
        let answer = match kind {
            VOTE => Self::Vote { vote: rest.vote()?, is_granted: rest.flag()?, last: rest.option(Rest::id)? },
            PRE_VOTE => Self::PreVote { is_granted: rest.flag()? },
            APPEND => {
                let appended = match rest.u8()? {
                    0 => Appended::All,
                    1 => Appended::UpTo(rest.option(Rest::id)?),
                    2 => Appended::Conflict,
                    3 => Appended::Higher(rest.vote()?),
                    found => return Err(WireError::UnknownKind { what: "an outcome", found }),
                };
                Self::Append { appended, last: rest.option(Rest::id)? }
            }
            SNAPSHOT => Self::Snapshot { vote: rest.vote()? },
            READ_INDEX => Self::ReadIndex(rest.option(Rest::id)?),
            SUCCESSOR => Self::Successor,
            found => return Err(WireError::UnknownKind { what: "an answer", found }),
        };
        rest.end()?;
        Ok(answer)
    }

    /// The kind, as in its bytes.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Vote { .. } => VOTE,
            Self::PreVote { .. } => PRE_VOTE,
            Self::Append { .. } => APPEND,
            Self::Snapshot { .. } => SNAPSHOT,
            Self::ReadIndex(_) => READ_INDEX,
            Self::Successor => SUCCESSOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use exesdb_storage::LogId;

    use super::{Answer, Appended};
    use crate::limits::NUMBER_MAX;
    use crate::types::Vote;
    use crate::wire::WireError;

    #[test]
    fn answers_are_read_back_and_hostile_ones_refused() {
        let id = LogId { term: 1, leader: 2, index: 3 };
        let vote = Vote::new_committed(4, 5);
        let append = |appended| Answer::Append { appended, last: Some(id) };
        let answers = [
            Answer::Vote { vote, is_granted: true, last: None },
            Answer::PreVote { is_granted: false },
            append(Appended::All),
            append(Appended::UpTo(Some(id))),
            append(Appended::Conflict),
            append(Appended::Higher(vote)),
            Answer::Snapshot { vote },
            Answer::ReadIndex(Some(id)),
            Answer::Successor,
        ];
        for answer in answers {
            let bytes = answer.encode();
            assert_eq!(Answer::decode(&bytes), Ok(answer.clone()));
            assert_eq!(bytes[1], answer.kind());
            for len in 0..bytes.len() {
                let refused = Answer::decode(&bytes[..len]);
                assert!(matches!(refused, Err(WireError::Truncated { .. })), "{answer:?}");
            }
            assert_eq!(Answer::decode(&[&bytes[..], &[0]].concat()), Err(WireError::TooLong { bytes: 1 }));
        }
        let mut bytes = Answer::ReadIndex(Some(LogId { index: u64::MAX, ..id })).encode();
        let found = u64::MAX;
        assert_eq!(
            Answer::decode(&bytes),
            Err(WireError::TooLarge { what: "an answer", found, max: NUMBER_MAX })
        );
        bytes[1] = 77;
        assert_eq!(Answer::decode(&bytes), Err(WireError::UnknownKind { what: "an answer", found: 77 }));
        assert_eq!(Answer::decode(&[1, 3, 4]), Err(WireError::UnknownKind { what: "an outcome", found: 4 }));
    }
}
