//! Recovery: what to do about the journals, given what was acknowledged.
//!
//! [`decide`] is the rule: open, cut off an unacknowledged tail, or refuse. [`Repair::perform`] changes the files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::Advice;

use super::journal::{self, Journal};
use crate::files::sync_folder;
use crate::mark::Mark;

/// Bytes copied at once.
const COPY_BYTES: usize = 1024 * 1024;

/// Follows the journal's name in the name of a file with what was cut off; the offset in the journal follows.
const CUT_OFF: &str = ".cut-";

/// Whether a file holds what was cut off a journal.
pub(crate) fn is_cut_off(path: &Path) -> bool {
    path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().contains(CUT_OFF))
}

/// A change to a journal before the engine reads it. The bytes are kept in another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// Truncates the file at `at`; the bytes up to `end` go to `<journal>.cut-<at>`.
    Cut { path: PathBuf, at: u64, end: u64, what: String },
    /// Renames the whole file, which is not needed, to `<journal>.cut-0`.
    SetAside { path: PathBuf, what: String },
}

/// Which acknowledged data the journals lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingData(pub(crate) String);

/// What to do about the journals. Without a mark nothing is known to be acknowledged: a bad tail of the newest journal is
/// cut off, and any other damage is a reason to refuse.
pub(crate) fn decide(mark: Option<&Mark>, journals: &[Journal]) -> Result<Vec<Repair>, MissingData> {
    let Some((newest, sealed)) = journals.split_last() else {
        return Err(MissingData("there is no journal".into()));
    };
    let (acknowledged, flushed) = mark.map_or((0, 0), |mark| (mark.head.sequence, mark.flushed_through));
    let all_in_tables = mark.is_some() && flushed >= acknowledged;
    let found = journals.iter().filter_map(|journal| journal.last).map(|last| last.head.sequence).max();
    let mut repairs = Vec::new();
    for journal in sealed {
        let what = match &journal.bad_tail {
            Some(tail) => tail.what.clone(),
            // A journal is sealed when it is full, and then whole.
            None if journal.records == 0 => "it holds no record".into(),
            None => continue,
        };
        if !all_in_tables {
            return Err(broken(journal, &what, "others follow it"));
        }
        repairs.push(Repair::SetAside { path: journal.path.clone(), what });
    }
    if let Some(tail) = &newest.bad_tail {
        if !all_in_tables && found.is_none_or(|found| found < acknowledged) {
            return Err(broken(newest, &tail.what, "acknowledged batches follow it"));
        }
        repairs.push(Repair::Cut {
            path: newest.path.clone(),
            at: newest.valid_end,
            end: tail.end,
            what: tail.what.clone(),
        });
    }
    if all_in_tables {
        return Ok(repairs);
    }
    match (found, mark) {
        (Some(found), _) if found < acknowledged => Err(ends(newest, &format!("with batch {found}"))),
        // The acknowledged batch was in this journal or an earlier one. If this were a later journal, the earlier ones
        // could be gone because all their batches are in tables.
        (None, Some(mark)) if newest.id <= mark.journal => Err(ends(newest, "before the first batch")),
        _ => Ok(repairs),
    }
}

fn broken(journal: &Journal, what: &str, follows: &str) -> MissingData {
    let whole = match journal.last {
        Some(last) => format!("batch {} is the last whole one before", last.head.sequence),
        None => "no whole batch stands before".into(),
    };
    MissingData(format!(
        "in {} the record at byte {} is damaged ({what}): {whole}, and {follows}",
        journal.path.display(),
        journal.valid_end
    ))
}

fn ends(journal: &Journal, how: &str) -> MissingData {
    MissingData(format!(
        "the newest journal {} ends at byte {} {how}",
        journal.path.display(),
        journal.valid_end
    ))
}

impl Repair {
    /// Changes the files durably; a copy is made first.
    pub(crate) fn perform(&self) -> io::Result<()> {
        let (path, at, what) = match self {
            Self::Cut { path, at, what, .. } => (path, *at, what),
            Self::SetAside { path, what } => (path, 0, what),
        };
        let copy = PathBuf::from(format!("{}{CUT_OFF}{at}", path.display()));
        match self {
            Self::Cut { end, .. } => cut(path, &copy, at, *end)?,
            Self::SetAside { .. } => std::fs::rename(path, &copy)?,
        }
        let folder = path.parent().expect("a journal lies in the database's folder");
        sync_folder(folder)?;
        tracing::warn!(
            journal = %path.display(),
            at,
            kept = %copy.display(),
            "the record at this offset of the journal is not whole ({what}) and was never acknowledged; \
             the journal was cut off there"
        );
        Ok(())
    }
}

fn cut(path: &Path, copy: &Path, at: u64, end: u64) -> io::Result<()> {
    let journal = OpenOptions::new().read(true).write(true).open(path)?;
    let copy = File::create(copy)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut from = at;
    while from < end {
        let part = buffer.len().min(usize::try_from(end - from).unwrap_or(usize::MAX));
        journal.read_exact_at(&mut buffer[..part], from)?;
        copy.write_all_at(&buffer[..part], from - at)?;
        from += part as u64;
    }
    copy.sync_all()?;
    let folder = path.parent().expect("a journal lies in the database's folder");
    sync_folder(folder)?;
    journal.set_len(at)?;
    journal.sync_all()
}

/// Evicts the journals from the page cache, so that they are read from the disk. After a failed fsync the cache may hold,
/// as clean, pages that never reached the disk: data read from them would be served, and be lost in the next power
/// failure. Dirty pages are written first; those that cannot be written stay in the cache.
pub(crate) fn evict(journals: &[(u64, PathBuf)]) -> io::Result<()> {
    for (_, path) in journals {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if let Err(error) = file.sync_data() {
            tracing::warn!(journal = %path.display(), %error, "the journal could not be synced before it is read");
        }
        // This is advice: a file system that does not support it serves what it has cached.
        if let Err(error) = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed) {
            tracing::debug!(journal = %path.display(), %error, "the page cache could not be advised");
        }
    }
    Ok(())
}

/// Empties the newest journal of a closed database whose batches are all in tables, so that the next open has nothing to
/// read. The file stays: without any journal the engine would start its sequence numbers anew.
pub(crate) fn empty_newest(data: &Path) -> io::Result<()> {
    let Some((_, path)) = journal::list(data)?.pop() else { return Ok(()) };
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::journal::{BadTail, Journal};
    use super::{MissingData, Repair, decide};
    use crate::head::{LogHead, RecordedHead};
    use crate::mark::Mark;

    fn mark(sequence: u64, flushed_through: u64, journal: u64) -> Mark {
        let head = LogHead { sequence, ..LogHead::default() };
        Mark { turn: 1, head, flushed_through, journal, applied: None }
    }

    fn journal(id: u64, last: Option<u64>, has_bad_tail: bool) -> Journal {
        Journal {
            path: format!("{id}.jnl").into(),
            id,
            records: last.map_or(0, |_| 5),
            last: last.map(|sequence| RecordedHead {
                head: LogHead { sequence, ..LogHead::default() },
                engine_floor: 0,
            }),
            valid_end: 100,
            bad_tail: has_bad_tail.then(|| BadTail { what: "it is bent".into(), end: 200 }),
            keyspaces: [].into(),
        }
    }

    fn cut(id: u64) -> Repair {
        Repair::Cut { path: format!("{id}.jnl").into(), at: 100, end: 200, what: "it is bent".into() }
    }

    fn aside(id: u64, what: &str) -> Repair {
        Repair::SetAside { path: format!("{id}.jnl").into(), what: what.into() }
    }

    #[test]
    fn journals_are_opened_cut_off_or_refused_by_the_mark() {
        let at_7 = Some(mark(7, 0, 0));
        let flushed = Some(mark(7, 7, 0));
        let open = |repairs: Vec<Repair>| Ok(repairs);
        type Expected = Result<Vec<Repair>, &'static str>;
        let cases: Vec<(&str, Option<Mark>, Vec<Journal>, Expected)> = vec![
            ("as far as the mark", at_7, vec![journal(0, Some(7), false)], open(vec![])),
            ("ahead of the mark", at_7, vec![journal(0, Some(9), false)], open(vec![])),
            (
                "one batch short",
                at_7,
                vec![journal(0, Some(6), false)],
                Err("0.jnl ends at byte 100 with batch 6"),
            ),
            (
                "emptied",
                at_7,
                vec![journal(0, None, false)],
                Err("0.jnl ends at byte 100 before the first batch"),
            ),
            ("emptied, everything in tables", flushed, vec![journal(0, None, false)], open(vec![])),
            ("gone", at_7, vec![], Err("there is no journal")),
            ("gone, everything in tables", flushed, vec![], Err("there is no journal")),
            ("a torn tail", at_7, vec![journal(0, Some(7), true)], open(vec![cut(0)])),
            ("a torn tail ahead", at_7, vec![journal(0, Some(8), true)], open(vec![cut(0)])),
            (
                "damage",
                at_7,
                vec![journal(0, Some(6), true)],
                Err("0.jnl the record at byte 100 is damaged (it is bent): batch 6"),
            ),
            ("damage at the start", at_7, vec![journal(0, None, true)], Err("no whole batch stands before")),
            ("damage, everything in tables", flushed, vec![journal(0, Some(3), true)], open(vec![cut(0)])),
            ("just rotated", at_7, vec![journal(0, Some(7), false), journal(1, None, false)], open(vec![])),
            ("just rotated, and the sealed one removed", at_7, vec![journal(1, None, false)], open(vec![])),
            (
                "the sealed one is short",
                at_7,
                vec![journal(0, Some(6), false), journal(1, None, false)],
                Err("the newest journal 1.jnl ends"),
            ),
            (
                "a sealed one is damaged, though the newest is whole",
                at_7,
                vec![journal(0, Some(3), true), journal(1, Some(9), false)],
                Err("0.jnl the record at byte 100 is damaged"),
            ),
            (
                "a sealed one was emptied",
                at_7,
                vec![journal(0, None, false), journal(1, Some(9), false)],
                Err("it holds no record"),
            ),
            (
                "sealed ones are damaged, everything in tables",
                flushed,
                vec![journal(0, Some(3), true), journal(1, None, false), journal(2, Some(7), true)],
                open(vec![aside(0, "it is bent"), aside(1, "it holds no record"), cut(2)]),
            ),
            ("no mark, whole", None, vec![journal(0, Some(7), false)], open(vec![])),
            ("no mark, a tail", None, vec![journal(0, Some(7), true)], open(vec![cut(0)])),
            (
                "no mark, a sealed one damaged",
                None,
                vec![journal(0, Some(3), true), journal(1, Some(9), false)],
                Err("others follow it"),
            ),
        ];
        for (case, mark, journals, expected) in cases {
            match (decide(mark.as_ref(), &journals), expected) {
                (Ok(repairs), Ok(expected)) => assert_eq!(repairs, expected, "{case}"),
                (Err(MissingData(found)), Err(expected)) => {
                    assert!(found.contains(expected), "{case}: {found}")
                }
                (found, expected) => panic!("{case}: {found:?} instead of {expected:?}"),
            }
        }
    }
}
