//! Entries as bytes, the same between replicas and in their logs.
//!
//! Numbers are big-endian. A *text* or *bytes* is a length (`u32`) and so many bytes; a *list* is a count (`u32`) and so many
//! elements.
//!
//! ```text
//! entry       version u8 (1), kind u8, term u64, leader u64, index u64, time u64, content
//!   0         blank: nothing
//!   1         commits: list of commit
//!   2         membership: bytes
//!   3         check: index u64, sequence u64, next position u64, chain u64, link of outcomes u64
//! commit      owner text, fence u8 (0; or 1, term u64, replica u64), topics list of text, batches list of batch
//! batch       guards list of guard, operations list of operation, changes list of changes, events u32, log bytes,
//!             removes list of u64
//! guard       kind u8
//!   0         absent: keyspace text, key bytes
//!   1         equals: keyspace text, key bytes, value bytes
//!   2         range empty: keyspace text, start bytes, end u8 (0; or 1, bytes)
//!   3         log ends at: position u64
//! operation   kind u8
//!   0         put: keyspace text, key bytes, value bytes, key stamps list of stamp, value stamps list of stamp,
//!             chain u8 (0; or 1, stamp)
//!   1         delete: keyspace text, key bytes
//! changes     keyspace text, puts bytes, deletes list of bytes
//! stamp       at u32, event u32
//! ```
//!
//! Nothing follows the content. An entry comes from a peer or a file, so nothing in it is trusted: whatever is decoded can
//! be applied. The [limits](crate::limits) are not checked here. They are for whoever proposes: all replicas must apply an
//! entry, also one that another version of this software proposed under other limits.

use super::entry::{Entry, EntryCheck, EntryCommit, EntryContent, LogId, Term};
use crate::batch::{Batch, Changes, Guard, Operation};
use crate::format;
use crate::limits::{COMMIT_TIME_MAX, MEMBERSHIP_BYTES_MAX};
use crate::name;
use crate::stamp::Stamp;

/// The version of the encoding.
const VERSION: u8 = 1;

/// Bytes of an entry before its content.
const HEAD_BYTES: usize = 34;

const BLANK: u8 = 0;
const COMMITS: u8 = 1;
const MEMBERSHIP: u8 = 2;
const CHECK: u8 = 3;

const ABSENT: u8 = 0;
const EQUALS: u8 = 1;
const RANGE_EMPTY: u8 = 2;
const LOG_ENDS_AT: u8 = 3;

const PUT: u8 = 0;
const DELETE: u8 = 1;

/// Why bytes are not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The entry has another version of the encoding.
    #[error("the entry has version {found} of the encoding, and this software knows {VERSION}")]
    UnknownVersion {
        /// The version found.
        found: u8,
    },
    /// The bytes end too early, or a length or count in them is too large.
    #[error("the entry is cut short in {what}")]
    Truncated {
        /// The part that is not complete.
        what: &'static str,
    },
    /// There is no such kind.
    #[error("the entry has {what} of kind {found}, which there is not")]
    UnknownKind {
        /// Of what.
        what: &'static str,
        /// The kind found.
        found: u8,
    },
    /// Bytes follow the entry.
    #[error("{bytes} bytes follow the entry")]
    TooLong {
        /// Number of the bytes.
        bytes: usize,
    },
    /// A part is malformed, so that it could not be applied.
    #[error("the entry is malformed: {0}")]
    Malformed(String),
}

impl Entry {
    /// The entry as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes_at_least());
        let kind = match self.content {
            EntryContent::Blank => BLANK,
            EntryContent::Commits(_) => COMMITS,
            EntryContent::Membership(_) => MEMBERSHIP,
            EntryContent::Check(_) => CHECK,
        };
        push_head(&mut out, kind, &self.id, self.time);
        match &self.content {
            EntryContent::Blank => {}
            EntryContent::Commits(commits) => push_list(&mut out, commits, push_commit),
            EntryContent::Membership(membership) => push_bytes(&mut out, membership),
            EntryContent::Check(EntryCheck { index, sequence, next_position, chain, link }) => {
                let numbers = [index, sequence, next_position, chain, link];
                numbers.into_iter().for_each(|number| push_u64(&mut out, *number));
            }
        }
        out
    }

    /// An entry as bytes whose commits are [encoded](EntryCommit::encode) already.
    #[must_use]
    pub fn encode_commits(id: LogId, time: u64, commits: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + 4 + commits.iter().map(Vec::len).sum::<usize>());
        push_head(&mut out, COMMITS, &id, time);
        push_u32(&mut out, commits.len());
        commits.iter().for_each(|commit| out.extend_from_slice(commit));
        out
    }

    /// Gives an encoded entry another id, whose content does not depend on it.
    ///
    /// # Panics
    ///
    /// If the bytes are no entry.
    pub fn renumber(encoded: &mut [u8], id: LogId) {
        let LogId { term, leader, index } = id;
        for (field, number) in encoded[2..HEAD_BYTES].chunks_exact_mut(8).zip([term, leader, index]) {
            field.copy_from_slice(&number.to_be_bytes());
        }
    }

    /// The id of an encoded entry. Nothing else of it is read or checked.
    ///
    /// # Errors
    ///
    /// [`EntryError`].
    pub fn read_id(encoded: &[u8]) -> Result<LogId, EntryError> {
        head(&mut Rest { bytes: encoded, what: "its head" }).map(|(_, id, _)| id)
    }

    /// Bytes that the encoded entry has at least: those of its content.
    fn bytes_at_least(&self) -> usize {
        match &self.content {
            EntryContent::Blank | EntryContent::Check(_) => 80,
            EntryContent::Membership(membership) => 64 + membership.len(),
            EntryContent::Commits(commits) => {
                64 + commits.iter().flat_map(|commit| &commit.batches).map(Batch::bytes).sum::<usize>()
            }
        }
    }

    /// Reads an entry. Its batches are well-formed.
    ///
    /// # Errors
    ///
    /// [`EntryError`], for the first problem.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        let mut rest = Rest { bytes, what: "its head" };
        let (kind, id, time) = head(&mut rest)?;
        if time > COMMIT_TIME_MAX {
            return Err(EntryError::Malformed(format!("its time is {time} microseconds since 1970")));
        }
        let content = match kind {
            BLANK => EntryContent::Blank,
            COMMITS => EntryContent::Commits(rest.list("its commits", commit)?),
            MEMBERSHIP => EntryContent::Membership(rest.within("its membership").bytes()?),
            CHECK => {
                rest.within("its check");
                EntryContent::Check(EntryCheck {
                    index: rest.u64()?,
                    sequence: rest.u64()?,
                    next_position: rest.u64()?,
                    chain: rest.u64()?,
                    link: rest.u64()?,
                })
            }
            found => return Err(EntryError::UnknownKind { what: "a content", found }),
        };
        if !rest.bytes.is_empty() {
            return Err(EntryError::TooLong { bytes: rest.bytes.len() });
        }
        let entry = Self { id, time, content };
        entry.check()?;
        Ok(entry)
    }

    /// Checks what could not be applied otherwise.
    pub(super) fn check(&self) -> Result<(), EntryError> {
        match &self.content {
            EntryContent::Membership(membership) if membership.len() > MEMBERSHIP_BYTES_MAX => {
                let bytes = membership.len();
                Err(EntryError::Malformed(format!(
                    "its membership has {bytes} bytes, over the limit of {MEMBERSHIP_BYTES_MAX}"
                )))
            }
            EntryContent::Check(EntryCheck { index, .. }) if *index >= self.id.index => {
                Err(EntryError::Malformed(format!("it checks entry {index}, which does not come before it")))
            }
            EntryContent::Blank | EntryContent::Membership(_) | EntryContent::Check(_) => Ok(()),
            EntryContent::Commits(commits) => {
                for (at, commit) in commits.iter().enumerate() {
                    name::check("owner", &commit.owner).map_err(EntryError::Malformed)?;
                    if commit.owner == format::LOG.0 {
                        let owner = &commit.owner;
                        return Err(EntryError::Malformed(format!("{owner} is this crate's and no owner")));
                    }
                    for (index, batch) in commit.batches.iter().enumerate() {
                        batch.check_form().map_err(|error| {
                            EntryError::Malformed(format!("commit {at}, batch {index}: {error}"))
                        })?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl EntryCommit {
    /// The commit as it is in the bytes of an entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.batches.iter().map(Batch::bytes).sum::<usize>());
        push_commit(&mut out, self);
        out
    }
}

fn push_head(out: &mut Vec<u8>, kind: u8, id: &LogId, time: u64) {
    out.extend_from_slice(&[VERSION, kind]);
    [id.term, id.leader, id.index, time].into_iter().for_each(|number| push_u64(out, number));
}

/// Reads the kind, the id and the time of an entry.
fn head(rest: &mut Rest<'_>) -> Result<(u8, LogId, u64), EntryError> {
    let version = rest.u8()?;
    if version != VERSION {
        return Err(EntryError::UnknownVersion { found: version });
    }
    let kind = rest.u8()?;
    let id = LogId { term: rest.u64()?, leader: rest.u64()?, index: rest.u64()? };
    Ok((kind, id, rest.u64()?))
}

fn push_u32(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("what is proposed was checked to be far smaller");
    out.extend_from_slice(&number.to_be_bytes());
}

fn push_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn push_bytes(out: &mut Vec<u8>, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    push_u32(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn push_list<T>(out: &mut Vec<u8>, list: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
    push_u32(out, list.len());
    for element in list {
        push(out, element);
    }
}

fn push_option<T>(out: &mut Vec<u8>, option: Option<&T>, push: impl Fn(&mut Vec<u8>, &T)) {
    out.push(u8::from(option.is_some()));
    if let Some(value) = option {
        push(out, value);
    }
}

fn push_commit(out: &mut Vec<u8>, commit: &EntryCommit) {
    push_bytes(out, &commit.owner);
    push_option(out, commit.fence.as_ref(), |out, Term { term, replica }| {
        push_u64(out, *term);
        push_u64(out, *replica);
    });
    push_list(out, &commit.topics, |out, topic| push_bytes(out, topic));
    push_list(out, &commit.batches, push_batch);
}

fn push_batch(out: &mut Vec<u8>, batch: &Batch) {
    let Batch { guards, operations, changes, events, log, removes } = batch;
    push_list(out, guards, push_guard);
    push_list(out, operations, push_operation);
    push_list(out, changes, |out, Changes { keyspace, puts, deletes }| {
        push_bytes(out, keyspace);
        push_bytes(out, puts);
        push_list(out, deletes, |out, key| push_bytes(out, key));
    });
    out.extend_from_slice(&events.to_be_bytes());
    push_bytes(out, log);
    push_list(out, removes, |out, position| push_u64(out, *position));
}

fn push_guard(out: &mut Vec<u8>, guard: &Guard) {
    match guard {
        Guard::Absent { keyspace, key } => {
            out.push(ABSENT);
            push_bytes(out, keyspace);
            push_bytes(out, key);
        }
        Guard::Equals { keyspace, key, value } => {
            out.push(EQUALS);
            push_bytes(out, keyspace);
            push_bytes(out, key);
            push_bytes(out, value);
        }
        Guard::RangeEmpty { keyspace, start, end } => {
            out.push(RANGE_EMPTY);
            push_bytes(out, keyspace);
            push_bytes(out, start);
            push_option(out, end.as_ref(), |out, end| push_bytes(out, end));
        }
        Guard::LogEndsAt { position } => {
            out.push(LOG_ENDS_AT);
            push_u64(out, *position);
        }
    }
}

fn push_operation(out: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Put { keyspace, key, value, key_stamps, value_stamps, chain } => {
            out.push(PUT);
            push_bytes(out, keyspace);
            push_bytes(out, key);
            push_bytes(out, value);
            push_list(out, key_stamps, push_stamp);
            push_list(out, value_stamps, push_stamp);
            push_option(out, chain.as_ref(), push_stamp);
        }
        Operation::Delete { keyspace, key } => {
            out.push(DELETE);
            push_bytes(out, keyspace);
            push_bytes(out, key);
        }
    }
}

fn push_stamp(out: &mut Vec<u8>, Stamp { at, event }: &Stamp) {
    out.extend_from_slice(&at.to_be_bytes());
    out.extend_from_slice(&event.to_be_bytes());
}

/// The bytes that were not read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    /// The part that is being read.
    what: &'static str,
}

impl Rest<'_> {
    /// Reads the part that is called so.
    fn within(&mut self, what: &'static str) -> &mut Self {
        self.what = what;
        self
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], EntryError> {
        let (taken, rest) =
            self.bytes.split_first_chunk::<N>().ok_or(EntryError::Truncated { what: self.what })?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, EntryError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, EntryError> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, EntryError> {
        self.take().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, EntryError> {
        let length = self.u32()? as usize;
        let (taken, rest) =
            self.bytes.split_at_checked(length).ok_or(EntryError::Truncated { what: self.what })?;
        self.bytes = rest;
        Ok(taken.to_vec())
    }

    fn text(&mut self) -> Result<String, EntryError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes)
            .map_err(|_| EntryError::Malformed(format!("a text in {} is not UTF-8", self.what)))
    }

    /// Reads a list. Each element takes bytes, so a count that is too large only leads to the end of them.
    fn list<T>(
        &mut self,
        what: &'static str,
        element: impl Fn(&mut Self) -> Result<T, EntryError>,
    ) -> Result<Vec<T>, EntryError> {
        let count = self.within(what).u32()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(element(self.within(what))?);
        }
        Ok(list)
    }

    fn option<T>(
        &mut self,
        what: &'static str,
        value: impl Fn(&mut Self) -> Result<T, EntryError>,
    ) -> Result<Option<T>, EntryError> {
        match self.within(what).u8()? {
            0 => Ok(None),
            1 => value(self).map(Some),
            found => Err(EntryError::UnknownKind { what, found }),
        }
    }
}

fn commit(rest: &mut Rest<'_>) -> Result<EntryCommit, EntryError> {
    Ok(EntryCommit {
        owner: rest.within("an owner").text()?,
        fence: rest.option("a fence", |rest| Ok(Term { term: rest.u64()?, replica: rest.u64()? }))?,
        topics: rest.list("the topics of a commit", Rest::text)?,
        batches: rest.list("the batches of a commit", batch)?,
    })
}

fn batch(rest: &mut Rest<'_>) -> Result<Batch, EntryError> {
    Ok(Batch {
        guards: rest.list("the guards of a batch", guard)?,
        operations: rest.list("the operations of a batch", operation)?,
        changes: rest.list("the changes of a batch", |rest| {
            Ok(Changes {
                keyspace: rest.text()?,
                puts: rest.bytes()?,
                deletes: rest.list("the deletes of changes", Rest::bytes)?,
            })
        })?,
        events: rest.within("the events of a batch").u32()?,
        log: rest.within("the log of a batch").bytes()?,
        removes: rest.list("the removes of a batch", Rest::u64)?,
    })
}

fn guard(rest: &mut Rest<'_>) -> Result<Guard, EntryError> {
    Ok(match rest.u8()? {
        ABSENT => Guard::Absent { keyspace: rest.text()?, key: rest.bytes()? },
        EQUALS => Guard::Equals { keyspace: rest.text()?, key: rest.bytes()?, value: rest.bytes()? },
        RANGE_EMPTY => Guard::RangeEmpty {
            keyspace: rest.text()?,
            start: rest.bytes()?,
            end: rest.option("the end of a guard's range", Rest::bytes)?,
        },
        LOG_ENDS_AT => Guard::LogEndsAt { position: rest.u64()? },
        found => return Err(EntryError::UnknownKind { what: "a guard", found }),
    })
}

fn operation(rest: &mut Rest<'_>) -> Result<Operation, EntryError> {
    Ok(match rest.u8()? {
        PUT => Operation::Put {
            keyspace: rest.text()?,
            key: rest.bytes()?,
            value: rest.bytes()?,
            key_stamps: rest.list("the key stamps of a put", stamp)?,
            value_stamps: rest.list("the value stamps of a put", stamp)?,
            chain: rest.option("the chain of a put", stamp)?,
        },
        DELETE => Operation::Delete { keyspace: rest.text()?, key: rest.bytes()? },
        found => return Err(EntryError::UnknownKind { what: "an operation", found }),
    })
}

fn stamp(rest: &mut Rest<'_>) -> Result<Stamp, EntryError> {
    Ok(Stamp { at: rest.u32()?, event: rest.u32()? })
}
