//! The streams component that ships with exesdb: it stores, reads and maintains streams of events.
//!
//! The rules are functions over a [`View`](exesdb_sdk::view::View) and are tested natively; this file connects them to the
//! host. What changes the store is decided, and handed back as a batch that the host applies.
//!
//! # Keyspaces
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `streams` | stream id | head |
//! | `retained` | stream id | nothing |
//! | `imports` | stream id, zero byte, digest of a source, 12 bytes | how many of its rows were imported, 8 bytes |
//! | `index` | origin, 8 bytes; version of an append's last event, 8 bytes | its position, 8 bytes, written by the host |
//! | `ids` | origin, 8 bytes; digest of an event id, 12 bytes | version, 8 bytes |
//! | `labels` | digest of a label, 12 bytes; position of an append's last event that has it, 8 bytes, written by the host | position of its first such event, 8 bytes, written by the host |
//!
//! Whole numbers are big-endian, so that keys are in numeric order. An append is one batch: it writes all its entries or
//! none, with the guard that the stream's head is as it was when the append was decided. The same holds for a transaction
//! and an import.
//!
//! A stream's *origin* is the position of its first event. It identifies the stream in keys: it is unique, and shorter than
//! stream ids, many of which have common prefixes, so that comparing keys is cheap. The host writes the origin of the
//! append that begins a stream; later appends find it in the head.
//!
//! The events of an append are consecutive in the log, so `index` has only the last one: if the last version `l` of an
//! append has position `p`, its version `v` has position `p - (l - v)`. The events that a transaction appends to one stream
//! are an append in this sense, and so are events of one stream that an import places at consecutive positions.
//!
//! A *label* is a property by which events are found: their type, each of their tags and, if the setting
//! `index-correlation` is `true` when they are appended, the members `$correlationId` and `$causationId` of the JSON
//! object in their metadata, if those are texts of 1 to 256 bytes and their names are written without escapes.
//!
//! A digest is the first 12 bytes of a 128-bit XXH3, big-endian: of an event id, of an import's source, or of a label's
//! kind (one byte: `t` for a type, `g` for a tag, `c` for a correlation id, `k` for a causation id) followed by its text.
//! Because digests can collide, entries of `ids` and `labels` are confirmed by reading the event: an id with the digest of
//! another id in its stream is refused as a conflict, and an event has a label only if its texts say so.
//!
//! A head has 33 bytes: format (1, one byte), origin, version of the last event, time of the first append, time of the last
//! append (8 bytes each). If events of the stream are or may become hidden, it has 66 bytes: the same with format 2, then
//! the state of the stream (one byte: 0 live, 1 deleted, 2 tombstoned; plus 128 if its times may be unordered), the first
//! version that may be visible, the number of newest events that are kept, the number of seconds for which events are kept
//! (0 for no such limit), and the version below which events were removed or never existed (8 bytes each). If the stream
//! was begun again after a deletion, it has 74 bytes: the same with format 3, then the first version of its present life
//! (8 bytes). `retained` names the streams whose head has format 2 or 3.
//!
//! Events are in the log of the store. The keyspaces `events` and `gaps` of stores that earlier versions of this component
//! wrote are part of the log, too: the host reads them as if they had always been.
//!
//! Times are microseconds since 1970-01-01T00:00:00 UTC. An append has the time of its view; or that of the event
//! before it, if that is a little later. An import keeps the times that it is given. So the times of a stream rise with
//! its versions unless its head says otherwise; then retention by age must check each event.
//!
//! # Idempotency
//!
//! An append whose event ids are in the stream already, consecutively and in this order, gets the first result again and
//! adds nothing, whatever version it expects: a client that lost a response sends its request again. The same holds for a
//! transaction all of whose appends are in their streams. Only visible events count: the id of an event that retention or
//! deletion hides is new, whether scavenging has removed the event or not, so that acknowledged events can be read. If
//! retention hides only some of an append's events, its repetition is refused as a conflict. A stream with a tombstone
//! refuses everything.
//!
//! # Invariants
//!
//! 1. A stream has a head exactly if it ever had an event, and the head's version is that of the last event.
//! 2. Every version of a stream, from the one below which events were removed (or 0) to the head's, exists: the event at
//!    the position that `index` gives for it has this stream and version.
//! 3. Every event has an entry in `ids`, and its type and each of its tags have an entry in `labels` that covers its
//!    position. No stream has two visible events with one id. If several events have one id, the entry in `ids` belongs to
//!    the last one.
//! 4. Versions rise with positions within a stream.
//! 5. `retained` has an entry exactly for each head of more than 33 bytes.
//! 6. An entry in `imports` belongs to a stream with a head, and its number is at least 1 and at most the number of versions
//!    that the stream ever had. The number never decreases.
//! 7. Hidden events stay hidden: the first version that may be visible never goes back. It is at most the version of the
//!    next event, so that no future event is hidden. Heads of earlier versions of this component may have a higher one, and
//!    are read as if they did not.

pub mod check;
pub mod correlation;
mod decide;
pub mod delete;
mod entries;
pub mod events;
pub mod filter;
mod head_change;
pub mod import;
mod known;
mod label;
pub mod layout;
pub mod maintenance;
pub mod read;
pub mod retention;
pub mod visible;
pub mod write;

use exesdb_sdk::config;
use exesdb_sdk::describe::{Description, SettingDefault, description};
use exesdb_sdk::logging::{self, Level};
use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::streams::{
    StreamDeletion, StreamFilters, StreamImport, StreamListing, StreamReads, StreamRetention, StreamWrites,
};
use exesdb_sdk::types::{
    Decision, DeletionRequest, Error, EventFilter, ImportRequest, ImportState, PackedPage, RetentionRequest,
    Selection, StreamInfo, StreamLife, StreamPage, WriteRequest,
};
use exesdb_sdk::view::HostView;

use correlation::CorrelationIndex;
use maintenance::Scavenged;

/// The component.
pub struct Streams;

/// The setting for the index of correlations.
fn correlation_index() -> CorrelationIndex {
    CorrelationIndex::of_setting(config::get(correlation::SETTING).as_deref())
}

impl StreamWrites for Streams {
    fn decide(view: &HostView, requests: Vec<WriteRequest>) -> Vec<Decision> {
        write::decide(view, correlation_index(), &requests)
    }
}

impl StreamReads for Streams {
    fn read(view: &HostView, selection: Selection) -> Result<PackedPage, Error> {
        read::read(view, &selection)
    }

    fn stream_lives(view: &HostView, stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        read::stream_lives(view, &stream_ids)
    }
}

impl StreamFilters for Streams {
    fn read_filtered(
        view: &HostView,
        filter: EventFilter,
        selection: Selection,
    ) -> Result<PackedPage, Error> {
        read::read_filtered(view, correlation_index(), filter, &selection)
    }
}

impl StreamRetention for Streams {
    fn decide(view: &HostView, requests: Vec<RetentionRequest>) -> Vec<Decision> {
        retention::decide(view, &requests)
    }
}

impl StreamDeletion for Streams {
    fn decide(view: &HostView, requests: Vec<DeletionRequest>) -> Vec<Decision> {
        delete::decide(view, &requests)
    }
}

impl StreamImport for Streams {
    fn decide(view: &HostView, request: ImportRequest) -> Decision {
        import::decide(view, correlation_index(), &request)
    }

    fn import_states(
        view: &HostView,
        source: String,
        stream_ids: Vec<String>,
    ) -> Result<Vec<ImportState>, Error> {
        import::import_states(view, &source, &stream_ids)
    }
}

impl StreamListing for Streams {
    fn list_streams(
        view: &HostView,
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        read::list_streams(view, &prefix, after.as_deref(), count, deleted)
    }

    fn describe_stream(view: &HostView, stream_id: String) -> Result<StreamInfo, Error> {
        read::describe_stream(view, &stream_id)
    }
}

impl Maintenance for Streams {
    fn scavenge(view: &HostView, from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        let Scavenged { step, skipped } = maintenance::scavenge(view, from.as_ref())?;
        for reason in skipped {
            logging::log(Level::Warn, "a stream was not scavenged", &[("reason", &reason)]);
        }
        Ok(step)
    }

    fn verify(view: &HostView, from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        maintenance::verify(view, from.as_ref(), repair)
    }
}

/// The version of the layout in keyspaces. It goes up when older builds of this component could not read the new layout.
pub const STATE_VERSION: u32 = 1;

/// Describes the component.
#[must_use]
pub fn describe() -> Description {
    description("streams", STATE_VERSION).setting(
        correlation::SETTING,
        SettingDefault::Flag(false),
        "Find events by $correlationId and $causationId: those appended since it is on",
    )
}

#[cfg(feature = "export")]
exesdb_sdk::persistence_plugin!(
    Streams: stream_writes, stream_reads, stream_filters, stream_retention, stream_deletion, stream_import,
    stream_listing, maintenance
);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
