//! The streams component that ships with exesdb, which misbehaves for tests on a request that appends to a stream whose id
//! begins with `probe-`. Everything else, including reads of those streams, behaves like the original, except that pages of
//! the whole store with an event of a stream whose id begins with `probe-standing-still` continue where they began.
//!
//! | stream id begins with | a decision |
//! |---|---|
//! | `probe-trap` | panics |
//! | `probe-loop` | loops forever |
//! | `probe-hungry` | allocates memory without end |
//! | `probe-stack` | recurses without end |
//! | `probe-wasi` | tries to use files and sockets, which are denied, prints, and continues like the original |

use std::hint::black_box;

use exesdb_sdk::packed::Events;
use exesdb_sdk::streams::{StreamReads, StreamWrites};
use exesdb_sdk::types::{Decision, Error, PackedPage, Selection, Source, StreamLife, WriteRequest};
use exesdb_sdk::view::HostView;
use exesdb_streams::Streams;

struct Probe;

/// The way in which a decision misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misdeed {
    Trap,
    Loop,
    Hunger,
    Recursion,
    Wasi,
}

const MISDEEDS: [(&str, Misdeed); 5] = [
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

impl StreamWrites for Probe {
    fn decide(view: &HostView, requests: Vec<WriteRequest>) -> Vec<Decision> {
        let mut appends = requests.iter().flat_map(|request| &request.appends);
        match appends.find_map(|append| misdeed(&append.stream_id)) {
            None => <Streams as StreamWrites>::decide(view, requests),
            Some(Misdeed::Trap) => panic!("the probe traps, as it was told"),
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
                <Streams as StreamWrites>::decide(view, requests)
            }
            Some(Misdeed::Recursion) => panic!("the probe came back from depth {}", deeper(1)),
        }
    }
}

impl StreamReads for Probe {
    fn read(view: &HostView, selection: Selection) -> Result<PackedPage, Error> {
        let all = match &selection.source {
            Source::All(all) => Some(*all),
            Source::OneStream(_) => None,
        };
        let mut page = Streams::read(view, selection)?;
        let stands_still = |packed: &[u8]| {
            let mut events = Events::new(packed).flatten();
            events.any(|(_, event)| event.stream_id.starts_with(STANDING_STILL))
        };
        if let Some(all) = all.filter(|_| stands_still(&page.events)) {
            (page.next, page.end) = (all.from, false);
        }
        Ok(page)
    }

    fn stream_lives(view: &HostView, stream_ids: Vec<String>) -> Result<Vec<Option<StreamLife>>, Error> {
        Streams::stream_lives(view, stream_ids)
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

exesdb_sdk::persistence_plugin!(Probe: stream_writes, stream_reads);
exesdb_sdk::persistence_plugin!(
    Streams: stream_filters, stream_retention, stream_deletion, stream_import, stream_listing, maintenance
);
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
        assert_eq!(misdeed("probe-loop"), Some(Misdeed::Loop));
        assert_eq!(misdeed("probe-hungry"), Some(Misdeed::Hunger));
        assert_eq!(misdeed("probe-stack"), Some(Misdeed::Recursion));
        assert_eq!(misdeed("probe-wasi-1"), Some(Misdeed::Wasi));
    }
}
