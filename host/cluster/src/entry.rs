//! Entries as the engine holds them: an [`Entry`] of the storage, which is also what is in the log and on the wire.

use std::fmt;
use std::sync::{Arc, OnceLock};

use exesdb_storage::{Entry, EntryCommit, EntryContent, EntryError, LogId};
use openraft::entry::{FromAppData, RaftEntry, RaftPayload};

use crate::members::{self, MembersError};
use crate::types::{Membership, RaftLogId, from_raft, to_raft};

/// What a leader proposes.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// The leader's clock, in microseconds since 1970-01-01T00:00:00 UTC.
    pub(crate) time: u64,
    pub(crate) commits: Vec<EntryCommit>,
    pub(crate) ticket: Ticket,
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

/// An entry of the log.
#[derive(Debug)]
pub(crate) struct LogEntry {
    id: RaftLogId,
    entry: Entry,
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
    fn new(id: RaftLogId, time: u64, content: EntryContent) -> Self {
        let entry = Entry { id: from_raft(&id), time, content };
        Self { id, entry, membership: None, ticket: None }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.entry.encode()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, LogEntryError> {
        let entry = Entry::decode(bytes)?;
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
            EntryContent::Blank | EntryContent::Commits(_) => None,
        };
        Ok(Self { id: to_raft(entry.id), entry, membership, ticket: None })
    }

    /// What a replica applies.
    pub(crate) fn into_entry(self) -> Entry {
        self.entry
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.entry.content {
            EntryContent::Blank => "blank",
            EntryContent::Membership(_) => "membership",
            EntryContent::Commits(_) => "commits",
        };
        write!(f, "{}:{kind}", self.id)
    }
}

impl RaftPayload<u64, members::Member> for LogEntry {
    fn is_blank(&self) -> bool {
        matches!(self.entry.content, EntryContent::Blank)
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
        self.entry.id = from_raft(id);
        if let Some(membership) = &self.membership {
            self.entry.content = EntryContent::Membership(members::encode(self.entry.id, membership));
        }
        if let Some(ticket) = self.ticket.take() {
            // Each proposal becomes one entry, once.
            let _ = ticket.0.set(self.entry.id);
        }
    }
}

impl RaftEntry<u64, members::Member> for LogEntry {
    fn new_blank(id: RaftLogId) -> Self {
        Self::new(id, 0, EntryContent::Blank)
    }

    fn new_membership(id: RaftLogId, membership: Membership) -> Self {
        let content = EntryContent::Membership(members::encode(from_raft(&id), &membership));
        Self { membership: Some(membership), ..Self::new(id, 0, content) }
    }
}

impl FromAppData<Proposal> for LogEntry {
    fn from_app_data(proposal: Proposal) -> Self {
        let Proposal { time, commits, ticket } = proposal;
        let content = EntryContent::Commits(commits);
        Self { ticket: Some(ticket), ..Self::new(RaftLogId::default(), time, content) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use exesdb_storage::{Entry, EntryContent, LogId};
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
        let read = LogEntry::decode(&entry.encode()).expect("what was encoded is decoded");
        assert_eq!(read.get_log_id(), &to_raft(ID));
        assert_eq!(read.membership, Some(membership()));
    }

    #[test]
    fn a_ticket_names_the_entry_only_once_the_proposal_is_one() {
        let ticket = Ticket::default();
        let proposal = Proposal { time: 9, commits: vec![], ticket: ticket.clone() };
        let mut entry = LogEntry::from_app_data(proposal);
        assert_eq!(ticket.entry(), None);
        entry.set_log_id(&to_raft(ID));
        assert_eq!(ticket.entry(), Some(ID));
    }

    #[test]
    fn members_that_are_malformed_or_of_another_entry_are_refused() {
        let entry = |bytes| Entry { id: ID, time: 0, content: EntryContent::Membership(bytes) }.encode();
        let other = LogId { index: 8, ..ID };
        let of_other = entry(members::encode(other, &membership()));
        let refused = LogEntry::decode(&of_other).err();
        assert_eq!(refused, Some(LogEntryError::OtherMembers { index: 7, named: 8 }));
        let refused = LogEntry::decode(&entry(vec![9])).err();
        let error = MembersError::UnknownVersion { found: 9 };
        assert_eq!(refused, Some(LogEntryError::Members { index: 7, error }));
    }
}
