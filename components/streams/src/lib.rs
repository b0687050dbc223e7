//! The streams component that ships with exesdb: it stores, reads and maintains streams of events.
//!
//! The rules are functions over [`Keyspaces`](exesdb_sdk::keyspaces::Keyspaces) and are tested natively; this file connects
//! them to the host.
//!
//! # Keyspaces
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `streams` | stream id | head |
//! | `retained` | stream id | nothing |
//! | `imports` | stream id, zero byte, digest of a source, 12 bytes | how many of its rows were imported, 8 bytes |
//! | `events` | position, 8 bytes, written by the commit | envelope |
//! | `gaps` | first position that an import left empty, 8 bytes, written by the commit | the next position that it did not, 8 bytes |
//! | `index` | origin, 8 bytes; version of an append's last event, 8 bytes | its position, 8 bytes, written by the commit |
//! | `ids` | origin, 8 bytes; digest of an event id, 12 bytes | version, 8 bytes |
//! | `labels` | digest of a label, 12 bytes; position of an append's last event that has it, 8 bytes, written by the commit | position of its first such event, 8 bytes, written by the commit |
//!
//! Whole numbers are big-endian, so that keys are in numeric order. An append is one batch: it writes all its entries or
//! none, with the guard that the stream's head is as it was when the append was decided. The same holds for a transaction
//! and an import.
//!
//! A stream's *origin* is the position of its first event. It identifies the stream in keys: it is unique, and shorter than
//! stream ids, many of which have common prefixes, so that comparing keys is cheap. The commit writes the origin of the
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
//! An envelope consists of, in this order: format (2, one byte); link of the store's hash chain (8 bytes, written by the
//! commit); stream id; version (8 bytes); event id; event type; content type; time of the append (8 bytes); data; metadata;
//! number of tags (2 bytes); tags. A text is its length in 2 bytes and its UTF-8; data and metadata are their length in 4
//! bytes and their bytes. The position is the key and is not repeated. The envelope of a removed event has only the format
//! (3, one byte) and the link.
//!
//! Times are microseconds since 1970-01-01T00:00:00 UTC. An append has the time of the clock; or, if the clock was set back
//! a little, that of the event before it. An import keeps the times that it is given. So the times of a stream rise with
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
//! 2. Every version of a stream, from the one below which events were removed (or 0) to the head's, exists: the envelope at
//!    the position that `index` gives for it has this stream and version.
//! 3. Every event has an entry in `ids`, and its type and each of its tags have an entry in `labels` that covers its
//!    position. No stream has two visible events with one id. If several events have one id, the entry in `ids` belongs to
//!    the last one.
//! 4. Versions rise with positions within a stream.
//! 5. Every position below the end of the log has an envelope or is in a gap. The links of the envelopes form the storage's
//!    hash chain; the link of a removed event cannot be verified, but the next one can.
//! 6. `retained` has an entry exactly for each head of more than 33 bytes.
//! 7. An entry in `imports` belongs to a stream with a head, and its number is at least 1 and at most the number of versions
//!    that the stream ever had. The number never decreases.
//! 8. Hidden events stay hidden: the first version that may be visible never goes back. It is at most the version of the
//!    next event, so that no future event is hidden. Heads of earlier versions of this component may have a higher one, and
//!    are read as if they did not.

pub mod append;
pub mod check;
pub mod correlation;
mod decide;
pub mod delete;
mod entries;
pub mod filter;
pub mod import;
mod known;
mod label;
pub mod layout;
pub mod maintenance;
pub mod read;
pub mod retention;
pub mod rounds;
pub mod transact;
pub mod visible;

use exesdb_sdk::describe::{Description, SettingDefault, description};
use exesdb_sdk::keyspaces::HostKeyspaces;
use exesdb_sdk::logging::{self, Level};
use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult, ImportState,
    ImportedEvent, Retention, StreamInfo, StreamPage, StreamsPlugin, Transaction,
};
use exesdb_sdk::types::{Direction, Error, ExpectedVersion, Position, StreamLife, Version};
use exesdb_sdk::{clock, config};

use correlation::CorrelationIndex;
use maintenance::Scavenged;

/// The component, which stores streams in the keyspaces that the host provides.
pub struct Streams;

/// The setting for the index of correlations.
fn correlation_index() -> CorrelationIndex {
    CorrelationIndex::of_setting(config::get(correlation::SETTING).as_deref())
}

impl StreamsPlugin for Streams {
    fn append(requests: Vec<AppendRequest>) -> Vec<Result<AppendResult, Error>> {
        append::append(&HostKeyspaces, clock::now(), correlation_index(), &requests)
    }

    fn transact(transactions: Vec<Transaction>) -> Vec<Result<Vec<AppendResult>, Error>> {
        transact::transact(&HostKeyspaces, clock::now(), correlation_index(), &transactions)
    }

    fn import_events(events: Vec<ImportedEvent>, marks: Vec<ImportMark>) -> Result<ImportResult, Error> {
        import::import_events(&HostKeyspaces, clock::now(), correlation_index(), &events, &marks)
    }

    fn get_import_states(source: String, stream_ids: Vec<String>) -> Result<Vec<ImportState>, Error> {
        import::import_states(&HostKeyspaces, clock::now(), &source, &stream_ids)
    }

    fn delete_stream(stream_id: String, expected: ExpectedVersion, deletion: Deletion) -> Result<(), Error> {
        delete::delete_stream(&HostKeyspaces, &stream_id, expected, deletion)
    }

    fn set_retention(stream_id: String, retention: Retention) -> Result<(), Error> {
        retention::set_retention(&HostKeyspaces, clock::now(), &stream_id, &retention)
    }

    fn read_stream(
        stream_id: String,
        from: Option<Version>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        read::read_stream(&HostKeyspaces, clock::now(), &stream_id, from, count, direction)
    }

    fn read_all(from: Option<Position>, count: u32, direction: Direction) -> Result<EventPage, Error> {
        read::read_all(&HostKeyspaces, clock::now(), from, count, direction)
    }

    fn read_filtered(
        filter: EventFilter,
        from: Option<Position>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        read::read_filtered(&HostKeyspaces, clock::now(), correlation_index(), filter, from, count, direction)
    }

    fn list_streams(
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        read::list_streams(&HostKeyspaces, &prefix, after.as_deref(), count, deleted)
    }

    fn get_stream_info(stream_id: String) -> Result<StreamInfo, Error> {
        read::stream_info(&HostKeyspaces, clock::now(), &stream_id)
    }

    fn get_stream_lives(stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        read::stream_lives(&HostKeyspaces, &stream_ids)
    }
}

impl Maintenance for Streams {
    fn scavenge(from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        let Scavenged { step, skipped } = maintenance::scavenge(&HostKeyspaces, clock::now(), from.as_ref())?;
        for reason in skipped {
            logging::log(Level::Warn, "a stream was not scavenged", &[("reason", &reason)]);
        }
        Ok(step)
    }

    fn verify(from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        maintenance::verify(&HostKeyspaces, from.as_ref(), repair)
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
exesdb_sdk::streams_plugin!(Streams);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
