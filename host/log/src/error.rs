//! What can go wrong.

use std::io;

use crate::group::Misfit;

/// Why a record was not taken, or what became of one that was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The queue is full. Nothing was done; try again later.
    #[error("the log is overloaded: {limit} wait")]
    Overloaded {
        /// The limit that was reached, with its unit.
        limit: String,
    },
    /// The group holds as much as it may. Nothing was done; purge it first.
    #[error("group {group} holds {held} bytes of entries, and {max} are allowed; it has to be purged")]
    GroupFull {
        /// The group.
        group: u64,
        /// Bytes of its entries.
        held: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The log takes no entries for now, because it is as large as it may be, or the disk is full. Nothing was done.
    /// States, truncations, purges and removals are still taken.
    #[error("the log takes no entries: {reason}")]
    Full {
        /// What is short, with its unit.
        reason: String,
    },
    /// There are as many groups as there may be. Nothing was done.
    #[error("the log has {max} groups, which is the limit")]
    TooManyGroups {
        /// The limit.
        max: u64,
    },
    /// The call is larger than allowed, or empty. Nothing was done.
    #[error("{what}")]
    Invalid {
        /// What is not allowed, with the limit.
        what: String,
    },
    /// Entries must follow each other. Nothing was done.
    #[error("the next entry of group {group} is {expected}, not {found}")]
    OutOfOrder {
        /// The group.
        group: u64,
        /// The index that would follow.
        expected: u64,
        /// The index of the first entry.
        found: u64,
    },
    /// What was purged cannot be truncated. Nothing was done.
    #[error("entry {index} of group {group} was purged, as everything through {through}")]
    Purged {
        /// The group.
        group: u64,
        /// The index that was named.
        index: u64,
        /// The last index that was purged.
        through: u64,
    },
    /// The group lost entries that were synced. It takes nothing but its removal.
    #[error("group {group} lost synced entries; its replica has to be replaced under another id")]
    Broken {
        /// The group.
        group: u64,
    },
    /// A write or sync failed. Nothing is written any more, and whether this record is on the disk is unknown.
    #[error("the log is poisoned: {reason}")]
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    pub(crate) fn misfit(group: u64, misfit: Misfit) -> Self {
        match misfit {
            Misfit::OutOfOrder { expected, found } => Self::OutOfOrder { group, expected, found },
            Misfit::Purged { index, through } => Self::Purged { group, index, through },
            Misfit::NotThere { index } => Self::Invalid { what: format!("entry {index} is not there") },
        }
    }
}

/// Why entries could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The entry is not there any more.
    #[error("entry {index} of group {group} is gone; the first one is {first}")]
    Gone {
        /// The group.
        group: u64,
        /// The index that was asked for.
        index: u64,
        /// The lowest index that can be read, or the next one if there is none.
        first: u64,
    },
    /// The entry is not what was written. It is never served.
    #[error("entry {index} of group {group} is damaged, in {segment} at byte {offset}")]
    Damaged {
        /// The group.
        group: u64,
        /// The index of the first entry of the damaged record.
        index: u64,
        /// The file.
        segment: String,
        /// The byte at which the record begins.
        offset: u64,
    },
    /// The group lost entries that were synced.
    #[error("group {group} lost synced entries; its replica has to be replaced under another id")]
    Broken {
        /// The group.
        group: u64,
    },
    /// The disk reported an error.
    #[error("reading {segment}: {source}")]
    Io {
        /// The file.
        segment: String,
        /// The error.
        source: io::Error,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a log could not be opened. Nothing was changed, except that an unsynced end may have been cut off.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log is open elsewhere.
    #[error("{path} is locked: the log is open in another process")]
    Locked {
        /// The folder.
        path: String,
    },
    /// Something that was synced, and that every group may depend on, is missing or damaged. So this node broke promises of
    /// all groups: all its replicas have to be replaced, under ids that never voted, in a new log.
    #[error(
        "{path} lost what was synced ({what}): every replica of this node has to be replaced, under another id"
    )]
    PromisesBroken {
        /// The folder.
        path: String,
        /// What was found.
        what: String,
    },
    /// The mark is missing or damaged, so nobody knows what was promised. It counts as
    /// [`PromisesBroken`](Self::PromisesBroken), unless the file can be found again.
    #[error("{path}: {what}, so that nobody knows whether everything synced is there")]
    MarkUnusable {
        /// The folder.
        path: String,
        /// What is wrong with the mark.
        what: String,
    },
    /// A segment belongs to another log.
    #[error("{path}: {segment} belongs to another log")]
    OtherLog {
        /// The folder.
        path: String,
        /// The file.
        segment: String,
    },
    /// A segment was written by another version.
    #[error("{path}: {segment} has format {version}, which this version does not know")]
    UnknownFormat {
        /// The folder.
        path: String,
        /// The file.
        segment: String,
        /// The version that it names.
        version: u32,
    },
    /// An option is out of its range.
    #[error("{option} is {actual}; allowed is {range}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Its value.
        actual: u64,
        /// What is allowed.
        range: String,
    },
    /// The file system reported an error.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was done.
        action: &'static str,
        /// The folder.
        path: String,
        /// The error.
        source: io::Error,
    },
}
