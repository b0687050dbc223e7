//! Writes batches: what a component wants to be changed, as data.
//!
//! ```
//! use exesdb_sdk::batch::BatchBuilder;
//! use exesdb_sdk::types::Batch;
//! use exesdb_sdk::view::{Error, View};
//!
//! fn count_up(view: &impl View, key: &[u8]) -> Result<Batch, Error> {
//!     let old = view.get("counters", key)?;
//!     let count = old.as_deref().and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
//!     let next = count.unwrap_or(0).saturating_add(1);
//!     let mut batch = BatchBuilder::new();
//!     batch.require("counters", key, old.as_deref()); // somebody else may count at the same time
//!     batch.put("counters", key, &next.to_be_bytes());
//!     Ok(batch.build())
//! }
//! ```

use std::collections::BTreeMap;

use exesdb_packed::{TooLong, push_envelope, push_gap, set_created, set_version};

use crate::types::{Batch, Changes, Expectation, Guard, Location, Position, Range, Version};

/// Bytes of the placeholder that a stamp fills.
pub const STAMP_BYTES: usize = size_of::<Position>();

/// Maximum bytes of keys, values, guards and frames of one batch.
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Maximum number of puts and deletes of one batch.
pub const BATCH_ENTRIES_MAX: usize = 40_000;

/// A placeholder of 8 bytes in a key or value that the host overwrites with a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The offset of the placeholder.
    pub at: u32,
    /// The position's distance from the first one of the batch.
    pub index: u32,
}

/// A key or a value with stamps.
#[derive(Clone, Copy, Debug)]
pub struct Stamped<'a> {
    /// The bytes, with placeholders.
    pub bytes: &'a [u8],
    /// The stamps, each of which lies within the bytes.
    pub stamps: &'a [Stamp],
}

impl<'a> From<&'a [u8]> for Stamped<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, stamps: &[] }
    }
}

/// Builds a batch.
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder {
    guards: Vec<Guard>,
    changes: BTreeMap<String, KeyspaceChanges>,
    log: Vec<u8>,
    removes: Vec<Position>,
    /// Positions that the batch takes.
    positions: u64,
    /// Puts and deletes.
    entries: usize,
    /// Bytes of guards and deleted keys.
    other_bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct KeyspaceChanges {
    puts: Vec<u8>,
    deletes: Vec<Vec<u8>>,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Guard: the key has exactly this value, or (none) no value.
    pub fn require(&mut self, keyspace: &str, key: &[u8], value: Option<&[u8]>) {
        self.other_bytes += keyspace.len() + key.len() + value.map_or(0, <[u8]>::len);
        self.guards.push(match value {
            None => Guard::Absent(Location { keyspace: keyspace.to_owned(), key: key.to_owned() }),
            Some(value) => Guard::Equals(Expectation {
                keyspace: keyspace.to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
            }),
        });
    }

    /// Guard: the range has no keys.
    pub fn require_empty(&mut self, range: Range) {
        self.other_bytes += range.keyspace.len() + range.start.len() + range.end.as_ref().map_or(0, Vec::len);
        self.guards.push(Guard::Empty(range));
    }

    /// Guard: the log ends at this position.
    pub fn require_end(&mut self, position: Position) {
        self.guards.push(Guard::LogEndsAt(position));
    }

    /// Writes a value, replacing an existing one. Of two writes to one key the later counts, and a delete comes after all puts of
    /// its keyspace (the rule B4).
    pub fn put(&mut self, keyspace: &str, key: &[u8], value: &[u8]) {
        self.put_stamped(keyspace, key.into(), value.into());
    }

    /// Writes a value with placeholders that the host fills with positions.
    ///
    /// # Panics
    ///
    /// If key or value have 4 GiB or more, or 65,536 stamps.
    pub fn put_stamped(&mut self, keyspace: &str, key: Stamped<'_>, value: Stamped<'_>) {
        let puts = &mut self.changes_of(keyspace).puts;
        for part in [&key, &value] {
            let length = u32::try_from(part.bytes.len()).expect("a component has less than 4 GiB");
            puts.extend_from_slice(&length.to_le_bytes());
        }
        for part in [&key, &value] {
            let stamps = u16::try_from(part.stamps.len()).expect("an entry has few stamps");
            puts.extend_from_slice(&stamps.to_le_bytes());
        }
        for Stamp { at, index } in key.stamps.iter().chain(value.stamps) {
            puts.extend_from_slice(&at.to_le_bytes());
            puts.extend_from_slice(&index.to_le_bytes());
        }
        puts.extend_from_slice(key.bytes);
        puts.extend_from_slice(value.bytes);
        self.entries += 1;
    }

    /// Removes a key.
    pub fn delete(&mut self, keyspace: &str, key: &[u8]) {
        self.changes_of(keyspace).deletes.push(key.to_owned());
        self.entries += 1;
        self.other_bytes += key.len();
    }

    /// Appends an event to the log: an envelope, into whose copy version and time are written. Returns its index, which
    /// stamps refer to.
    ///
    /// # Errors
    ///
    /// [`TooLong`], if the envelope is longer than a frame can say.
    ///
    /// # Panics
    ///
    /// If the bytes are shorter than an envelope.
    pub fn append_event(&mut self, envelope: &[u8], version: Version, created: u64) -> Result<u32, TooLong> {
        push_envelope(&mut self.log, 0, envelope)?;
        let begin = self.log.len() - envelope.len();
        set_version(&mut self.log[begin..], version);
        set_created(&mut self.log[begin..], created);
        let index = self.next_index();
        self.positions += 1;
        Ok(index)
    }

    /// Appends a gap of so many positions, at least 1, to the log.
    pub fn append_gap(&mut self, positions: u64) {
        push_gap(&mut self.log, 0, positions);
        self.positions = self.positions.saturating_add(positions);
    }

    /// The index of the next event.
    ///
    /// # Panics
    ///
    /// If the batch has taken 2^32 positions: those who append gaps bound them.
    #[must_use]
    pub fn next_index(&self) -> u32 {
        u32::try_from(self.positions).expect("a batch takes far fewer positions")
    }

    /// Removes the event at a position before this batch.
    pub fn remove_event(&mut self, position: Position) {
        self.removes.push(position);
    }

    /// The number of puts and deletes.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// About how many bytes the batch has, of those that [`BATCH_BYTES_MAX`] bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let puts = self.changes.values().map(|changes| changes.puts.len()).sum::<usize>();
        puts + self.log.len() + self.other_bytes
    }

    /// The batch.
    #[must_use]
    pub fn build(self) -> Batch {
        let changes = self.changes.into_iter().map(|(keyspace, KeyspaceChanges { puts, deletes })| Changes {
            keyspace,
            puts,
            deletes,
        });
        Batch { guards: self.guards, changes: changes.collect(), log: self.log, removes: self.removes }
    }

    fn changes_of(&mut self, keyspace: &str) -> &mut KeyspaceChanges {
        if !self.changes.contains_key(keyspace) {
            self.changes.insert(keyspace.to_owned(), KeyspaceChanges::default());
        }
        self.changes.get_mut(keyspace).expect("it was just inserted")
    }
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{EventParts, Events, Frames, Record};

    use super::{BatchBuilder, Stamp, Stamped};

    #[test]
    fn the_bytes_of_a_put_are_fixed() {
        let mut batch = BatchBuilder::new();
        let key = Stamped { bytes: b"k........", stamps: &[Stamp { at: 1, index: 258 }] };
        batch.put_stamped("a", key, Stamped::from(&b"v"[..]));
        batch.put("b", b"x", b"");
        batch.delete("b", b"y");
        assert_eq!(batch.entries(), 3);
        let batch = batch.build();
        let bytes = b"\x09\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x02\x01\0\0k........v";
        assert_eq!((batch.changes[0].keyspace.as_str(), &batch.changes[0].puts[..]), ("a", &bytes[..]));
        assert_eq!(batch.changes[1].deletes, [b"y"]);
        assert_eq!(batch.changes.len(), 2, "each keyspace once");
    }

    #[test]
    fn an_appended_event_has_its_version_and_time() {
        let parts = EventParts::<&str> {
            flags: 0,
            version: 0,
            created: 0,
            stream_id: "s",
            id: "i",
            event_type: "t",
            content_type: "c",
            tags: &[],
            data: b"d",
            metadata: b"",
        };
        let mut envelope = Vec::new();
        parts.push(&mut envelope).unwrap();
        let mut batch = BatchBuilder::new();
        assert_eq!(batch.append_event(&envelope, 7, 8), Ok(0));
        batch.append_gap(5);
        assert_eq!(batch.append_event(&envelope, 8, 9), Ok(6));
        let log = batch.build().log;
        let frames = Frames::new(&log).map(|frame| match frame.unwrap().record {
            Record::Event(bytes) => {
                let mut one = Vec::new();
                exesdb_packed::push_envelope(&mut one, 0, bytes).unwrap();
                let (_, envelope) = Events::new(&one).next().unwrap().unwrap();
                (envelope.version, envelope.created)
            }
            Record::Gap { positions } => (positions, 0),
            Record::Removed { .. } => panic!("nothing is removed"),
        });
        assert_eq!(frames.collect::<Vec<_>>(), [(7, 8), (5, 0), (8, 9)]);
    }
}
