//! Verifying: reading everything, and reporting what cannot be read.
//!
//! Each block of a table has a checksum that is checked when the block is read from the disk. So if every entry can be
//! read, no block that a read could meet is damaged; blocks in the cache were checked when they got there. Every key is
//! also looked up by itself, because a point read uses filters that a scan does not.

use fjall::{Keyspace, Readable, Slice};

use crate::dump::Progress;
use crate::engine::Fjall;
use crate::engine_failure::EngineFailure;
use crate::engine_files::diagnosis;
use crate::head::LogHead;
use crate::limits;
use crate::read::{Chunk, Direction, ReadError, Snapshot, read_chunk};

/// Most findings that a report lists; the others are only counted. 1,000: more than anybody reads, and a few megabytes at
/// most.
const FINDINGS_MAX: usize = 1000;

/// The result of verifying a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The head of the verified snapshot.
    pub head: LogHead,
    /// All keyspaces, ascending by owner and name.
    pub keyspaces: Vec<KeyspaceReport>,
    /// What is wrong, in the order in which it was found; at most the first 1,000 findings.
    pub findings: Vec<Finding>,
    /// Number of findings, including those that are not listed.
    pub findings_total: u64,
}

/// How much of one keyspace could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceReport {
    /// Owner of the keyspace.
    pub owner: String,
    /// Name of the keyspace.
    pub keyspace: String,
    /// Number of entries that could be read.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Owner of the keyspace.
    pub owner: String,
    /// Name of the keyspace.
    pub keyspace: String,
    /// The key of the entry, or the last key that could be read before a gap; `None` if the gap begins the keyspace.
    pub key: Option<Vec<u8>>,
    /// The range that cannot be read, if the finding is one.
    pub gap: Option<Gap>,
    /// What is wrong.
    pub what: String,
}

/// The keys around a range that cannot be read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last readable key before the gap; `None` if the gap begins the keyspace.
    pub after: Option<Vec<u8>>,
    /// The first readable key after the gap; `None` if the gap ends the keyspace.
    pub before: Option<Vec<u8>>,
}

impl Report {
    /// Whether there are no findings.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings_total == 0
    }

    /// Number of entries that could be read, in all keyspaces.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.keyspaces.iter().map(|keyspace| keyspace.entries).sum()
    }

    /// Bytes of their keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.keyspaces.iter().map(|keyspace| keyspace.bytes).sum()
    }

    fn add(&mut self, finding: Finding) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// A chunk, and the keys of wrong entries with what is wrong.
#[derive(Default)]
struct CheckedChunk {
    chunk: Chunk,
    wrong: Vec<(Slice, String)>,
}

impl Snapshot {
    /// Reads every entry of every keyspace, on the caller's thread, while the store goes on.
    ///
    /// If a keyspace cannot be read further, reading goes on from its other end: what lies between the two places is one
    /// finding, however much is wrong in it. The other keyspaces are read in any case. `progress` is called after each
    /// piece of about 1 MiB.
    ///
    /// # Errors
    ///
    /// [`ReadError::Closed`], if the store was closed meanwhile. What is wrong with the data is in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Report, ReadError> {
        let mut report =
            Report { head: self.head(), keyspaces: Vec::new(), findings: Vec::new(), findings_total: 0 };
        for (owner, keyspace) in self.keyspaces()? {
            report.keyspaces.push(KeyspaceReport { owner, keyspace, entries: 0, bytes: 0 });
            self.verify_last(&mut report, progress)?;
        }
        Ok(report)
    }

    /// Verifies the keyspace that was added to the report last.
    fn verify_last(
        &self,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), ReadError> {
        let stopped = self.verify_from(Direction::Forward, None, report, progress)?;
        let Some((last, failure)) = stopped else { return Ok(()) };
        let resumed = self.verify_from(Direction::Backward, last.as_deref(), report, progress)?;
        let next = resumed.and_then(|(first, _)| first);
        let current = report.keyspaces.last().expect("the keyspace was added before it is verified");
        let (owner, keyspace) = (current.owner.clone(), current.keyspace.clone());
        let why = self.damaged_files(&owner, &keyspace)?.unwrap_or(failure.reason);
        let what = match &next {
            None => format!("nothing from here to the end of the keyspace can be read; {why}"),
            Some(next) => {
                let next = next.escape_ascii();
                format!("nothing from here to the key \"{next}\" can be read; {why}")
            }
        };
        let [after, before] = [last, next].map(|key| key.map(|key| key.to_vec()));
        report.add(Finding { owner, keyspace, key: after.clone(), gap: Some(Gap { after, before }), what });
        Ok(())
    }

    /// Names the damaged files of a keyspace.
    fn damaged_files(&self, owner: &str, keyspace: &str) -> Result<Option<String>, ReadError> {
        let folder =
            self.with_keyspace(owner, keyspace, None, |handle| Ok(Some(handle.path().to_owned())))?;
        Ok(folder.and_then(|folder| diagnosis::describe_keyspace(&folder)))
    }

    /// Verifies from one end up to the key `stop`. On failure returns it, and the last key that could be read.
    fn verify_from(
        &self,
        direction: Direction,
        stop: Option<&[u8]>,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Option<(Option<Slice>, EngineFailure)>, ReadError> {
        let mut last: Option<Slice> = None;
        loop {
            let current = report.keyspaces.last().expect("the keyspace was added before it is verified");
            let (owner, keyspace) = (current.owner.clone(), current.keyspace.clone());
            let (after, before) = match direction {
                Direction::Forward => (last.as_deref(), stop),
                Direction::Backward => (stop, last.as_deref()),
            };
            let CheckedChunk { chunk, wrong } =
                self.with_keyspace(&owner, &keyspace, CheckedChunk::default(), |handle| {
                    let chunk =
                        read_chunk::<Fjall>(self.engine(), handle, after, before, direction, usize::MAX);
                    let wrong = self.check(handle, &chunk);
                    Ok(CheckedChunk { chunk, wrong })
                })?;
            let current = report.keyspaces.last_mut().expect("the keyspace was added before it is verified");
            current.entries += chunk.entries.len() as u64;
            current.bytes += chunk.bytes();
            for (key, what) in wrong {
                let (owner, keyspace) = (owner.clone(), keyspace.clone());
                report.add(Finding { owner, keyspace, key: Some(key.to_vec()), gap: None, what });
            }
            progress(Progress {
                owner: &owner,
                keyspace: &keyspace,
                entries: report.entries(),
                bytes: report.bytes(),
            });
            last = chunk.entries.last().map(|(key, _)| key.clone()).or(last);
            if let Some(failure) = chunk.failure {
                return Ok(Some((last, failure)));
            }
            if !chunk.more {
                return Ok(None);
            }
        }
    }

    /// Looks up every key of a chunk, and checks its entries against the limits.
    fn check(&self, handle: &Keyspace, chunk: &Chunk) -> Vec<(Slice, String)> {
        let wrong = |(key, value): &(Slice, Slice)| {
            let what = if key.is_empty() || key.len() > limits::KEY_BYTES_MAX {
                format!("the key has {} bytes; it must have 1 to {}", key.len(), limits::KEY_BYTES_MAX)
            } else if value.len() > limits::VALUE_BYTES_MAX {
                format!("the value has {} bytes, over the limit of {}", value.len(), limits::VALUE_BYTES_MAX)
            } else {
                match EngineFailure::catch(|| self.engine().get(handle, key)) {
                    Ok(Some(found)) if found == *value => return None,
                    Ok(Some(_)) => "a lookup of the key finds another value than a scan".into(),
                    Ok(None) => "a lookup of the key does not find what a scan finds".into(),
                    Err(reason) => format!("the key cannot be looked up: {reason}"),
                }
            };
            Some((key.clone(), what))
        };
        chunk.entries.iter().filter_map(wrong).collect()
    }
}
