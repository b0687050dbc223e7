//! Whole requests and their responses.

use exesdb_gateway_http::limits::REQUEST_BYTES_MAX;
use exesdb_sdk::types::{Error, HistoryChange, IdConflict, problem};
use serde_json::json;

use crate::client::Request;
use crate::store::TestStore;

#[test]
fn an_append_returns_versions_and_position() {
    let mut store = TestStore::with(&["other"]);
    let body = r#"{"expected_version":"no_stream","events":[{"type":"a","data":1},{"type":"b","data":2,"id":"mine"}]}"#;
    let append = Request::append("a%2Fb", body).header("content-type", "application/json");
    let response = append.send(&mut store);
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    assert_eq!(
        response.text(),
        r#"{"first_version":0,"last_version":1,"position":2,"history":"00000000000000aa"}"#
    );
    let events = store.events();
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!((ids[0], ids[1].len(), ids[2]), ("id-0", 36, "mine"));
    assert!(events.iter().skip(1).all(|event| event.stream_id == "a/b"));

    assert_eq!(append.send(&mut store).body, response.body, "a repetition gets the same response");
    let body = r#"{"expected_version":"no_stream","events":[{"type":"a","data":1,"id":"new"}]}"#;
    let conflict = Request::append("a%2Fb", body).send(&mut store);
    assert_eq!((conflict.status, conflict.problem().as_str()), (409, "wrong-expected-version"));
    assert_eq!(conflict.json()["actual_version"], json!(1));
    assert_eq!(conflict.json()["stream"], json!("a/b"));
    let missing = Request::append("s", r#"{"expected_version":0,"events":[{"type":"a","data":1}]}"#);
    let response = missing.send(&mut store);
    assert_eq!((response.status, &response.json()["actual_version"]), (409, &json!(null)));
    assert_eq!(store.end(), 3);
}

#[test]
fn events_without_an_id_get_unique_ones() {
    let mut store = TestStore::default();
    let events = vec![r#"{"type":"t","data":1}"#; 20].join(",");
    Request::append("s", format!(r#"{{"events":[{events}]}}"#)).send(&mut store);
    let events = store.events();
    let mut ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert!(ids.iter().all(|id| id.len() == 36));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

#[test]
fn a_body_over_the_limit_is_refused() {
    let mut store = TestStore::default();
    let body = vec![b' '; REQUEST_BYTES_MAX + 1];
    for request in [
        Request::append("s", body.clone()),
        Request::new("PUT", "/v1/stores/m/streams/s/snapshots/1").body(body.clone()),
        Request::new("PUT", "/v1/stores/m/streams/s/retention").body(body.clone()),
        Request::new("POST", "/v1/stores/m/transactions").body(body.clone()),
        Request::new("POST", "/v1/stores/m/import").body(body.clone()),
        Request::new("POST", "/v1/stores/m/import/states").body(body.clone()),
        Request::append("s", body).header("content-type", "application/vnd.exesdb.packed"),
    ] {
        let response = request.send(&mut store);
        assert_eq!((response.status, response.problem().as_str()), (413, "too-large"));
        assert_eq!(response.json()["limit"], json!(REQUEST_BYTES_MAX));
        assert!(response.text().contains("4194304 bytes"), "{}", response.text());
    }
}

#[test]
fn errors_of_the_store_become_problems() {
    for (error, status, kind) in [
        (
            Error::IdConflict(IdConflict { stream_id: "s".to_owned(), id: "x".to_owned(), last_version: 1 }),
            409,
            "event-id-conflict",
        ),
        (Error::HistoryChanged(HistoryChange { history_id: 1, end: 2 }), 409, "history-changed"),
        (Error::NotFound, 404, "stream-not-found"),
        (problem("too-large", "why"), 413, "too-large"),
        (problem("restarting", "why"), 503, "restarting"),
        (problem("overloaded", "why"), 503, "overloaded"),
        (problem("read-only", "why"), 503, "read-only"),
        (Error::StreamDeleted("s".to_owned()), 410, "stream-deleted"),
        (problem("unavailable", "why"), 503, "unavailable"),
        (problem("quarantined", "why"), 500, "quarantined"),
        (problem("damaged", "why"), 500, "damaged"),
        (problem("denied", "why"), 403, "denied"),
        (problem("other", "why"), 500, "internal"),
    ] {
        let mut store = TestStore { failure: Some(error), ..TestStore::default() };
        for request in [
            Request::append("s", r#"{"events":[{"type":"a","data":1}]}"#),
            Request::get("/v1/stores/main/streams/s/events"),
            Request::get("/v1/stores/main/streams/s"),
        ] {
            let response = request.send(&mut store);
            assert_eq!((response.status, response.problem().as_str()), (status, kind));
            assert_eq!(response.header("retry-after"), (status == 503).then_some("1"));
        }
        assert_eq!(store.failures_logged.len(), if kind == "internal" { 3 } else { 0 });
    }
}

#[test]
fn streams_are_listed_and_described() {
    let mut store = TestStore::with(&["b", "a/1", "a/2", "a/1"]);
    for (query, names, more) in [
        ("", json!(["a/1", "a/2", "b"]), false),
        ("?count=2", json!(["a/1", "a/2"]), true),
        ("?prefix=a%2F&after=a%2F1", json!(["a/2"]), false),
        ("?after=z", json!([]), false),
    ] {
        let response = Request::get(&format!("/v1/stores/main/streams{query}")).send(&mut store);
        assert_eq!(response.json(), json!({"streams": names, "more": more}), "{query}");
    }
    let info = Request::get("/v1/stores/main/streams/a%2F1").send(&mut store);
    assert_eq!(
        info.json(),
        json!({
            "stream": "a/1", "state": "live", "first_version": 0, "last_version": 1, "retention": {},
            "created": "1970-01-01T00:00:00.000001Z", "updated": "1970-01-01T00:00:00.000003Z",
        })
    );
    let missing = Request::get("/v1/stores/main/streams/nothing").send(&mut store);
    assert_eq!((missing.status, missing.problem().as_str()), (404, "stream-not-found"));
}

#[test]
fn snapshots_are_recorded_read_and_deleted() {
    let mut store = TestStore::default();
    let path = |rest: &str| format!("/v1/stores/main/streams/s/snapshots{rest}");
    for version in [3, 20] {
        let put = Request::new("PUT", &path(&format!("/{version}"))).body(r#"{"data":{"sum":1}}"#);
        let response = put.send(&mut store);
        assert_eq!((response.status, response.has_body()), (204, false));
    }
    let bytes = r#"{"data_base64":"AA==","content_type":"a/b","metadata":{"m":1}}"#;
    assert_eq!(Request::new("PUT", &path("/4")).body(bytes).send(&mut store).status, 204);

    let latest = Request::get(&path("/latest")).send(&mut store);
    assert_eq!(latest.json()["version"], json!(20));
    assert_eq!(
        Request::get(&path("/4")).send(&mut store).json(),
        json!({
            "stream": "s", "version": 4, "data_base64": "AA==", "content_type": "a/b", "metadata": {"m": 1},
            "created": "1970-01-01T00:00:00.000000Z",
        })
    );
    let delete = Request::new("DELETE", &path("/4"));
    let deleted = delete.send(&mut store);
    assert_eq!((deleted.status, deleted.has_body()), (204, false));
    for request in [delete, Request::get(&path("/4"))] {
        let response = request.send(&mut store);
        assert_eq!((response.status, response.problem().as_str()), (404, "snapshot-not-found"));
    }
}

#[test]
fn each_source_has_its_own_snapshots() {
    let mut store = TestStore::default();
    let target = |rest: &str| format!("/v1/stores/main/streams/{rest}");
    let put = |at: &str| Request::new("PUT", &target(at)).body(r#"{"data":1}"#);
    for at in ["s/snapshots/1", "s/snapshots/2?source=p", "s/snapshots/3?source=p", "t/snapshots/9?source=p"]
    {
        assert_eq!(put(at).send(&mut store).status, 204);
    }
    let latest = |query: &str| Request::get(&target(&format!("s/snapshots/latest{query}")));
    for (query, version) in [("", Some(1)), ("?source=p", Some(3)), ("?source=p&at_most=2", Some(2))] {
        let found = latest(query).send(&mut store).json();
        assert_eq!(found["version"].as_u64(), version, "{query}");
        assert_eq!(found.get("source").is_some(), query.contains("source=p"), "{query}");
    }
    for query in ["?at_most=0", "?source=q", "?source=p&at_most=1"] {
        assert_eq!(latest(query).send(&mut store).problem(), "snapshot-not-found", "{query}");
    }
    let pruned = Request::new("DELETE", &target("s/snapshots?keep=1&source=p")).send(&mut store);
    assert_eq!((pruned.status, pruned.json()), (200, json!({"deleted": 1})));
    let left = Request::get("/v1/stores/main/snapshots?source=p").send(&mut store).json();
    let left: Vec<_> = left["snapshots"].as_array().unwrap().iter().map(|info| &info["version"]).collect();
    assert_eq!(left, [&json!(3), &json!(9)]);
}

#[test]
fn lists_of_snapshots_continue_after_their_cursor() {
    let mut store = TestStore::default();
    for at in ["b/snapshots/1", "a/snapshots/1", "a/snapshots/2", "a/snapshots/1?source=p"] {
        let put = Request::new("PUT", &format!("/v1/stores/main/streams/{at}")).body(r#"{"data":1}"#);
        assert_eq!(put.send(&mut store).status, 204);
    }
    for (list, expected) in [
        ("snapshots", vec!["a//2", "a//1", "a/p/1", "b//1"]),
        ("streams/a/snapshots", vec!["a//2", "a//1", "a/p/1"]),
        ("snapshots?source=", vec!["a//2", "a//1", "b//1"]),
        ("snapshots?stream=a&source=p", vec!["a/p/1"]),
        ("streams/c/snapshots", vec![]),
    ] {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let joint = if list.contains('?') { '&' } else { '?' };
            let target = format!("/v1/stores/main/{list}{joint}count=1{after}");
            let page = Request::get(&target).send(&mut store).json();
            for info in page["snapshots"].as_array().unwrap() {
                let source = info.get("source").map_or("", |source| source.as_str().unwrap());
                found.push(format!("{}/{source}/{}", info["stream"].as_str().unwrap(), info["version"]));
            }
            match page.get("next") {
                Some(next) => after = format!("&after={}", next.as_str().unwrap()),
                None => break,
            }
        }
        assert_eq!(found, expected, "{list}");
    }
}

#[test]
fn an_imported_snapshot_keeps_its_time() {
    let mut store = TestStore::default();
    let path = "/v1/stores/main/streams/s/snapshots/1";
    let put = Request::new("PUT", &format!("{path}?created=2009-02-13T23:31:30.123456Z"));
    assert_eq!(put.body(r#"{"data":1}"#).send(&mut store).status, 204);
    let read = Request::get(path).send(&mut store).json();
    assert_eq!(read["created"], json!("2009-02-13T23:31:30.123456Z"));
}

#[test]
fn a_deleted_stream_is_described_but_not_read() {
    let mut store = TestStore::with(&["s", "s"]);
    let path = "/v1/stores/main/streams/s";
    let wrong = Request::new("DELETE", &format!("{path}?expected_version=0")).send(&mut store);
    assert_eq!((wrong.status, wrong.problem().as_str()), (409, "wrong-expected-version"));
    let deleted = Request::new("DELETE", &format!("{path}?expected_version=1")).send(&mut store);
    assert_eq!((deleted.status, deleted.has_body()), (204, false));
    let info = Request::get(path).send(&mut store).json();
    assert_eq!((&info["state"], &info["last_version"]), (&json!("deleted"), &json!(1)));
    assert_eq!(info.get("first_version"), None);
    for request in [
        Request::get(&format!("{path}/events")),
        Request::new("DELETE", path),
        Request::new("DELETE", "/v1/stores/main/streams/t"),
    ] {
        assert_eq!(request.send(&mut store).problem(), "stream-not-found");
    }
}

#[test]
fn retention_is_replaced_as_a_whole() {
    let mut store = TestStore::with(&["s"]);
    let put = |body: &str| Request::new("PUT", "/v1/stores/main/streams/s/retention").body(body);
    for (body, expected) in [
        (r#"{"max_count":3,"max_age_seconds":60}"#, json!({"max_count": 3, "max_age_seconds": 60})),
        ("{}", json!({})),
        (r#"{"truncate_before":1,"max_count":null}"#, json!({"truncate_before": 1})),
    ] {
        let response = put(body).send(&mut store);
        assert_eq!((response.status, response.has_body()), (204, false), "{}", response.text());
        let info = Request::get("/v1/stores/main/streams/s").send(&mut store).json();
        assert_eq!(info["retention"], expected);
    }
    let missing = Request::new("PUT", "/v1/stores/main/streams/t/retention").body("{}").send(&mut store);
    assert_eq!((missing.status, missing.problem().as_str()), (404, "stream-not-found"));
}

#[test]
fn head_responds_like_get_without_a_body() {
    let mut store = TestStore::with(&["s"]);
    for target in [
        "/openapi.json",
        "/v1/stores/main/events",
        "/v1/stores/main/streams/s",
        "/v1/stores/main/streams/missing",
        "/nowhere",
    ] {
        let get = Request::get(target).send(&mut store);
        let head = Request::new("HEAD", target).send(&mut store);
        // For a response with a body, `content-length` is added when it is written.
        let mut headers = get.headers.clone();
        headers.push(("content-length".to_owned(), get.body.len().to_string()));
        assert_eq!((head.status, &head.headers), (get.status, &headers), "{target}");
        assert!(get.has_body() && !head.has_body(), "{target}");
    }
    let follow = Request::new("HEAD", "/v1/stores/main/events").header("accept", "text/event-stream");
    let response = follow.send(&mut store);
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/event-stream")));
    assert!(!response.has_body() && store.waits.is_empty());
}

#[test]
fn a_wrong_method_gets_the_allowed_ones() {
    let response =
        Request::new("PATCH", "/v1/stores/main/streams/s/snapshots/1").send(&mut TestStore::default());
    assert_eq!((response.status, response.problem().as_str()), (405, "method-not-allowed"));
    assert_eq!(response.header("allow"), Some("GET, HEAD, PUT, DELETE"));
}
