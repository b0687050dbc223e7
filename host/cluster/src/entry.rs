//! Entries as the engine holds them: an [`Entry`] of the storage, which is also what is in the log and on the wire.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use exesdb_storage::{Entry, EntryCheck, EntryCommit, EntryContent, EntryError, LogId};
use openraft::entry::{FromAppData, RaftEntry, RaftPayload};

use crate::members::{self, MembersError};
use crate::types::{Membership, RaftLogId, from_raft, to_raft};

/// What a leader proposes: an entry whose id is not known yet, and the same as bytes.
#[derive(Debug)]
pub(crate) struct Proposal {
    entry: Entry,
    encoded: Vec<u8>,
    ticket: Ticket,
}

impl Proposal {
    /// Commits, each with its bytes. `time` is the leader's clock, in microseconds since 1970-01-01T00:00:00 UTC.
    pub(crate) fn commits(time: u64, commits: Vec<EntryCommit>, encoded: &[Vec<u8>], ticket: Ticket) -> Self {
        let id = LogId::default();
        let encoded = Entry::encode_commits(id, time, encoded);
        Self { entry: Entry { id, time, content: EntryContent::Commits(commits) }, encoded, ticket }
    }

    /// What this replica has applied, for the others to compare.
    pub(crate) fn check(check: EntryCheck) -> Self {
        let entry = Entry { id: LogId::default(), time: 0, content: EntryContent::Check(check) };
        Self { encoded: entry.encode(), entry, ticket: Ticket::default() }
    }
}

/// Tells the proposer which entry the proposal became. The engine gives the same error for a proposal that it never took and
/// for one whose entry another leader replaced here: the first is undone, the second unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticket(Arc<OnceLock<LogId>>);

impl Ticket {
    pub(crate) fn entry(&self) -> Option<LogId> {
        self.0.get().copied()
    }
}

/// An entry of the log. Its bytes are made once, by the leader that proposes it.
#[derive(Debug)]
pub(crate) struct LogEntry {
    id: RaftLogId,
    /// As in the log and on the wire.
    encoded: Bytes,
    /// What the bytes have; `None` where nobody reads it.
    entry: Option<Entry>,
    /// What `entry` has, decoded.
    membership: Option<Membership>,
    ticket: Option<Ticket>,
}

/// Why bytes are not an entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogEntryError {
    /// They are no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The members in the entry are malformed.
    #[error("the members in entry {index} are malformed: {error}")]
    Members {
        /// The entry's index.
        index: u64,
        /// What is wrong.
        error: MembersError,
    },
    /// The members in the entry are those of another entry.
    #[error("entry {index} has the members of entry {named}")]
    OtherMembers {
        /// The entry's index.
        index: u64,
        /// The index that its members name.
        named: u64,
    },
}

impl LogEntry {
    fn new(id: RaftLogId, content: EntryContent) -> Self {
        let entry = Entry { id: from_raft(&id), time: 0, content };
        let encoded = entry.encode().into();
        Self { id, encoded, entry: Some(entry), membership: None, ticket: None }
    }

    /// Reads an entry, and checks all of it.
    pub(crate) fn decode(encoded: Bytes) -> Result<Self, LogEntryError> {
        let entry = Entry::decode(&encoded)?;
        let membership = match &entry.content {
            EntryContent::Membership(bytes) => {
                let index = entry.id.index;
                let decoded = members::decode(bytes);
                let (id, membership) = decoded.map_err(|error| LogEntryError::Members { index, error })?;
                if id != entry.id {
                    return Err(LogEntryError::OtherMembers { index, named: id.index });
                }
                Some(membership)
            }
            EntryContent::Blank | EntryContent::Commits(_) | EntryContent::Check(_) => None,
        };
        Ok(Self { id: to_raft(entry.id), encoded, entry: Some(entry), membership, ticket: None })
    }

    /// An entry that is only passed on, to somebody who checks it.
    pub(crate) fn sealed(encoded: Bytes) -> Result<Self, LogEntryError> {
        let id = to_raft(Entry::read_id(&encoded)?);
        Ok(Self { id, encoded, entry: None, membership: None, ticket: None })
    }

    /// What a replica applies.
    pub(crate) fn into_entry(self) -> Result<Entry, LogEntryError> {
        self.entry.map_or_else(|| Ok(Entry::decode(&self.encoded)?), Ok)
    }

    pub(crate) fn id(&self) -> LogId {
        from_raft(&self.id)
    }

    pub(crate) fn encoded(&self) -> &Bytes {
        &self.encoded
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.entry.as_ref().map(|entry| &entry.content) {
            None => "sealed",
            Some(EntryContent::Blank) => "blank",
            Some(EntryContent::Membership(_)) => "membership",
            Some(EntryContent::Commits(_)) => "commits",
            Some(EntryContent::Check(_)) => "check",
        };
        write!(f, "{}:{kind}", self.id)
    }
}

impl RaftPayload<u64, members::Member> for LogEntry {
    fn is_blank(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.content == EntryContent::Blank)
    }

    fn get_membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }
}

impl openraft::RaftLogId<u64> for LogEntry {
    fn get_log_id(&self) -> &RaftLogId {
        &self.id
    }

    fn set_log_id(&mut self, id: &RaftLogId) {
        self.id = *id;
        let id = self.id();
        match (&mut self.entry, &self.membership) {
            // Its content has the id as well.
            (Some(entry), Some(membership)) => {
                entry.id = id;
                entry.content = EntryContent::Membership(members::encode(id, membership));
                self.encoded = entry.encode().into();
            }
            (entry, _) => {
                entry.iter_mut().for_each(|entry| entry.id = id);
                // Nobody else has the bytes yet, so they are not copied.
                let mut encoded = Vec::from(std::mem::take(&mut self.encoded));
                Entry::renumber(&mut encoded, id);
                self.encoded = encoded.into();
            }
        }
        if let Some(ticket) = self.ticket.take() {
            // Each proposal becomes one entry, once.
            let _ = ticket.0.set(id);
        }
    }
}

impl RaftEntry<u64, members::Member> for LogEntry {
    fn new_blank(id: RaftLogId) -> Self {
        Self::new(id, EntryContent::Blank)
    }

    fn new_membership(id: RaftLogId, membership: Membership) -> Self {
        let content = EntryContent::Membership(members::encode(from_raft(&id), &membership));
        Self { membership: Some(membership), ..Self::new(id, content) }
    }
}

impl FromAppData<Proposal> for LogEntry {
    fn from_app_data(proposal: Proposal) -> Self {
        let Proposal { entry, encoded, ticket } = proposal;
        Self {
            id: to_raft(entry.id),
            encoded: encoded.into(),
            entry: Some(entry),
            membership: None,
            ticket: Some(ticket),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use exesdb_storage::{Entry, EntryCommit, EntryContent, LogId};
    use openraft::RaftLogId as _;
    use openraft::entry::{FromAppData, RaftEntry};

    use super::{LogEntry, LogEntryError, Proposal, Ticket};
    use crate::members::{self, Member, MembersError};
    use crate::types::{Membership, RaftLogId, to_raft};

    const ID: LogId = LogId { term: 3, leader: 2, index: 7 };

    fn membership() -> Membership {
        let member = Member { node: "a".into(), incarnation: 5 };
        Membership::new(vec![[2].into()], BTreeMap::from([(2, member)]))
    }

    #[test]
    fn an_entry_has_the_id_that_it_was_given_last_in_all_its_parts() {
        let mut entry = LogEntry::new_membership(RaftLogId::default(), membership());
        entry.set_log_id(&to_raft(ID));
        let read = LogEntry::decode(entry.encoded().clone()).expect("what was encoded is decoded");
        assert_eq!(read.get_log_id(), &to_raft(ID));
        assert_eq!(read.membership, Some(membership()));
    }

    #[test]
    fn a_ticket_names_the_entry_only_once_the_proposal_is_one() {
        let ticket = Ticket::default();
        let commit = EntryCommit { owner: "o".into(), ..EntryCommit::default() };
        let encoded = commit.encode();
        let proposal = Proposal::commits(9, vec![commit], &[encoded], ticket.clone());
        let mut entry = LogEntry::from_app_data(proposal);
        assert_eq!(ticket.entry(), None);
        entry.set_log_id(&to_raft(ID));
        assert_eq!(ticket.entry(), Some(ID));
        let sealed = LogEntry::sealed(entry.encoded().clone()).expect("it is an entry");
        assert_eq!(sealed.id(), ID);
        assert_eq!(sealed.into_entry(), entry.into_entry(), "the bytes are those of what is applied");
    }

    #[test]
    fn fuzzed_entries_are_read_or_refused() {
        let mut accepted = 0;
        exesdb_fuzz::fuzz("entries", |bytes| {
            if let Ok(entry) = LogEntry::decode(Bytes::copy_from_slice(bytes)) {
                let entry = entry.into_entry().expect("it was decoded");
                assert_eq!(entry.encode(), bytes, "an entry has one form only");
                accepted += 1;
            }
        });
        assert!(accepted > 0, "every input was refused");
    }

    #[test]
    fn members_that_are_malformed_or_of_another_entry_are_refused() {
        let entry = |bytes| -> Bytes {
            Entry { id: ID, time: 0, content: EntryContent::Membership(bytes) }.encode().into()
        };
        let other = LogId { index: 8, ..ID };
        let of_other = entry(members::encode(other, &membership()));
        let refused = LogEntry::decode(of_other).err();
        assert_eq!(refused, Some(LogEntryError::OtherMembers { index: 7, named: 8 }));
        let refused = LogEntry::decode(entry(vec![9])).err();
        let error = MembersError::UnknownVersion { found: 9 };
        assert_eq!(refused, Some(LogEntryError::Members { index: 7, error }));
    }
}
