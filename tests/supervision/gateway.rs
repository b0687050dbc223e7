//! Traps in a gateway component affect only the request that trapped.

use std::io::{Read as _, Write as _};

use exesdb_tests::{Host, Load, NO_FAULTS, after, faults, last_seq, of_kind, path_of};
use serde_json::json;

/// More than the restart intensity of any supervisor in the tree.
const TRAPS: usize = 60;

#[test]
fn a_trap_affects_only_its_request() {
    let host = Host::with_probes("");
    let followers: Vec<_> = (0..6).map(|_| host.http.follow("/v1/stores/main/events", None)).collect();
    let load = Load::until_refused(&host.http, "load", 4);
    load.go_on(20);
    // A step that traps is made once more, and the client gets the second crash.
    let incidents = trap_often(&host, 2);
    let text = host.ok(&["events", "--kind", "trap"]);
    assert!(incidents.iter().all(|incident| text.contains(incident.as_str())), "{text}");

    // Every worker had traps, and each still serves.
    for _ in 0..6 {
        host.http.get("/v1/stores/main/streams").expect(200);
    }
    let report = load.finish();
    report.expect_no_refusal();
    let all = host.http.read_all();
    assert_eq!(faults(&all, &report.appends), NO_FAULTS);
    for follower in followers {
        assert_eq!(follower.take(all.len()), all);
        assert!(follower.is_silent());
    }
}

/// Has the gateway of `main` trap again and again, `crashes` times for each request, and checks what is told about it. Returns
/// the incidents.
pub(crate) fn trap_often(host: &Host, crashes: usize) -> Vec<String> {
    let mark = last_seq(&host.events());
    let mut incidents = Vec::new();
    for _ in 0..TRAPS {
        let response = host.http.get("/v1/stores/main/probe/trap").expect_problem(500, "internal");
        assert!(
            !response.text.contains("as it was told"),
            "internals are not shown to clients: {}",
            response.text
        );
        incidents.push(response.json["incident"].as_str().expect("there is an incident").to_owned());
    }
    let events = after(&host.events(), mark);
    let traps = of_kind(&events, "trap");
    assert_eq!(events.len(), crashes * TRAPS, "nothing was restarted: {events:#?}");
    for (incident, trap) in incidents.iter().zip(traps.iter().skip(crashes - 1).step_by(crashes)) {
        assert_eq!(trap["detail"]["incident"], **incident);
        assert!(path_of(trap).starts_with("host/main/system/gateway-system/gateway-workers/"), "{trap:#}");
        assert_eq!(
            (&trap["detail"]["kind"], &trap["detail"]["component"]),
            (&json!("trap"), &json!("gateway"))
        );
        assert!(
            trap["detail"]["reason"]
                .as_str()
                .expect("a trap has a reason")
                .contains("the probe traps, as it was told"),
            "{trap:#}"
        );
        assert!(trap["detail"]["backtrace"].as_array().is_some_and(|frames| !frames.is_empty()), "{trap:#}");
    }
    incidents
}

#[test]
fn a_trap_in_the_middle_of_a_response_cuts_it_off() {
    let host = Host::with_probes("");
    cut_off_often(&host, "/v1/stores/main/streams");
}

/// Has the gateway of `main` trap in the middle of responses, after each of which it serves a path.
pub(crate) fn cut_off_often(host: &Host, served: &str) {
    for _ in 0..5 {
        let mark = last_seq(&host.events());
        // Raw bytes, because some clients accept a response without an end.
        let mut connection = host.http.connect();
        connection
            .write_all(b"GET /v1/stores/main/probe/trap-mid-response HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .expect("the host reads");
        let mut response = String::new();
        connection.read_to_string(&mut response).expect("the host closes the connection");
        // The connection may close before the head was sent, but never after a complete response.
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(!response.ends_with("0\r\n\r\n"), "it has a last chunk: {response:?}");
        let trap = exesdb_tests::eventually("the trap is in the telemetry", || {
            after(&host.events(), mark).into_iter().find(|event| event["kind"] == "trap")
        });
        assert!(trap["detail"]["incident"].is_string(), "{trap:#}");
        assert!(
            trap["detail"]["reason"]
                .as_str()
                .expect("a trap has a reason")
                .contains("in the middle of a response"),
            "{trap:#}"
        );
        host.http.get(served).expect(200);
    }
}
