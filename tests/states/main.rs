//! Every operation on a stream in every state: the cells of the tables in `docs/streams.md`, with the real binary, before
//! and after scavenging. And scavenging, reading and listing at sizes around the bounds of their steps.

mod copies;
mod operation;
mod sizes;
mod state;
mod table;

use exesdb_tests::Host;

use operation::Subject;
use state::State;
use table::Row;

/// A store without scavenging, and one in which everything is scavenged.
const STORES: [(&str, bool); 2] = [("kept", false), ("scavenged", true)];

/// The name of the stream for a cell of a row. No such name is a prefix of another.
fn stream_name(row: usize, state: State) -> String {
    format!("r{row}-{}", state.name().replace(' ', "-"))
}

#[test]
fn every_operation_gives_the_documented_result_in_every_state() {
    let rows = table::rows();
    let stores: String = STORES.iter().map(|(name, _)| format!("[[store]]\nname = \"{name}\"\n")).collect();
    let host = Host::with_config(&stores);
    let mut differences = Vec::new();
    for (store, scavenged) in STORES {
        let http = host.http.of(store);
        for (number, _) in rows.iter().enumerate() {
            for state in State::ALL {
                state.bring_about(&http, &stream_name(number, state));
            }
        }
        if scavenged {
            host.ok(&["scavenge", "--store", store]);
        }
        for (number, Row { operation, results }) in rows.iter().enumerate() {
            for (state, wanted) in State::ALL.into_iter().zip(results) {
                let subject =
                    Subject { host: &host, http: &http, store, stream: stream_name(number, state), state };
                let result = operation::perform(&subject, operation);
                if result != *wanted {
                    differences
                        .push(format!("{store}, {operation}, {}: {result}, not {wanted}", state.name()));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} cells differ:\n{}", differences.len(), differences.join("\n"));
    // The written data is valid after all of that.
    let down = host.stop().down;
    for (store, _) in STORES {
        let output = down.exesdb(&["doctor", "--store", store]);
        assert!(output.status.success(), "{store}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
