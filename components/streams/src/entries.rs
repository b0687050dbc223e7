//! Builds the entries of events and heads in a batch, for writes and imports.

use exesdb_sdk::batch::{BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, BatchBuilder, STAMP_BYTES, Stamp, Stamped};
use exesdb_sdk::packed::Envelope;
use exesdb_sdk::types::{Batch, Error, Position, Range, Version, damaged, too_large};

use crate::correlation::CorrelationIndex;
use crate::label::labels;
use crate::layout::{
    DIGEST_BYTES, Head, IDS, IMPORTS, INDEX, ImportedRows, LABELS, LabelDigest, RETAINED, STREAMS, id_key,
    import_key, index_key, label_key,
};

/// A value that is a position, which the host writes.
const POSITION: [u8; STAMP_BYTES] = [0; STAMP_BYTES];

/// The position that identifies a stream in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The origin in the stream's head.
    Known(Position),
    /// The position, which the host writes, of this event of the batch, with which the stream begins.
    Event(u32),
}

impl Origin {
    /// The origin, or a placeholder for the host to overwrite.
    fn or_placeholder(self) -> Position {
        match self {
            Self::Known(position) => position,
            Self::Event(_) => 0,
        }
    }

    /// The stamp of the placeholder at this offset; empty for a known origin.
    fn stamps(self, at: u32) -> Vec<Stamp> {
        match self {
            Self::Known(_) => Vec::new(),
            Self::Event(index) => vec![Stamp { at, index }],
        }
    }
}

/// An event to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addition<'a> {
    pub(crate) version: Version,
    pub(crate) created: u64,
    /// The envelope as it was sent.
    pub(crate) bytes: &'a [u8],
    pub(crate) envelope: Envelope<'a>,
}

/// A batch of entries. Its events have consecutive positions, in the order in which they are added.
#[derive(Debug)]
pub(crate) struct Entries {
    batch: BatchBuilder,
    index: CorrelationIndex,
}

impl Entries {
    pub(crate) fn new(index: CorrelationIndex) -> Self {
        Self { batch: BatchBuilder::new(), index }
    }

    /// The index of the batch's next event.
    pub(crate) fn next_event(&self) -> u32 {
        self.batch.next_index()
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

    /// Guard: the log ends here.
    pub(crate) fn require_end(&mut self, position: Position) {
        self.batch.require_end(position);
    }

    /// Adds events of one stream, with consecutive versions and positions. Returns the digests of their labels.
    pub(crate) fn put_events<'a>(
        &mut self,
        origin: Origin,
        additions: impl Iterator<Item = Addition<'a>> + Clone,
    ) -> Vec<LabelDigest> {
        let first_event = self.next_event();
        let mut last = None;
        for Addition { version, created, bytes, envelope } in additions.clone() {
            let index = self.batch.append_event(bytes, version, created);
            last = Some((version, index.expect("the bytes of events are checked")));
            let key = id_key(origin.or_placeholder(), envelope.id);
            let key = Stamped { bytes: &key, stamps: &origin.stamps(0) };
            self.batch.put_stamped(IDS, key, Stamped::from(&version.to_be_bytes()[..]));
        }
        let Some((last_version, index)) = last else { return Vec::new() };
        let key = index_key(origin.or_placeholder(), last_version);
        let key = Stamped { bytes: &key, stamps: &origin.stamps(0) };
        let value = Stamped { bytes: &POSITION, stamps: &[Stamp { at: 0, index }] };
        self.batch.put_stamped(INDEX, key, value);
        let labels = labels(additions.map(|addition| addition.envelope), self.index);
        for label in &labels {
            let stamp = |at, event| Stamp { at, index: first_event + event };
            let key = label_key(label.digest, 0);
            let key = Stamped { bytes: &key, stamps: &[stamp(DIGEST_BYTES as u32, label.last)] };
            let value = Stamped { bytes: &POSITION, stamps: &[stamp(0, label.first)] };
            self.batch.put_stamped(LABELS, key, value);
        }
        labels.into_iter().map(|label| label.digest).collect()
    }

    /// Writes a stream's head, which was `before`, and updates its entry in `retained`.
    pub(crate) fn put_head(&mut self, stream_id: &str, before: Option<&Head>, next: &Head, origin: Origin) {
        let value = next.encode();
        let value = Stamped { bytes: &value, stamps: &origin.stamps(Head::ORIGIN_AT) };
        self.batch.put_stamped(STREAMS, Stamped::from(stream_id.as_bytes()), value);
        match (before.is_some_and(Head::is_extended), next.is_extended()) {
            (false, true) => self.batch.put(RETAINED, stream_id.as_bytes(), &[]),
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
        self.batch.put(IMPORTS, &key, &after.encode());
    }

    /// Leaves so many positions empty, at least 1.
    pub(crate) fn put_gap(&mut self, positions: u64) {
        self.batch.append_gap(positions);
    }

    /// The batch.
    ///
    /// # Errors
    ///
    /// The problem `too-large`, if the entries are more than a batch may have.
    pub(crate) fn build(self) -> Result<Batch, Error> {
        let (entries, bytes) = (self.batch.entries(), self.batch.bytes());
        let over = |what: &str, most| {
            too_large(format!(
                "the request as a whole: it needs {what}, over the limit of {most}; send it in smaller parts"
            ))
        };
        if entries > BATCH_ENTRIES_MAX {
            return Err(over(&format!("{entries} entries"), BATCH_ENTRIES_MAX));
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(over(&format!("{bytes} bytes with its index"), BATCH_BYTES_MAX));
        }
        Ok(self.batch.build())
    }
}

/// Decodes a stored head.
pub(crate) fn decode_head(stream_id: &str, value: Option<&[u8]>) -> Result<Option<Head>, Error> {
    let head = value.map(Head::decode).transpose();
    head.map_err(|reason| damaged(STREAMS, stream_id.as_bytes(), reason))
}
