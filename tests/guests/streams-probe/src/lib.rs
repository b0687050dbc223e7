//! The streams component that ships with exesdb, which misbehaves for tests on an append to a stream whose id begins with
//! `probe-`. Everything else, including reads of those streams, behaves like the original, except that pages of the whole
//! store with an event of a stream whose id begins with `probe-standing-still` continue where they began.
//!
//! | stream id begins with | an append |
//! |---|---|
//! | `probe-trap-after-commit` | commits the call's requests, then panics before it returns |
//! | `probe-trap-once-after-commit` | does the same if the stream is new, and returns when it is called again |
//! | `probe-trap` | panics before anything is written |
//! | `probe-loop` | loops forever |
//! | `probe-hungry` | allocates memory without end |
//! | `probe-stack` | recurses without end |
//! | `probe-wasi` | tries to use files and sockets, which are denied, prints, and continues like the original |

use std::hint::black_box;

use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult, ImportState,
    ImportedEvent, Retention, StreamInfo, StreamPage, StreamsPlugin, Transaction,
};
use exesdb_sdk::types::{Direction, Error, ExpectedVersion, Position, StreamLife, Version};
use exesdb_streams::Streams;

struct Probe;

/// The way in which an append misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misdeed {
    Trap,
    TrapAfterCommit,
    TrapOnceAfterCommit,
    Loop,
    Hunger,
    Recursion,
    Wasi,
}

/// Longer prefixes come before the shorter ones that they begin with.
const MISDEEDS: [(&str, Misdeed); 7] = [
    ("probe-trap-once-after-commit", Misdeed::TrapOnceAfterCommit),
    ("probe-trap-after-commit", Misdeed::TrapAfterCommit),
    ("probe-trap", Misdeed::Trap),
    ("probe-loop", Misdeed::Loop),
    ("probe-hungry", Misdeed::Hunger),
    ("probe-stack", Misdeed::Recursion),
    ("probe-wasi", Misdeed::Wasi),
];

/// Makes a page with an event of such a stream continue where it began.
const STANDING_STILL: &str = "probe-standing-still";

fn misdeed(stream_id: &str) -> Option<Misdeed> {
    MISDEEDS.iter().find(|(prefix, _)| stream_id.starts_with(prefix)).map(|(_, misdeed)| *misdeed)
}

impl StreamsPlugin for Probe {
    fn append(requests: Vec<AppendRequest>) -> Vec<Result<AppendResult, Error>> {
        match requests.iter().find_map(|request| misdeed(&request.stream_id)) {
            None => Streams::append(requests),
            Some(Misdeed::Trap) => panic!("the probe traps, as it was told"),
            Some(Misdeed::TrapAfterCommit) => {
                let results = Streams::append(requests);
                panic!("the probe traps after the commit, as it was told: {results:?}");
            }
            Some(Misdeed::TrapOnceAfterCommit) => {
                let probes =
                    requests.iter().map(|request| &request.stream_id).filter(|id| misdeed(id).is_some());
                let are_new = probes.cloned().any(|id| Streams::get_stream_info(id).is_err());
                let results = Streams::append(requests);
                assert!(!are_new, "the probe traps after the first commit, as it was told: {results:?}");
                results
            }
            Some(Misdeed::Loop) => loop {
                black_box(());
            },
            Some(Misdeed::Hunger) => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    // Written to, so that the memory is really allocated.
                    eaten.push(vec![1; 1 << 20]);
                    black_box(&eaten);
                }
            }
            Some(Misdeed::Wasi) => {
                ask_wasi();
                Streams::append(requests)
            }
            Some(Misdeed::Recursion) => panic!("the probe came back from depth {}", deeper(1)),
        }
    }

    fn transact(transactions: Vec<Transaction>) -> Vec<Result<Vec<AppendResult>, Error>> {
        Streams::transact(transactions)
    }

    fn import_events(events: Vec<ImportedEvent>, marks: Vec<ImportMark>) -> Result<ImportResult, Error> {
        Streams::import_events(events, marks)
    }

    fn get_import_states(source: String, stream_ids: Vec<String>) -> Result<Vec<ImportState>, Error> {
        Streams::get_import_states(source, stream_ids)
    }

    fn delete_stream(stream_id: String, expected: ExpectedVersion, deletion: Deletion) -> Result<(), Error> {
        Streams::delete_stream(stream_id, expected, deletion)
    }

    fn set_retention(stream_id: String, retention: Retention) -> Result<(), Error> {
        Streams::set_retention(stream_id, retention)
    }

    fn read_filtered(
        filter: EventFilter,
        from: Option<Position>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        Streams::read_filtered(filter, from, count, direction)
    }

    fn read_stream(
        stream_id: String,
        from: Option<Version>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        Streams::read_stream(stream_id, from, count, direction)
    }

    fn read_all(from: Option<Position>, count: u32, direction: Direction) -> Result<EventPage, Error> {
        let mut page = Streams::read_all(from, count, direction)?;
        if page.events.iter().any(|event| event.stream_id.starts_with(STANDING_STILL)) {
            (page.next, page.end) = (from, false);
        }
        Ok(page)
    }

    fn list_streams(
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        Streams::list_streams(prefix, after, count, deleted)
    }

    fn get_stream_info(stream_id: String) -> Result<StreamInfo, Error> {
        Streams::get_stream_info(stream_id)
    }

    fn get_stream_lives(stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        Streams::get_stream_lives(stream_ids)
    }
}

impl Maintenance for Probe {
    fn scavenge(from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        Streams::scavenge(from)
    }

    fn verify(from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        Streams::verify(from, repair)
    }
}

/// Uses the parts of WASI that toolchains link, which are present but empty.
fn ask_wasi() {
    use wasip2::sockets::{network, tcp_create_socket};
    assert_eq!(wasip2::filesystem::preopens::get_directories().len(), 0);
    assert!(wasip2::cli::environment::get_environment().is_empty());
    let socket = tcp_create_socket::create_tcp_socket(network::IpAddressFamily::Ipv4);
    assert_eq!(socket.err(), Some(network::ErrorCode::AccessDenied));
    assert_ne!(wasip2::random::random::get_random_u64(), wasip2::random::random::get_random_u64());
    let text = format!("the time is {}\n", wasip2::clocks::wall_clock::now().seconds);
    wasip2::cli::stdout::get_stdout()
        .blocking_write_and_flush(text.as_bytes())
        .expect("output is always taken");
}

/// Recurses without end.
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if black_box(depth) == 0 {
        return 0;
    }
    let deepest = deeper(black_box(depth) + 1);
    black_box(frame)[0].max(deepest)
}

exesdb_sdk::streams_plugin!(Probe);
// It has the original's description, because it uses the original's state.
exesdb_sdk::describe_component!(exesdb_streams::describe);

#[cfg(test)]
mod tests {
    use super::{Misdeed, misdeed};

    #[test]
    fn a_stream_id_chooses_the_misdeed() {
        assert_eq!(misdeed("order-1"), None);
        assert_eq!(misdeed("probe-fine"), None);
        assert_eq!(misdeed(super::STANDING_STILL), None);
        assert_eq!(misdeed("probe-trap"), Some(Misdeed::Trap));
        assert_eq!(misdeed("probe-trap-7"), Some(Misdeed::Trap));
        assert_eq!(misdeed("probe-trap-after-commit-7"), Some(Misdeed::TrapAfterCommit));
        assert_eq!(misdeed("probe-trap-once-after-commit"), Some(Misdeed::TrapOnceAfterCommit));
        assert_eq!(misdeed("probe-loop"), Some(Misdeed::Loop));
        assert_eq!(misdeed("probe-hungry"), Some(Misdeed::Hunger));
        assert_eq!(misdeed("probe-stack"), Some(Misdeed::Recursion));
        assert_eq!(misdeed("probe-wasi-1"), Some(Misdeed::Wasi));
    }
}
