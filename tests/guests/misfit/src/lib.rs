//! A streams component that also imports interfaces which no host offers, to test the error of the loader. It never runs.

use exesdb_sdk::streams::{StreamReads, StreamWrites};
use exesdb_sdk::types::{Decision, Error, PackedPage, Selection, StreamLife, WriteRequest, code, problem};
use exesdb_sdk::view::HostView;

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

fn wish() -> Error {
    problem(code::OTHER, telepathy::read_mind() + &clairvoyance::foresee())
}

impl StreamWrites for Misfit {
    fn decide(_: &HostView, requests: Vec<WriteRequest>) -> Vec<Decision> {
        requests.iter().map(|_| Decision::Done(Err(wish()))).collect()
    }
}

impl StreamReads for Misfit {
    fn read(_: &HostView, _: Selection) -> Result<PackedPage, Error> {
        Err(wish())
    }

    fn stream_lives(_: &HostView, _: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        Err(wish())
    }
}

exesdb_sdk::persistence_plugin!(Misfit: stream_writes, stream_reads);
