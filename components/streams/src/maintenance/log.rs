//! Reads records of the log that may be damaged.

use std::ops::Range;

use exesdb_sdk::packed::Envelope;
use exesdb_sdk::types::{Error, Position};
use exesdb_sdk::view::{self, LOOKUPS_MAX, View};

use crate::events::{Event, Logged, logged};

/// The frames at the first of these positions, as many as one read returns; up to the first that cannot be read, or that is
/// not in the log.
pub(super) fn read_records(
    view: &impl View,
    positions: &[Position],
    max_bytes: u32,
) -> Result<Vec<u8>, Error> {
    let end = view.end().next_position;
    let there = positions.iter().take(LOOKUPS_MAX).take_while(|position| **position < end).count();
    let positions = &positions[..there];
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    match view.log_get(positions, max_bytes) {
        Err(view::Error::Damaged(_)) => {}
        found => return Ok(found?),
    }
    let mut frames = Vec::new();
    for position in positions {
        match view.log_get(&[*position], max_bytes) {
            Err(view::Error::Damaged(_)) => break,
            frame => frames.extend(frame?),
        }
        if frames.len() > max_bytes as usize {
            break;
        }
    }
    Ok(frames)
}

/// What stands at a position of the log.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    /// An event.
    Event(Event<'a>),
    /// A removed event.
    Removed,
    /// No event that can be read: a gap, a position after the end, or damage, which the host's own check reports.
    Nothing,
}

/// What stands at the first of some positions, as much as one read returns, but at least one.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The envelopes of the events, one after the other.
    envelopes: Vec<u8>,
    /// For each position what stands there.
    slots: Vec<Slot>,
}

#[derive(Debug)]
enum Slot {
    /// An event, with the place of its envelope.
    Event(Position, Range<usize>),
    Removed,
    Nothing,
}

impl Records {
    pub(super) fn read(view: &impl View, positions: &[Position], max_bytes: u32) -> Result<Self, Error> {
        let mut records = Self::default();
        while let Some(rest) = positions.get(records.slots.len()..).filter(|rest| !rest.is_empty()) {
            if records.envelopes.len() >= max_bytes as usize || records.slots.len() >= LOOKUPS_MAX {
                break;
            }
            let found = read_records(view, rest, max_bytes)?;
            if found.is_empty() {
                records.slots.push(Slot::Nothing);
            }
            for record in logged(&found) {
                let slot = match record? {
                    (position, Logged::Event(event)) => {
                        let begin = records.envelopes.len();
                        records.envelopes.extend_from_slice(event.bytes);
                        Slot::Event(position, begin..records.envelopes.len())
                    }
                    (_, Logged::Removed) => Slot::Removed,
                    (_, Logged::Gap(_)) => Slot::Nothing,
                };
                records.slots.push(slot);
            }
        }
        Ok(records)
    }

    /// What stands at each position that was read, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = At<'_>> {
        self.slots.iter().map(|slot| match slot {
            Slot::Event(position, place) => {
                let bytes = &self.envelopes[place.clone()];
                let envelope = Envelope::read(bytes).expect("it was read before");
                At::Event(Event { position: *position, bytes, envelope })
            }
            Slot::Removed => At::Removed,
            Slot::Nothing => At::Nothing,
        })
    }

    /// What stands at the first position.
    pub(super) fn first(&self) -> At<'_> {
        self.iter().next().unwrap_or(At::Nothing)
    }
}
