//! Traps in a gateway component: they cost the request that trapped its response, and nobody else anything.

use std::io::{Read as _, Write as _};

use exesdb_tests::{Host, Load, NO_FAULTS, after, faults, last_seq, of_kind, path_of};
use serde_json::json;

/// More than any supervisor of the tree allows restarts.
const TRAPS: usize = 60;

#[test]
fn a_trap_costs_its_request_alone() {
    let host = Host::with_probes("");
    let followers: Vec<_> = (0..6).map(|_| host.http.follow("/v1/stores/main/events", None)).collect();
    let load = Load::until_refused(&host.http, "load", 4);
    load.go_on(20);
    let mark = last_seq(&host.events());
    let mut incidents = Vec::new();
    for _ in 0..TRAPS {
        let response = host.http.get("/v1/stores/main/probe/trap").expect_problem(500, "internal");
        assert!(
            !response.text.contains("as it was told"),
            "a client is not told of our inside: {}",
            response.text
        );
        incidents.push(response.json["incident"].as_str().expect("there is an incident").to_owned());
    }
    let events = after(&host.events(), mark);
    let traps = of_kind(&events, "trap");
    assert_eq!(events.len(), TRAPS, "nothing was restarted: {events:#?}");
    for (incident, trap) in incidents.iter().zip(&traps) {
        assert_eq!(trap["detail"]["incident"], **incident);
        assert!(path_of(trap).starts_with("host/main/system/gateway-system/gateway-workers/"), "{trap:#}");
        assert_eq!(
            (&trap["detail"]["kind"], &trap["detail"]["component"]),
            (&json!("trap"), &json!("gateway"))
        );
        assert!(
            trap["detail"]["reason"].as_str().unwrap().contains("the probe traps, as it was told"),
            "{trap:#}"
        );
        assert!(!trap["detail"]["backtrace"].as_array().unwrap().is_empty(), "{trap:#}");
    }
    let text = host.ok(&["events", "--kind", "trap"]);
    assert!(incidents.iter().all(|incident| text.contains(incident.as_str())), "{text}");

    // Every worker served some of them, and each serves on.
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

#[test]
fn a_trap_in_the_middle_of_an_answer_cuts_it_off() {
    let host = Host::with_probes("");
    for _ in 0..5 {
        let mark = last_seq(&host.events());
        // Read as bytes: some clients forgive a missing end, and then nothing would be seen here.
        let mut connection = host.http.connect();
        connection
            .write_all(b"GET /v1/stores/main/probe/trap-mid-response HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .expect("the host reads");
        let mut response = String::new();
        connection.read_to_string(&mut response).expect("the host closes the connection");
        // The connection may be closed before the response's beginning was on its way, but never with an end.
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 200"), "{response}");
        assert!(!response.ends_with("0\r\n\r\n"), "it has a last chunk: {response:?}");
        let trap = exesdb_tests::eventually("the trap is told of", || {
            after(&host.events(), mark).into_iter().find(|event| event["kind"] == "trap")
        });
        assert!(trap["detail"]["incident"].is_string(), "{trap:#}");
        assert!(
            trap["detail"]["reason"].as_str().unwrap().contains("in the middle of a response"),
            "{trap:#}"
        );
        host.http.get("/v1/stores/main/streams").expect(200);
    }
}
