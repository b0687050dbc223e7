//! What breaks the contract, or traps, has no effect: the step is made once more, and then the request fails alone.

use exesdb_tests::{after, last_seq, of_kind};

use super::{Exchange, LAST_CHUNK, append, get, host, path};

/// The rules that the probe breaks in its first step, and a part of what the log says.
const BREACHES: [(&str, &str); 30] = [
    ("token", "the token has 65537 bytes"),
    ("actions", "257 actions"),
    ("calls", "more than 1024 calls"),
    ("nothing", "nothing is open"),
    ("hold-alone", "nothing is open"),
    ("number", "the number 1 is in use"),
    ("cancel", "`cancel` of 7"),
    ("credit", "`credit` of 7"),
    ("held", "`held` of 7"),
    ("context", "a context of 4097 bytes"),
    ("hold", "hold 1: "),
    ("used", "1 bytes of a piece of 0"),
    ("receive", "at least 2 and at most 1"),
    ("piece", "at most 4294967295"),
    ("send", "`send` before `start`"),
    ("finish", "`finish` before `start`"),
    ("after-finish", "an action after `finish`"),
    ("starts", "`start` comes a second time"),
    ("empty-token", "empty token"),
    ("status", "99 is no status"),
    ("switching", "101 is no status"),
    ("name", "`bad name` is no name"),
    ("value", "`x-bad` has a value"),
    ("length", "content-length is not that of the body"),
    ("encoding", "`transfer-encoding` is the host's"),
    ("page-bytes", "page-bytes is 0"),
    ("large-pages", "page-bytes is 4294967295"),
    ("representation", "the representation has 257 bytes"),
    ("bulk-token", "the token has 65537 bytes"),
    ("bulk-length", "content-length is not that of the body"),
];

#[test]
fn each_breach_is_a_500_that_the_log_explains() {
    let host = host("");
    for (rule, reason) in BREACHES {
        let mark = last_seq(&host.events());
        let problem = host.http.get(&path(&format!("break/{rule}"))).expect_problem(500, "internal");
        assert!(problem.detail().contains("of its contract"), "{rule}: {}", problem.text);
        let events = after(&host.events(), mark);
        let traps = of_kind(&events, "trap");
        assert_eq!(
            (events.len(), traps.len()),
            (2, 2),
            "{rule}: it was made once more, and nothing was restarted: {events:#?}"
        );
        for trap in traps {
            assert_eq!(trap["detail"]["kind"], "contract", "{rule}");
            let said = trap["detail"]["reason"].as_str().unwrap();
            assert!(said.starts_with("broke the contract: ") && said.contains(reason), "{rule}: {said}");
        }
    }
    append(&host, "s", "it goes on");
    assert_eq!(get(&host, "read"), "page 1");
}

#[test]
fn a_breach_after_the_head_cuts_the_response_off() {
    let host = host("");
    for (rule, reason) in [
        ("late-respond", "`respond` after `start`"),
        ("late-bulk", "`bulk` after `start`"),
        ("late-start", "`start` comes a second time"),
        ("late-nothing", "nothing is open"),
        ("late-used", "1 bytes of a piece of 0"),
    ] {
        let mark = last_seq(&host.events());
        let response = Exchange::get(&host, &format!("break/{rule}")).end();
        assert!(response.is_empty() || response.starts_with("HTTP/1.1 200"), "{rule}: {response}");
        assert!(!response.ends_with(LAST_CHUNK), "{rule} has a last chunk: {response}");
        let events = after(&host.events(), mark);
        let traps = of_kind(&events, "trap");
        assert_eq!(traps.len(), 2, "{rule}: {events:#?}");
        assert!(
            traps.iter().all(|trap| trap["detail"]["reason"].as_str().unwrap().contains(reason)),
            "{traps:#?}"
        );
    }
}

#[test]
fn a_trap_affects_only_its_request() {
    let host = host("");
    let problem = host.http.get(&path("trap")).expect_problem(500, "internal");
    assert!(!problem.text.contains("as it was told"), "internals are not shown to clients: {}", problem.text);
    let cut_off = Exchange::get(&host, "trap-later").end();
    assert!(!cut_off.ends_with(LAST_CHUNK), "it has a last chunk: {cut_off}");
    let traps = host.traps();
    assert_eq!(traps.len(), 4, "{traps:#?}");
    assert!(traps.iter().all(|trap| trap["detail"]["kind"] == "trap"), "{traps:#?}");
    assert_eq!(get(&host, "read"), "page 0");
}

#[test]
fn a_step_that_traps_is_made_once_more_by_a_fresh_instance() {
    let host = host("gateway_pool_size = 1");
    for round in 1..=3 {
        // The one warm instance traps at its next call.
        assert_eq!(get(&host, "poison"), "poisoned");
        assert_eq!(get(&host, "read"), "page 0");
        assert_eq!(host.traps().len(), round);
    }
}
