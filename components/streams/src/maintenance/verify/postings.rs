//! Walks the index of labels: each entry must begin and end with events that have the label.

use exesdb_sdk::keyspaces::{BatchBuilder, Direction, Entry, Keyspaces, Range};
use exesdb_sdk::types::{Error, Position};

use super::super::labelled::may_have;
use super::orphans::continue_after;
use super::{At, STEP_BYTES, STEP_ENTRIES, Step};
use crate::check::EVENTS_MAX;
use crate::layout::{EVENTS, Envelope, LABELS, LabelDigest, label_in, label_key, number};

/// The label of an entry, and the positions of its first and last event; none if the entry is malformed.
pub(super) fn span(entry: &Entry) -> Option<(LabelDigest, Position, Position)> {
    let (digest, last) = label_in(&entry.key)?;
    let first = number(&entry.value).filter(|first| *first <= last && last - first < EVENTS_MAX as u64)?;
    Some((digest, first, last))
}

/// Runs one step of `labels`.
pub(super) fn walk<S: Keyspaces>(step: &mut Step<'_, S>, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(LABELS, start, STEP_ENTRIES)?;
    let spans: Vec<_> = page.entries.iter().map(span).collect();
    let positions: Vec<Position> = spans
        .iter()
        .flatten()
        .flat_map(|(_, first, last)| [*last].into_iter().chain((first != last).then_some(*first)))
        .collect();
    let mut events = step.events(&positions)?.into_iter();
    for (seen, (entry, span)) in page.entries.iter().zip(spans).enumerate() {
        let Some((digest, first, last)) = span else {
            step.examined += 1;
            match label_in(&entry.key) {
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
        let is_lost = |at: &At| matches!(at, At::Missing | At::Malformed);
        if is_lost(&at_last) || at_first.as_ref().is_some_and(is_lost) {
            step.entry(LABELS, &entry.key, "it leads to an event that is missing or cannot be read", None);
        } else if !has(&at_last, digest) {
            rewrite(step, entry, digest, last, "its last event was removed, or does not have the label")?;
        } else if at_first
            .is_some_and(|at| !has(&at, digest) && !matches!(at, At::Envelope(Envelope::Removed { .. })))
        {
            rewrite(
                step,
                entry,
                digest,
                last,
                "its first event does not have the label; filtered reads are slower for it",
            )?;
        }
    }
    Ok(continue_after(&page, page.entries.len()))
}

fn has(at: &At, digest: LabelDigest) -> bool {
    matches!(at, At::Envelope(Envelope::Event { event, .. }) if may_have(event, digest))
}

/// Corrects an entry to cover just the events up to its position that have the label and that no earlier entry covers.
fn rewrite<S: Keyspaces>(
    step: &mut Step<'_, S>,
    entry: &Entry,
    digest: LabelDigest,
    last: Position,
    problem: &str,
) -> Result<(), Error> {
    if !step.repair {
        step.entry(LABELS, &entry.key, problem, None);
        return Ok(());
    }
    let mut batch = BatchBuilder::new();
    batch.require(LABELS, &entry.key, Some(&entry.value));
    batch.delete(LABELS, &entry.key);
    let Some(covered) = covered(step, digest, last)? else {
        // An unreadable event may have the label.
        step.entry(LABELS, &entry.key, problem, None);
        return Ok(());
    };
    if let (Some(first), Some(last)) = (covered.last(), covered.first()) {
        batch.put(LABELS, label_key(digest, *last), first.to_be_bytes());
    }
    step.entry(LABELS, &entry.key, problem, Some(batch));
    Ok(())
}

/// The positions of the label's events after the preceding entry and up to `last`, within one append, last first; none if
/// one of them cannot be read.
fn covered<S: Keyspaces>(
    step: &Step<'_, S>,
    digest: LabelDigest,
    last: Position,
) -> Result<Option<Vec<Position>>, Error> {
    let before = Range {
        keyspace: LABELS.to_owned(),
        start: label_key(digest, 0),
        end: Some(label_key(digest, last)),
    };
    let before = step.store.scan(&before, Direction::Backward, 1, STEP_BYTES)?;
    let before = before
        .entries
        .first()
        .and_then(|entry| label_in(&entry.key))
        .map_or(0, |(_, before)| before.saturating_add(1));
    let low = before.max(last.saturating_sub(EVENTS_MAX as u64 - 1));
    let mut covered = Vec::new();
    let mut high = last.checked_add(1);
    loop {
        let range = Range {
            keyspace: EVENTS.to_owned(),
            start: low.to_be_bytes().to_vec(),
            end: high.map(|high| high.to_be_bytes().to_vec()),
        };
        let page = step.store.scan(&range, Direction::Backward, STEP_ENTRIES, STEP_BYTES)?;
        for entry in &page.entries {
            let Some(position) = number(&entry.key) else { continue };
            let at = At::of(position, Some(&entry.value));
            if matches!(at, At::Malformed) {
                return Ok(None);
            }
            if has(&at, digest) {
                covered.push(position);
            }
            high = Some(position);
        }
        if !page.more || page.entries.is_empty() {
            return Ok(Some(covered));
        }
    }
}
