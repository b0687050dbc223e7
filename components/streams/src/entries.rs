//! Builds the entries of events and heads in a batch, for appends, transactions and imports.

use exesdb_sdk::keyspaces::{Batch, BatchBuilder, Put, Range, Stamp, damaged, stamp};
use exesdb_sdk::types::{Error, EventData, Position, Version};

use crate::correlation::CorrelationIndex;
use crate::label::labels;
use crate::layout::{
    DIGEST_BYTES, EVENTS, Envelope, GAPS, HEAD_BYTES_MAX, Head, IDS, IMPORTS, INDEX, ImportedRows, LABELS,
    RETAINED, STREAMS, id_key, import_key, index_key, label_key, position_hole,
};

/// Bytes of an entry of `ids`, with its key.
const ID_ENTRY_BYTES: usize = 28;
/// Bytes of an entry of `index` or `labels`, with its key; the larger of both.
const INDEX_ENTRY_BYTES: usize = 28;

/// The position that identifies a stream in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The origin in the stream's head.
    Known(Position),
    /// The position, which the commit writes, of this event of the batch, with which the stream begins.
    Event(u32),
}

impl Origin {
    /// The origin, or a placeholder for the commit to overwrite.
    fn or_placeholder(self) -> Position {
        match self {
            Self::Known(position) => position,
            Self::Event(_) => 0,
        }
    }

    fn stamps(self, at: u32) -> Vec<Stamp> {
        match self {
            Self::Known(_) => Vec::new(),
            Self::Event(event) => vec![stamp(at, event)],
        }
    }
}

/// An event to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addition<'a> {
    pub(crate) version: Version,
    pub(crate) created: u64,
    pub(crate) event: &'a EventData,
}

/// A batch of entries. Its events have consecutive positions, in the order in which they are added.
#[derive(Debug)]
pub(crate) struct Entries {
    batch: BatchBuilder,
    /// The number of positions that the batch takes so far.
    events: u32,
    index: CorrelationIndex,
}

impl Entries {
    pub(crate) fn new(index: CorrelationIndex) -> Self {
        Self { batch: BatchBuilder::new(), events: 0, index }
    }

    /// The number of the batch's next event.
    pub(crate) fn next_event(&self) -> u32 {
        self.events
    }

    /// Guard: the stream's head is as it was read.
    pub(crate) fn require_head(&mut self, stream_id: &str, head: Option<&Head>) {
        let value = head.map(Head::encode);
        self.batch.require(STREAMS, stream_id.as_bytes(), value.as_deref());
    }

    /// Guard: keyspace `ids` has an event id of the stream with this version, or (none) does not have it.
    pub(crate) fn require_id(&mut self, origin: Position, event_id: &str, version: Option<Version>) {
        let value = version.map(Version::to_be_bytes);
        self.batch.require(IDS, &id_key(origin, event_id), value.as_ref().map(<[u8; 8]>::as_slice));
    }

    /// Guard: the range has no keys.
    pub(crate) fn require_empty(&mut self, range: Range) {
        self.batch.require_empty(range);
    }

    /// Guard: the positions from `from` to `end` are a gap.
    pub(crate) fn require_gap(&mut self, from: Position, end: Position) {
        self.batch.require(GAPS, &from.to_be_bytes(), Some(&end.to_be_bytes()));
    }

    /// Adds events of one stream, with consecutive versions and positions.
    pub(crate) fn put_events<'a>(
        &mut self,
        stream_id: &str,
        origin: Origin,
        additions: impl Iterator<Item = Addition<'a>> + Clone,
    ) {
        let first_event = self.events;
        let mut last_version = None;
        for Addition { version, created, event } in additions.clone() {
            let number = self.add_event();
            last_version = Some(version);
            self.batch.put_stamped(Put {
                keyspace: EVENTS.to_owned(),
                key: position_hole(),
                value: Envelope::encode(stream_id, version, created, event),
                key_stamps: vec![stamp(0, number)],
                value_stamps: Vec::new(),
                chain: Some(stamp(Envelope::LINK_AT, number)),
            });
            self.batch.put_stamped(Put {
                keyspace: IDS.to_owned(),
                key: id_key(origin.or_placeholder(), &event.id),
                value: version.to_be_bytes().to_vec(),
                key_stamps: origin.stamps(0),
                value_stamps: Vec::new(),
                chain: None,
            });
        }
        let Some(last_version) = last_version else { return };
        self.batch.put_stamped(Put {
            keyspace: INDEX.to_owned(),
            key: index_key(origin.or_placeholder(), last_version),
            value: position_hole(),
            key_stamps: origin.stamps(0),
            value_stamps: vec![stamp(0, self.events - 1)],
            chain: None,
        });
        for label in labels(additions.map(|addition| addition.event), self.index) {
            self.batch.put_stamped(Put {
                keyspace: LABELS.to_owned(),
                key: label_key(label.digest, 0),
                value: position_hole(),
                key_stamps: vec![stamp(DIGEST_BYTES as u32, first_event + label.last)],
                value_stamps: vec![stamp(0, first_event + label.first)],
                chain: None,
            });
        }
    }

    /// Writes a stream's head, which was `before`, and updates its entry in `retained`.
    pub(crate) fn put_head(&mut self, stream_id: &str, before: Option<&Head>, next: &Head, origin: Origin) {
        self.batch.put_stamped(Put {
            keyspace: STREAMS.to_owned(),
            key: stream_id.into(),
            value: next.encode(),
            key_stamps: Vec::new(),
            value_stamps: origin.stamps(Head::ORIGIN_AT),
            chain: None,
        });
        match (before.is_some_and(Head::is_extended), next.is_extended()) {
            (false, true) => self.batch.put(RETAINED, stream_id, []),
            (true, false) => self.batch.delete(RETAINED, stream_id.as_bytes()),
            (false, false) | (true, true) => {}
        }
    }

    /// Writes how many rows of a source a stream has imported, with the guard that the number was `before`.
    pub(crate) fn put_imported(
        &mut self,
        stream_id: &str,
        source: &str,
        before: Option<ImportedRows>,
        after: ImportedRows,
    ) {
        let (key, before) = (import_key(stream_id, source), before.map(ImportedRows::encode));
        self.batch.require(IMPORTS, &key, before.as_ref().map(<[u8; 16]>::as_slice));
        self.batch.put(IMPORTS, key, after.encode());
    }

    /// Adds a gap of `count` positions (at least 1), which begins at `from`.
    pub(crate) fn put_gap(&mut self, from: Position, count: u32) {
        let first = self.add_event();
        for _ in 1..count {
            self.add_event();
        }
        let end = from.saturating_add(count.into());
        self.batch.put_stamped(Put {
            keyspace: GAPS.to_owned(),
            key: position_hole(),
            value: end.to_be_bytes().to_vec(),
            key_stamps: vec![stamp(0, first)],
            value_stamps: Vec::new(),
            chain: None,
        });
    }

    pub(crate) fn build(self) -> Batch {
        self.batch.build()
    }

    fn add_event(&mut self) -> u32 {
        let event = self.batch.add_event();
        self.events = event + 1;
        event
    }
}

/// An upper bound for the bytes of an append's keys, values and guards.
pub(crate) fn append_bytes<'a>(stream_id: &str, events: impl Iterator<Item = &'a EventData>) -> usize {
    let entries = events.map(|event| {
        let labels = (event.tags.len() + 3) * INDEX_ENTRY_BYTES;
        Envelope::bytes(stream_id, event) + 8 + 2 * ID_ENTRY_BYTES + labels
    });
    let head = stream_id.len() + HEAD_BYTES_MAX;
    // The head, its guard, its entry in `retained`, an entry in `index`, and the guard on the preceding event.
    2 * head + stream_id.len() + INDEX_ENTRY_BYTES + ID_ENTRY_BYTES + entries.sum::<usize>()
}

/// Decodes a stored head.
pub(crate) fn decode_head(stream_id: &str, value: Option<&[u8]>) -> Result<Option<Head>, Error> {
    let head = value.map(Head::decode).transpose();
    head.map_err(|reason| damaged(STREAMS, stream_id.as_bytes(), reason))
}
