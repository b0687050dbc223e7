//! The circuit breaker stops calls to a component that keeps crashing. Its neighbours are not affected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use exesdb_tests::{Host, Response, eventually, of_kind, probe};
use serde_json::{Value, json};

const PERSISTENCE: &str = "host/main/system/core-system/persistence-system";

/// The number of calls that would crash an instance.
const CRASHING_CALLS: usize = 1_750;

fn find<'a>(node: &'a Value, path: &str) -> Option<&'a Value> {
    if node["path"] == path {
        return Some(node);
    }
    node["children"].as_array()?.iter().find_map(|child| find(child, path))
}

/// A call that crashes an instance. Its metadata differs each time, so that no request is a repetition.
fn poison(host: &Host, number: usize) -> Response {
    let body = json!({
        "content_type": "application/x-probe-trap",
        "data_base64": "AA==",
        "metadata": { "number": number },
    });
    host.http.put("/v1/stores/main/streams/poison/snapshots/0", &body)
}

#[test]
fn crashing_snapshots_restart_no_streams_and_fail_no_append() {
    let config = format!(
        "[[store]]\nname = \"main\"\n[store.components]\nsnapshots = {:?}\n",
        probe("snapshots-probe")
    );
    let host = Host::with_config(&config);
    let (over, appended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let appending = {
        let (http, over, appended) = (host.http.clone(), over.clone(), appended.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                http.append_one("s").expect(200);
                appended.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    host.http.append_one("poison").expect(200);
    for number in 0..CRASHING_CALLS {
        let response = poison(&host, number);
        let expected = if response.problem() == "quarantined" { 500 } else { 503 };
        assert_eq!(response.status, expected, "{}", response.text);
        *kinds.entry(response.problem().to_owned()).or_default() += 1;
    }
    over.store(true, Ordering::Relaxed);
    appending.join().expect("no append failed");
    assert!(appended.load(Ordering::Relaxed) > 0);
    assert!(kinds["unavailable"] > CRASHING_CALLS / 2, "{kinds:?}");
    let tree = host.tree();
    for path in ["", "/streams", "/streams/writers", "/streams/readers", "/snapshots"] {
        let node = find(&tree, &format!("{PERSISTENCE}{path}")).unwrap();
        assert_eq!((&node["restarts"], &node["state"]), (&json!(0), &json!("running")), "{node:#}");
    }
    // The tree and the health check report it while such calls come.
    let reported = |number: usize| {
        poison(&host, CRASHING_CALLS + number);
        let tree = host.tree();
        let pool = find(&tree, &format!("{PERSISTENCE}/snapshots")).unwrap();
        let ready = host.http.get("/health/ready").expect(200).json;
        let said = ready["stores"]["main"].as_str().unwrap();
        pool["note"].as_str().is_some_and(|note| note.contains("again and again"))
            && said.starts_with("ready, but snapshots are unavailable")
    };
    let mut numbers = 0..;
    eventually("the tree and the health check report it", || reported(numbers.next()?).then_some(()));
    let events = host.json(&["events", "--json", "--kind", "breaker"]);
    assert!(of_kind(&events, "breaker").iter().any(|event| event["detail"]["is"] == "open"), "{events:#?}");
    // The breaker closes by itself when calls succeed.
    let body = json!({ "content_type": "text/plain", "data_base64": "AA==" });
    eventually("snapshots are taken again", || {
        (host.http.put("/v1/stores/main/streams/s/snapshots/0", &body).status < 300).then_some(())
    });
    let ready = host.http.get("/health/ready").expect(200).json;
    assert_eq!(ready["stores"]["main"], "ready");
}
