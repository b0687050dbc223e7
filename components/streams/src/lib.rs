//! The streams component that ships with exesdb: appends and reads streams of events, and looks after them.
//!
//! The rules are functions over [`Keyspaces`](exesdb_sdk::keyspaces::Keyspaces) and are tested natively; this file ties
//! them to the store.
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
//! Whole numbers are big-endian, so that keys are in the order of what they count. One append is one batch: it writes all
//! its entries or none, under the guard that the stream's head is as it was when the append was decided. So is one
//! transaction, and one import.
//!
//! A stream's *origin* is the position of its first event. It stands for the stream in keys: no two streams have the same,
//! and it is short where ids are long and begin alike, so that comparing keys is cheap. The append that begins a stream
//! has its origin written by the commit; others find it in the head.
//!
//! The events of an append follow each other in the log, so `index` has only the last one: version `v` of an append whose
//! last version `l` lies at position `p` lies at `p - (l - v)`. What a transaction appends to one stream is an append in
//! this sense, and so are events of one stream that an import puts at positions in a row.
//!
//! A *label* is what events can be found by, beside their stream: their type, each of their tags and, if the setting
//! `index-correlation` is `true` when they are appended, the members `$correlationId` and `$causationId` of the JSON
//! object that is their metadata, if they are texts of 1 to 256 bytes and their names are written without escapes.
//!
//! A digest is the first 12 bytes of an XXH3 of 128 bits, big-endian: of an event id, of an import's source, or of a label's kind (one byte: `t`
//! for a type, `g` for a tag, `c` for a correlation id, `k` for a causation id) with its text behind. An id that has the
//! digest of another of its stream is refused as a conflict, and an event counts for a label only if its texts say so:
//! what `ids` and `labels` say is believed only after a look at the event.
//!
//! A head is 33 bytes: format (1, one byte), origin, version of the last event, time of the first append, time of the last
//! append (8 bytes each). If something of the stream is hidden, or may be with time, it is 66 bytes: the same with format
//! 2, then whether the stream is there (one byte: 0 it is, 1 it was deleted, 2 it has a tombstone; 128 more if its times
//! may not be in order), the first version that may be visible, how many of the newest events are kept, for how many
//! seconds (0 for no such limit), and the version below which events were removed or never were there (8 bytes each). If
//! the stream was begun again after a deletion it is 74 bytes: the same with format 3, then the version with which its
//! present life begins (8 bytes). `retained` names the streams whose head has format 2 or 3.
//!
//! An envelope is, in this order: format (2, one byte); link of the store's hash chain (8 bytes, written by the commit);
//! stream id; version (8 bytes); event id; event type; content type; time of the append (8 bytes); data; metadata; number
//! of tags (2 bytes); tags. A text is its length in 2 bytes and its UTF-8; data and metadata are their length in 4 bytes
//! and their bytes. The position is the key and is not repeated. Of an event that was removed there is format (3, one
//! byte) and the link.
//!
//! Times are microseconds since 1970-01-01T00:00:00 UTC. An append gets the time of the clock; if the clock was set back by
//! a little, that of the event before it. An import has the times that it is given, whatever they are. So the times of a
//! stream rise with its versions unless its head says otherwise, and then its retention by age looks at each event.
//!
//! # Idempotency
//!
//! An append whose event ids stand in the stream already, one after the other in this order, gets the first answer again
//! and adds nothing, whatever version is expected: a client that has lost an answer asks again. So does a transaction all
//! of whose appends stand in their streams. Only visible events count: an id whose event retention or deletion hides is
//! new, whether scavenging has removed the event or not, so that what was acknowledged can be read. If only some of an
//! append's events are visible, because retention hides the others, its repetition is refused as a conflict. A stream with
//! a tombstone refuses everything.
//!
//! # Invariants
//!
//! 1. The head of a stream is there exactly if an event was ever put into it, and its version is that of the last one.
//! 2. Every version of a stream, from the one below which events were removed (or 0) to the head's, is there: the envelope
//!    at the position that `index` gives for it names this stream and version.
//! 3. Every event has an entry in `ids`, and its type and each of its tags one in `labels` that spans its position. No
//!    stream has two visible events of one id. Of several events of one id, the entry in `ids` is the last one's.
//! 4. Versions rise with positions within a stream.
//! 5. Every position below the end of the log is that of an envelope, or lies in one of the gaps. The links of the
//!    envelopes follow each other as the storage says; that of a removed event cannot be checked, but the one behind it
//!    can.
//! 6. `retained` has an entry exactly for each head of more than 33 bytes.
//! 7. An entry in `imports` is of a stream that has a head, and its number is at least 1 and at most the number of versions
//!    that the stream has had. The number never decreases.
//! 8. What is hidden stays hidden: the first version that may be visible never goes back. It is never more than the
//!    version of the next event, so that no event is hidden before it is there. Heads that earlier versions wrote may say
//!    more, and are read as if they did not.

pub mod append;
pub mod check;
pub mod correlation;
pub mod decide;
pub mod delete;
mod entries;
pub mod filter;
pub mod import;
mod known;
pub mod label;
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

/// The streams of the store that the host gives to this component.
pub struct Streams;

/// Whether the operator wants correlations to be indexed.
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
        let Scavenged { step, passed_over } =
            maintenance::scavenge(&HostKeyspaces, clock::now(), from.as_ref())?;
        for reason in passed_over {
            logging::log(Level::Warn, "a stream was not scavenged", &[("reason", &reason)]);
        }
        Ok(step)
    }

    fn verify(from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        maintenance::verify(&HostKeyspaces, from.as_ref(), repair)
    }
}

/// The version of the layout in keyspaces: goes up when older builds of this component could not read it.
pub const STATE_VERSION: u32 = 1;

/// What the component is.
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
