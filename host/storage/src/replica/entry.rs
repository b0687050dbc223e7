//! Entries of the log that replicas apply.

use crate::batch::Batch;

/// Under which leader an entry was proposed: the number of the term, and the id of the replica that led. One number of a
/// term can see two leaders, so the number alone tells nothing apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Term {
    /// Number of the term.
    pub term: u64,
    /// Id of the replica that led.
    pub replica: u64,
}

/// Which entry of the log it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogId {
    /// Number of the term in which the entry was proposed.
    pub term: u64,
    /// Id of the replica that proposed it, which led then.
    pub leader: u64,
    /// Place in the log. Each entry has the index of the one before it plus 1.
    pub index: u64,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which one.
    pub id: LogId,
    /// The clock of the leader that proposed it, in microseconds since 1970-01-01T00:00:00 UTC, or 0 for none. What is
    /// applied has the highest time of all entries up to it. At most [`limits::COMMIT_TIME_MAX`](crate::limits::COMMIT_TIME_MAX).
    pub time: u64,
    /// What it does.
    pub content: EntryContent,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryContent {
    /// Nothing. A leader begins its term with one.
    Blank,
    /// It changes the members of the group. The bytes mean nothing to this crate. At most
    /// [`limits::MEMBERSHIP_BYTES_MAX`](crate::limits::MEMBERSHIP_BYTES_MAX).
    Membership(Vec<u8>),
    /// It has the commits that waited, applied in order.
    Commits(Vec<EntryCommit>),
    /// It says what its leader had applied up to an earlier entry. A replica that has something else there has diverged, and
    /// stops.
    Check(EntryCheck),
}

/// What a leader had applied up to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryCheck {
    /// Index of the entry, which comes before the one that has this check.
    pub index: u64,
    /// Number of the steps that had changed something; see [`LogHead::sequence`](crate::LogHead::sequence).
    pub sequence: u64,
    /// The next position.
    pub next_position: u64,
    /// The chain of the head.
    pub chain: u64,
    /// The link of outcomes; see [`Applied::link`](crate::Applied::link).
    pub link: u64,
}

/// A commit in an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryCommit {
    /// Owner of the keyspaces that the batches name.
    pub owner: String,
    /// The term that the commit belongs to. In an entry that was proposed under another one nothing of it is applied. `None`
    /// for a commit that is applied under any leader.
    pub fence: Option<Term>,
    /// What to wake once the commit is applied. It means nothing to this crate.
    pub topics: Vec<String>,
    /// The batches, applied in order. They are independent of each other: one that fails does not stop the next.
    pub batches: Vec<Batch>,
}

impl Entry {
    /// Number of batches of its commits.
    pub(super) fn batches(&self) -> usize {
        match &self.content {
            EntryContent::Blank | EntryContent::Membership(_) | EntryContent::Check(_) => 0,
            EntryContent::Commits(commits) => commits.iter().map(|commit| commit.batches.len()).sum(),
        }
    }
}

impl LogId {
    /// The term in which the entry was proposed.
    #[must_use]
    pub fn proposed_under(&self) -> Term {
        Term { term: self.term, replica: self.leader }
    }
}
