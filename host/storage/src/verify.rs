//! Verifying: reading everything, and saying what cannot be read.
//!
//! Each block of a table has a checksum, which is checked when the block is read from the disk. So a store whose every
//! entry was read has no damaged block that anybody could meet; blocks that were in the cache were checked when they
//! came there. Every key is also looked up on its own, as a point read goes through filters that a scan does not.

use fjall::{Keyspace, Readable, Slice};

use crate::dump::Progress;
use crate::engine_failure::EngineFailure;
use crate::engine_files::diagnosis;
use crate::head::Head;
use crate::limits;
use crate::read::chunks::{Stretch, stretch};
use crate::read::snapshot::{Direction, ReadError, Snapshot, contained};

/// Findings that a report lists; the others are counted. 1,000: more than anybody reads, and some megabytes at most.
pub const FINDINGS_MAX: usize = 1000;

/// What reading everything has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How far the store had come.
    pub head: Head,
    /// Every keyspace, ascending by owner and name.
    pub keyspaces: Vec<KeyspaceReport>,
    /// What is wrong, in the order in which it was found; the first [`FINDINGS_MAX`].
    pub findings: Vec<Finding>,
    /// How many things are wrong.
    pub findings_total: u64,
}

/// What was read of one keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceReport {
    /// Whose keyspace it is.
    pub owner: String,
    /// Its name.
    pub keyspace: String,
    /// Entries that could be read.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose keyspace.
    pub owner: String,
    /// Which keyspace.
    pub keyspace: String,
    /// The key that it is about, or the last that could be read before it; `None` when it begins before the first.
    pub key: Option<Vec<u8>>,
    /// Where nothing can be read from there on.
    pub gap: Option<Gap>,
    /// What is wrong.
    pub what: String,
}

/// Keys between which nothing can be read, or not all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last key before it that can be read; `None` when it begins with the keyspace.
    pub after: Option<Vec<u8>>,
    /// The first key after it that can be read; `None` when it ends with the keyspace.
    pub before: Option<Vec<u8>>,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings_total == 0
    }

    /// Entries that could be read, of all keyspaces.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.keyspaces.iter().map(|keyspace| keyspace.entries).sum()
    }

    /// Bytes of their keys and values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.keyspaces.iter().map(|keyspace| keyspace.bytes).sum()
    }

    fn find(&mut self, finding: Finding) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// A stretch, and what is wrong with its entries.
#[derive(Default)]
struct Checked {
    stretch: Stretch,
    wrong: Vec<(Slice, String)>,
}

impl Snapshot {
    /// Reads every entry of every keyspace, on the caller's thread, while the store goes on.
    ///
    /// Where a keyspace cannot be read any further, reading goes on from its other end: what lies between the two
    /// places is one finding, however much is wrong in it. The other keyspaces are read in any case. `progress` is
    /// called behind each piece of about 1 MiB.
    ///
    /// # Errors
    ///
    /// [`ReadError::Closed`], when the store was closed meanwhile. What is wrong with the data is in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Report, ReadError> {
        let mut report =
            Report { head: self.head(), keyspaces: Vec::new(), findings: Vec::new(), findings_total: 0 };
        for (owner, keyspace) in self.keyspaces()? {
            report.keyspaces.push(KeyspaceReport { owner, keyspace, entries: 0, bytes: 0 });
            self.verify_last(&mut report, progress)?;
        }
        Ok(report)
    }

    /// Verifies the keyspace that is the last of the report.
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
        let why = self.file_at_fault(&owner, &keyspace)?.unwrap_or(failure.reason);
        let what = match &next {
            None => format!("nothing from here to the end of the keyspace can be read; {why}"),
            Some(next) => {
                let next = next.escape_ascii();
                format!("nothing from here to the key \"{next}\" can be read; {why}")
            }
        };
        let [after, before] = [last, next].map(|key| key.map(|key| key.to_vec()));
        report.find(Finding { owner, keyspace, key: after.clone(), gap: Some(Gap { after, before }), what });
        Ok(())
    }

    /// Which files of a keyspace that cannot be read are damaged.
    fn file_at_fault(&self, owner: &str, keyspace: &str) -> Result<Option<String>, ReadError> {
        let folder =
            self.with_keyspace(owner, keyspace, None, |handle| Ok(Some(handle.path().to_owned())))?;
        Ok(folder.and_then(|folder| diagnosis::found_in(&folder)))
    }

    /// Verifies from one end, up to the key `stop`. The last key that could be read and the failure, if there was one.
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
            let Checked { stretch, wrong } =
                self.with_keyspace(&owner, &keyspace, Checked::default(), |handle| {
                    let stretch = stretch(self.engine(), handle, after, before, direction);
                    let wrong = self.check(handle, &stretch);
                    Ok(Checked { stretch, wrong })
                })?;
            let current = report.keyspaces.last_mut().expect("the keyspace was added before it is verified");
            current.entries += stretch.entries.len() as u64;
            current.bytes +=
                stretch.entries.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            for (key, what) in wrong {
                let (owner, keyspace) = (owner.clone(), keyspace.clone());
                report.find(Finding { owner, keyspace, key: Some(key.to_vec()), gap: None, what });
            }
            progress(Progress {
                owner: &owner,
                keyspace: &keyspace,
                entries: report.entries(),
                bytes: report.bytes(),
            });
            last = stretch.entries.last().map(|(key, _)| key.clone()).or(last);
            if let Some(failure) = stretch.failure {
                return Ok(Some((last, failure)));
            }
            if !stretch.more {
                return Ok(None);
            }
        }
    }

    /// Looks up every key of a stretch, and checks its entries against the limits.
    fn check(&self, handle: &Keyspace, stretch: &Stretch) -> Vec<(Slice, String)> {
        let wrong = |(key, value): &(Slice, Slice)| {
            let what = if key.is_empty() || key.len() > limits::KEY_BYTES_MAX {
                format!("the key has {} bytes; it must have 1 to {}", key.len(), limits::KEY_BYTES_MAX)
            } else if value.len() > limits::VALUE_BYTES_MAX {
                format!("the value has {} bytes, over the limit of {}", value.len(), limits::VALUE_BYTES_MAX)
            } else {
                match contained(|| self.engine().get(handle, key)) {
                    Ok(Some(found)) if found == *value => return None,
                    Ok(Some(_)) => "a lookup of the key finds another value than a scan".into(),
                    Ok(None) => "a lookup of the key does not find what a scan finds".into(),
                    Err(reason) => format!("the key cannot be looked up: {reason}"),
                }
            };
            Some((key.clone(), what))
        };
        stretch.entries.iter().filter_map(wrong).collect()
    }
}
