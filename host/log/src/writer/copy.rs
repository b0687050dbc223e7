//! Copying a quiet group's entries out of the oldest segment, so that its file can be used again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PoisonReason, Writer};
use crate::disk::FolderFile;
use crate::held::Held;
use crate::limits::copied_bytes_max;
use crate::ranges::Span;
use crate::record::{self, Op};

/// Entries that have another record now.
pub(super) struct Copied {
    pub(super) group: u64,
    pub(super) span: Span,
    pub(super) old: Held,
    pub(super) new: Held,
}

/// What to do about the oldest segment.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Copy what is in it.
    Copy,
    /// These groups have too much in it.
    HeldBy(Vec<u64>),
}

/// What each group has in the oldest segment, in bytes, and how much of a group and of all groups may be copied.
fn plan(bytes: &BTreeMap<u64, u64>, of_group_max: u64, of_all_max: u64) -> Plan {
    let large: Vec<u64> =
        bytes.iter().filter(|(_, bytes)| **bytes > of_group_max).map(|(group, _)| *group).collect();
    if !large.is_empty() {
        return Plan::HeldBy(large);
    }
    let mut all: u64 = bytes.values().sum();
    let mut by_size: Vec<(u64, u64)> = bytes.iter().map(|(group, bytes)| (*bytes, *group)).collect();
    by_size.sort_unstable();
    let mut held_by = Vec::new();
    while all > of_all_max
        && let Some((bytes, group)) = by_size.pop()
    {
        all -= bytes;
        held_by.push(group);
    }
    if held_by.is_empty() { Plan::Copy } else { Plan::HeldBy(held_by) }
}

/// A part of a record in the oldest segment.
struct Part {
    group: u64,
    span: Span,
    held: Held,
}

/// What is needed of the oldest segment.
struct Survey {
    file: Option<Arc<dyn FolderFile>>,
    parts: Vec<Part>,
    /// By group; `u64::MAX` for entries that are not there.
    bytes: BTreeMap<u64, u64>,
}

impl Writer {
    /// Whether there are so many segments that the oldest one should be used again.
    fn is_long(&self) -> bool {
        self.shared.lock().segments.len() as u64 > self.options().segments_before_copying()
    }

    fn survey(&self, segment: u64) -> Survey {
        let inner = self.shared.lock();
        let (mut parts, mut bytes) = (Vec::new(), BTreeMap::new());
        for (group, written) in &self.groups {
            for (span, _) in written.entries.iter().filter(|(_, of)| **of == segment) {
                let Some(view) = inner.views.get(*group) else { continue };
                // What was accepted since may have changed some of them; then the rest is as good as gone.
                for (span, held) in view.group.entries.within(span) {
                    let of_group: &mut u64 = bytes.entry(*group).or_default();
                    match held.place() {
                        Some(place) if place.segment == segment => {
                            *of_group = of_group.saturating_add(held.len() as u64);
                            parts.push(Part { group: *group, span, held: held.clone() });
                        }
                        Some(_) => {}
                        None if held.is_missing() => *of_group = u64::MAX,
                        None => {}
                    }
                }
            }
        }
        Survey { file: inner.segments.get(&segment).cloned(), parts, bytes }
    }

    fn plan(&self, survey: &Survey) -> Plan {
        let options = self.options();
        plan(&survey.bytes, options.copied_bytes, copied_bytes_max(options.segment_bytes))
    }

    /// Tells who holds the log back.
    pub(super) fn report_held_back(&mut self) {
        let oldest = self.oldest_needed();
        let groups = match self.is_long() && oldest < self.active.id {
            true => match self.plan(&self.survey(oldest)) {
                Plan::HeldBy(groups) => groups,
                Plan::Copy => Vec::new(),
            },
            false => Vec::new(),
        };
        self.set_held_back(groups);
    }

    fn set_held_back(&self, groups: Vec<u64>) {
        let before = std::mem::replace(&mut self.shared.lock().holding_back, groups.clone());
        if let Some(listener) =
            self.options().held_back.as_ref().filter(|_| !groups.is_empty() && before != groups)
            && let Err(panic) = crate::panic::catch_panic(|| listener(&groups))
        {
            tracing::error!(panic, "the listener of a log that is held back panicked");
        }
    }

    /// Copies what is needed of the oldest segment into the one that was just begun, if the log is long and that is little.
    pub(super) fn copy_forward(&mut self) -> Result<(), PoisonReason> {
        let oldest = self.oldest_needed();
        if !self.is_long() || oldest >= self.active.id {
            return Ok(());
        }
        let survey = self.survey(oldest);
        match self.plan(&survey) {
            Plan::HeldBy(groups) => self.set_held_back(groups),
            Plan::Copy => {
                let Some(file) = survey.file else { return Ok(()) };
                for part in survey.parts {
                    if !self.copy(&*file, &part)? {
                        self.set_held_back(vec![part.group]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Copies one part. What cannot be read stays where it is; its group finds out when it reads it.
    fn copy(&mut self, file: &dyn FolderFile, part: &Part) -> Result<bool, PoisonReason> {
        let Part { group, span, held } = part;
        let place = held.place().expect("a part was written");
        let payload = held.load(place, file).ok().flatten();
        let Some(entries) = payload.and_then(|payload| record::entries(&payload, *span)) else {
            tracing::error!(
                group,
                segment = place.segment,
                at = place.offset,
                "entries to be copied are damaged"
            );
            return Ok(false);
        };
        let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
        let payload = record::encode_entries(span.first, &entries);
        let op = Op::Copied(*span);
        let new = Held::pending(payload.len() + record::OVERHEAD_BYTES, payload.clone().into());
        self.append(*group, &op, &payload, Some(new.clone()))?;
        self.copied.push(Copied { group: *group, span: *span, old: held.clone(), new });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, plan};

    #[test]
    fn little_is_copied_and_much_is_reported() {
        let table = [
            (vec![], Plan::Copy),
            (vec![(1, 10), (2, 5)], Plan::Copy),
            (vec![(1, 11), (2, 5)], Plan::HeldBy(vec![1])),
            (vec![(1, 11), (2, u64::MAX)], Plan::HeldBy(vec![1, 2])),
            (vec![(1, 10), (2, 9), (3, 10)], Plan::HeldBy(vec![3])),
            (vec![(1, 10), (2, 9), (3, 10), (4, 8)], Plan::HeldBy(vec![3, 1])),
        ];
        for (bytes, expected) in table {
            assert_eq!(plan(&bytes.clone().into_iter().collect(), 10, 20), expected, "{bytes:?}");
        }
    }
}
