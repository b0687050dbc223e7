//! Walks the index of labels: each entry must begin and end with events that have the label.

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::types::{Direction, Error, Position, Range};
use exesdb_sdk::view::{self, Entry, View};

use super::super::labelled::may_have;
use super::super::log::At;
use super::orphans::continue_after;
use super::{STEP_BYTES, STEP_ENTRIES, Step};
use crate::check::EVENTS_MAX;
use crate::events::{Logged, logged};
use crate::layout::{LABELS, LabelDigest, label_in, label_key, number};

/// The label of an entry, and the positions of its first and last event; none if the entry is malformed.
pub(super) fn span(entry: Entry<'_>) -> Option<(LabelDigest, Position, Position)> {
    let (digest, last) = label_in(entry.key)?;
    let first = number(entry.value).filter(|first| *first <= last && last - first < EVENTS_MAX as u64)?;
    Some((digest, first, last))
}

/// Runs one step of `labels`.
pub(super) fn walk<V: View>(step: &mut Step<'_, V>, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(LABELS, start, STEP_ENTRIES)?;
    let spans: Vec<_> = page.entries().map(span).collect();
    let positions: Vec<Position> = spans
        .iter()
        .flatten()
        .flat_map(|(_, first, last)| [*last].into_iter().chain((first != last).then_some(*first)))
        .collect();
    let records = step.records(&positions)?;
    let mut events = records.iter();
    for (seen, (entry, span)) in page.entries().zip(spans).enumerate() {
        let Some((digest, first, last)) = span else {
            step.examined += 1;
            match label_in(entry.key) {
                None => step.orphan(
                    LABELS,
                    entry,
                    "it is no label with a position; filtered reads may fail at it",
                ),
                Some((digest, last)) => {
                    rewrite(
                        step,
                        entry,
                        digest,
                        last,
                        "it does not say where its first event is; filtered reads fail at it",
                    )?;
                }
            }
            continue;
        };
        let Some(at_last) = events.next() else { return Ok(continue_after(&page, seen)) };
        let at_first = if first == last { None } else { events.next() };
        if first != last && at_first.is_none() {
            return Ok(continue_after(&page, seen));
        }
        step.examined += 1;
        let is_lost = |at: &At<'_>| matches!(at, At::Nothing);
        if is_lost(&at_last) || at_first.as_ref().is_some_and(is_lost) {
            step.entry(LABELS, entry.key, "it leads to an event that is missing or cannot be read", None);
        } else if !has(&at_last, digest) {
            rewrite(step, entry, digest, last, "its last event was removed, or does not have the label")?;
        } else if at_first.is_some_and(|at| !has(&at, digest) && !matches!(at, At::Removed)) {
            rewrite(
                step,
                entry,
                digest,
                last,
                "its first event does not have the label; filtered reads are slower for it",
            )?;
        }
    }
    Ok(continue_after(&page, page.len()))
}

fn has(at: &At<'_>, digest: LabelDigest) -> bool {
    matches!(at, At::Event(event) if may_have(&event.envelope, digest))
}

/// Corrects an entry to cover just the events up to its position that have the label and that no earlier entry covers.
fn rewrite<V: View>(
    step: &mut Step<'_, V>,
    entry: Entry<'_>,
    digest: LabelDigest,
    last: Position,
    problem: &str,
) -> Result<(), Error> {
    if !step.findings.is_repairing() {
        step.entry(LABELS, entry.key, problem, None);
        return Ok(());
    }
    let mut batch = BatchBuilder::new();
    batch.require(LABELS, entry.key, Some(entry.value));
    let Some(covered) = covered(step, digest, last)? else {
        // An unreadable event may have the label.
        step.entry(LABELS, entry.key, problem, None);
        return Ok(());
    };
    let right = covered.first().map(|last| label_key(digest, *last));
    if right.as_deref() != Some(entry.key) {
        batch.delete(LABELS, entry.key);
    }
    if let (Some(key), Some(first)) = (right, covered.last()) {
        batch.put(LABELS, &key, &first.to_be_bytes());
    }
    step.entry(LABELS, entry.key, problem, Some(batch));
    Ok(())
}

/// The positions of the label's events after the preceding entry and up to `last`, within one append, last first; none if
/// one of them cannot be read.
fn covered<V: View>(
    step: &Step<'_, V>,
    digest: LabelDigest,
    last: Position,
) -> Result<Option<Vec<Position>>, Error> {
    let before = Range {
        keyspace: LABELS.to_owned(),
        start: label_key(digest, 0),
        end: Some(label_key(digest, last)),
    };
    let before = step.view.scan(&before, Direction::Backward, 1, STEP_BYTES)?;
    let before = before
        .first()
        .and_then(|entry| label_in(entry.key))
        .map_or(0, |(_, before)| before.saturating_add(1));
    let low = before.max(last.saturating_sub(EVENTS_MAX as u64 - 1));
    let mut covered = Vec::new();
    let mut next = step.view.end().next_position.checked_sub(1).map(|end| last.min(end));
    while let Some(from) = next.filter(|from| *from >= low) {
        let page = match step.view.log_read(Some(from), Direction::Backward, STEP_ENTRIES, STEP_BYTES) {
            Err(view::Error::Damaged(_)) => return Ok(None),
            page => page?,
        };
        for record in logged(&page.frames) {
            if let (position, Logged::Event(event)) = record?
                && position >= low
                && may_have(&event.envelope, digest)
            {
                covered.push(position);
            }
        }
        next = page.next;
    }
    Ok(Some(covered))
}
