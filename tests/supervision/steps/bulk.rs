//! Bulk reads: pages, marks and endings.

use exesdb_tests::Host;

use super::{Exchange, LAST_CHUNK, append, get, host, path};

fn filled(main: &str, events: usize) -> Host {
    let host = host(main);
    for event in 0..events {
        append(&host, "s", &format!("event {event}"));
    }
    host
}

#[test]
fn a_read_is_sent_page_by_page_and_concluded() {
    let host = filled("", 4);
    for (kind, expected) in [
        ("all", "opening [0 1 2 3] complete at Some(4)"),
        ("small", "opening [0][1][2][3] complete at Some(4)"),
        ("few", "opening [0 1] complete at Some(2)"),
        ("backward", "opening [3 2 1 0] complete at None"),
    ] {
        assert_eq!(get(&host, &format!("bulk/{kind}")), expected, "{kind}");
    }
    // Frames as they are: each begins with its position.
    let frames = get(&host, "bulk/as-is");
    assert!(
        frames.contains("event 0") && frames.contains("event 3") && !frames.contains("opening"),
        "{frames}"
    );
    assert_eq!(host.http.head(&path("bulk/all")).expect(200).text, "");
}

#[test]
fn a_read_that_fails_before_its_head_is_a_step() {
    let host = filled("", 1);
    for (kind, expected) in [
        ("missing", "not found"),
        ("history", "history changed, end 1"),
        ("beyond", "history changed, end 1"),
        ("trap", "problem other unknown false"),
        ("refuse", "invalid page"),
    ] {
        assert_eq!(host.http.get(&path(&format!("bulk/{kind}"))).expect(404).text, expected, "{kind}");
    }
    assert_eq!(host.traps().len(), 2, "the page was encoded once more");
}

#[test]
fn a_page_that_takes_too_long_is_halved() {
    let host = filled("[store.limits]\ncall_cpu_ms = 100", 5);
    assert_eq!(get(&host, "bulk/halved"), "opening [0][1][2][3][4] complete at Some(5)");
    let traps = host.traps();
    assert!(!traps.is_empty() && traps.iter().all(|trap| trap["detail"]["kind"] == "deadline"), "{traps:#?}");
}

#[test]
fn a_read_that_fails_later_is_concluded_or_cut_off() {
    let host = filled("", 4);
    // Pages of one event each.
    let failed = get(&host, "bulk/trap-third");
    // The read goes on with the event that was not sent.
    assert_eq!(failed, "opening [0][1] failed, problem other unknown false at Some(2)");
    let cut_off = Exchange::get(&host, "bulk/trap-conclude").end();
    assert!(!cut_off.ends_with(LAST_CHUNK), "it has a last chunk: {cut_off}");
    assert_eq!(get(&host, "echo").split(' ').next(), Some("GET"));
    let host = filled("", 2);
    let mut follower = Exchange::get(&host, "live/trap-third.all.0");
    follower.until("(idle 2)");
    append(&host, "s", "third");
    follower.until(" failed, problem other unknown false at Some(2)");
}

#[test]
fn a_follower_is_told_what_happens() {
    let host = filled("", 2);
    let mut all = Exchange::get(&host, "follow/");
    let mut missing = Exchange::get(&host, "follow/later");
    let shown = all.until("(caught-up 2)");
    assert!(shown.contains("opening ") && shown.contains("[0 1]"), "{shown}");
    // A stream without events is waited for.
    missing.until("(caught-up 0)");
    append(&host, "later", "at last");
    all.until("[0]");
    missing.until("[0]");
    missing.until("(idle 1)");
    missing.until("(idle 1)");
    let before = all.until("(idle 3)");
    assert!(!before.contains("caught-up") && !before.contains("fell-behind"), "{before}");
    host.signal("TERM");
    all.until(" stopping at Some(3)");
    all.until(LAST_CHUNK);
    missing.until(" stopping at Some(1)");
    missing.until(LAST_CHUNK);
    host.ended();
}

#[test]
fn many_followers_hold_no_instances() {
    // More than a store with these limits has instances.
    const FOLLOWERS: usize = 60;
    let host = filled("gateway_pool_size = 1\n[store.limits]\ngateway_instances_per_worker = 2", 1);
    let mut followers: Vec<Exchange> = (0..FOLLOWERS).map(|_| Exchange::get(&host, "follow/")).collect();
    for follower in &mut followers {
        follower.until("(caught-up 1)");
    }
    append(&host, "s", "for all");
    for follower in &mut followers {
        follower.until("[1]");
    }
    assert_eq!(get(&host, "read"), "page 2");
}
