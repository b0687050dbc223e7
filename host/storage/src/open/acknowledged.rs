//! Comparing what is found with what was acknowledged, according to the durable mark.

use std::io;
use std::path::Path;

use super::error::OpenError;
use crate::engine_files::journal::{self, Journal};
use crate::engine_files::recovery::{self, MissingData};
use crate::format;
use crate::head::LogHead;
use crate::mark::{self, AppliedMark, FoundMark, Mark, MarkFile};
use crate::options::Options;

/// Checks that a database may be created where there is none, which is not so if the mark says that there was one.
pub(super) fn check_creatable(dir: &Path, found: FoundMark) -> Result<(), OpenError> {
    let gone = format!("{} is missing", dir.join(format::DATABASE_FOLDER).display());
    match found {
        // A creation was interrupted: the mark is made first.
        FoundMark::Whole(Mark { head: LogHead { sequence: 0, .. }, .. }) | FoundMark::Missing => Ok(()),
        FoundMark::Whole(mark) => Err(missing(dir, mark, gone)),
        FoundMark::Damaged => {
            Err(OpenError::damaged(dir, format!("{gone}, and the durable mark cannot be read")))
        }
    }
}

/// Reads the journals from the disk.
pub(super) fn read_journals(dir: &Path, data: &Path, found: FoundMark) -> Result<Vec<Journal>, OpenError> {
    let flushed_through = match found {
        FoundMark::Whole(mark) => mark.flushed_through,
        FoundMark::Missing | FoundMark::Damaged => 0,
    };
    let journals = journal::list(data).map_err(OpenError::io("listing the journals of", dir))?;
    recovery::evict(&journals).map_err(OpenError::io("preparing the journals of", dir))?;
    journal::read(&journals, flushed_through).map_err(OpenError::io("reading the journals of", dir))
}

/// Checks that the journals hold what was acknowledged, and cuts off what the engine must not replay. Returns the mark to
/// compare the store with. Without a mark that may be used or rebuilt it is `None`, and nothing was changed.
pub(super) fn recover(
    dir: &Path,
    journals: &[Journal],
    found: FoundMark,
    options: &Options,
) -> Result<Option<Mark>, OpenError> {
    let mark = match found {
        FoundMark::Whole(mark) => Some(mark),
        FoundMark::Missing | FoundMark::Damaged => None,
    };
    let repairs = recovery::decide(mark.as_ref(), journals)
        .map_err(|MissingData(what)| missing(dir, mark.unwrap_or_default(), what))?;
    if mark.is_none() && !options.rebuild_mark {
        // The store of another version may have no mark. The engine may be asked if that changes nothing.
        return if repairs.is_empty() { Ok(None) } else { Err(mark_missing(dir, found)) };
    }
    for repair in repairs {
        repair.perform().map_err(OpenError::io("cutting off the journal's unacknowledged end in", dir))?;
    }
    Ok(Some(mark.unwrap_or_default()))
}

/// Compares the engine's head with what was acknowledged, and with what the journals held.
pub(super) fn check_head(
    dir: &Path,
    head: LogHead,
    mark: Mark,
    journals: &[Journal],
    options: &Options,
) -> Result<(), OpenError> {
    let acknowledged = mark.head;
    if head.sequence < acknowledged.sequence {
        let names: Vec<_> = journals.iter().map(|journal| journal.path.display().to_string()).collect();
        let end = journals.last().map_or(0, |journal| journal.valid_end);
        let found = format!(
            "the last batch is {} ({}; the newest ends at byte {end})",
            head.sequence,
            names.join(", ")
        );
        return Err(missing(dir, mark, found));
    }
    let rebuilt = mark.turn == 0 && options.rebuild_mark;
    if head.sequence == acknowledged.sequence && !head.agrees_with(acknowledged) && !rebuilt {
        return Err(OpenError::damaged(
            dir,
            format!("its head is {head}, and {acknowledged} was acknowledged ({})", format::MARK_FILE),
        ));
    }
    let replayed = journals.iter().rev().find_map(|journal| journal.last).map(|last| last.head);
    match replayed.filter(|replayed| replayed.sequence > head.sequence) {
        None => Ok(()),
        Some(replayed) => Err(OpenError::damaged(
            dir,
            format!(
                "the journals hold batch {}, and the engine came to batch {}",
                replayed.sequence, head.sequence
            ),
        )),
    }
}

/// Compares how far a replica has applied the log with how far that was made durable: the log may have nothing before it.
pub(super) fn check_applied(dir: &Path, applied: Option<AppliedMark>, mark: Mark) -> Result<(), OpenError> {
    match (applied, mark.applied) {
        (Some(applied), Some(durable)) if applied < durable => {
            let AppliedMark { index, batches } = applied;
            let found = format!(
                "entry {index} of the log and {batches} batches of the next are the last applied ones, and {} and {} \
                 were made durable",
                durable.index, durable.batches
            );
            Err(missing(dir, mark, found))
        }
        _ => Ok(()),
    }
}

/// Brings the mark up to what was found, durably, before any of it is served.
pub(super) fn advance_mark(dir: &Path, found: FoundMark, mark: Mark) -> io::Result<MarkFile> {
    if !matches!(found, FoundMark::Whole(_)) {
        mark::create(dir, Mark { turn: 0, ..mark })?;
    }
    let mut file = MarkFile::open(dir, mark)?;
    file.advance(mark.head, mark.journal)?;
    file.sync()?;
    Ok(file)
}

fn missing(dir: &Path, mark: Mark, found: String) -> OpenError {
    OpenError::AcknowledgedMissing { path: dir.to_owned(), acknowledged: mark.head, found }
}

/// The error for a store whose mark is missing or damaged.
pub(super) fn mark_missing(dir: &Path, found: FoundMark) -> OpenError {
    let how = if found == FoundMark::Missing { "missing" } else { "damaged in both slots" };
    let path = dir.join(format::MARK_FILE);
    OpenError::damaged(
        dir,
        format!("{} is {how}, so that nobody knows whether everything acknowledged is there", path.display()),
    )
}
