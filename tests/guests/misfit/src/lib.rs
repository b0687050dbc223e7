//! A streams component that also imports interfaces which no host offers, to test the error of the loader. It never runs.

use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult, ImportState,
    ImportedEvent, Retention, StreamInfo, StreamPage, StreamsPlugin, Transaction,
};
use exesdb_sdk::types::{Direction, Error, ExpectedVersion, Position, StreamLife, Version};

/// The bindings that wit-bindgen generates.
#[allow(unsafe_code, clippy::wildcard_imports)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package misfit:wishes@1.2.3;

            interface telepathy {
                /// What the client is about to ask.
                read-mind: func() -> string;
            }

            interface clairvoyance {
                /// What will be appended.
                foresee: func() -> string;
            }

            world misfit {
                import telepathy;
                import clairvoyance;
            }
        ",
    });
}

use bindings::misfit::wishes::{clairvoyance, telepathy};

struct Misfit;

fn wish<T>() -> Result<T, Error> {
    Err(Error::Other(telepathy::read_mind() + &clairvoyance::foresee()))
}

impl StreamsPlugin for Misfit {
    fn append(requests: Vec<AppendRequest>) -> Vec<Result<AppendResult, Error>> {
        requests.iter().map(|_| wish()).collect()
    }

    fn transact(transactions: Vec<Transaction>) -> Vec<Result<Vec<AppendResult>, Error>> {
        transactions.iter().map(|_| wish()).collect()
    }

    fn import_events(_: Vec<ImportedEvent>, _: Vec<ImportMark>) -> Result<ImportResult, Error> {
        wish()
    }

    fn get_import_states(_: String, _: Vec<String>) -> Result<Vec<ImportState>, Error> {
        wish()
    }

    fn delete_stream(_: String, _: ExpectedVersion, _: Deletion) -> Result<(), Error> {
        wish()
    }

    fn set_retention(_: String, _: Retention) -> Result<(), Error> {
        wish()
    }

    fn read_filtered(_: EventFilter, _: Option<Position>, _: u32, _: Direction) -> Result<EventPage, Error> {
        wish()
    }

    fn read_stream(_: String, _: Option<Version>, _: u32, _: Direction) -> Result<EventPage, Error> {
        wish()
    }

    fn read_all(_: Option<Position>, _: u32, _: Direction) -> Result<EventPage, Error> {
        wish()
    }

    fn list_streams(_: String, _: Option<String>, _: u32, _: bool) -> Result<StreamPage, Error> {
        wish()
    }

    fn get_stream_info(_: String) -> Result<StreamInfo, Error> {
        wish()
    }

    fn get_stream_lives(_: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        wish()
    }
}

impl Maintenance for Misfit {
    fn scavenge(_: Option<Cursor>) -> Result<ScavengeStep, Error> {
        wish()
    }

    fn verify(_: Option<Cursor>, _: bool) -> Result<VerifyStep, Error> {
        wish()
    }
}

exesdb_sdk::streams_plugin!(Misfit);
