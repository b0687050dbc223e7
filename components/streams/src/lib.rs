//! The streams component that ships with exesdb: appends and reads streams of events.
//!
//! The rules are functions over [`Keyspaces`](exesdb_sdk::keyspaces::Keyspaces) and are tested natively; this file ties
//! them to the store.
//!
//! # Keyspaces
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `streams` | stream id | head |
//! | `events` | position, 8 bytes, written by the commit | envelope |
//! | `index` | origin, 8 bytes; version of an append's last event, 8 bytes | its position, 8 bytes, written by the commit |
//! | `ids` | origin, 8 bytes; digest of an event id, 12 bytes | version, 8 bytes |
//!
//! Whole numbers are big-endian, so that keys are in the order of what they count. One append is one batch: it writes all
//! its entries or none, under the guard that the stream's head is as it was when the append was decided.
//!
//! A stream's *origin* is the position of its first event. It stands for the stream in keys: no two streams have the same,
//! and it is short where ids are long and begin alike, so that comparing keys is cheap. The append that begins a stream
//! has its origin written by the commit; others find it in the head.
//!
//! The events of an append follow each other in the log, so `index` has only the last one: version `v` of an append whose
//! last version `l` lies at position `p` lies at `p - (l - v)`.
//!
//! A digest is the first 12 bytes of the event id's XXH3 of 128 bits, big-endian. An id that has the digest of another of
//! its stream is refused as a conflict: what `ids` says is believed only after a look at the event.
//!
//! A head is 33 bytes: format (1, one byte), origin, version of the last event, time of the first append, time of the last
//! append (8 bytes each).
//!
//! An envelope is, in this order: format (1, one byte); stream id; version (8 bytes); event id; event type; content type;
//! time of the append (8 bytes); data; metadata. A text is its length in 2 bytes and its UTF-8; data and metadata are
//! their length in 4 bytes and their bytes. The position is the key and is not repeated.
//!
//! Times are microseconds since 1970-01-01T00:00:00 UTC. Within a stream they never go backward: an append gets the time
//! of the one before it if the clock says less.
//!
//! # Invariants
//!
//! 1. The head of a stream is there exactly if the stream has an event, and its version is that of the last one.
//! 2. A stream's versions are 0 to the head's. The envelope at the position that `index` gives for each of them names
//!    this stream and version.
//! 3. Every event has one entry in `ids`. No stream has two events of one id.
//! 4. Versions rise with positions within a stream.

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

use exesdb_sdk::keyspaces::HostKeyspaces;
use exesdb_sdk::logging::{self, Level};
use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportResult, ImportedEvent, Retention,
    StreamInfo, StreamPage, StreamsPlugin, Transaction,
};
use exesdb_sdk::types::{Direction, Error, ExpectedVersion, Position, Version};
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

    fn import_events(events: Vec<ImportedEvent>) -> Result<ImportResult, Error> {
        import::import_events(&HostKeyspaces, clock::now(), correlation_index(), &events)
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

    fn list_streams(prefix: String, after: Option<String>, count: u32) -> Result<StreamPage, Error> {
        read::list_streams(&HostKeyspaces, &prefix, after.as_deref(), count)
    }

    fn get_stream_info(stream_id: String) -> Result<StreamInfo, Error> {
        read::stream_info(&HostKeyspaces, clock::now(), &stream_id)
    }
}

impl Maintenance for Streams {
    fn scavenge(from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        let Scavenged { step, passed_over } = maintenance::scavenge(&HostKeyspaces, clock::now(), from.as_ref())?;
        for reason in passed_over {
            logging::log(Level::Warn, "a stream was not scavenged", &[("reason", &reason)]);
        }
        Ok(step)
    }

    fn verify(from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        maintenance::verify(&HostKeyspaces, from.as_ref(), repair)
    }
}

#[cfg(feature = "export")]
exesdb_sdk::streams_plugin!(Streams);
