//! Snapshots: recorded, read, listed, deleted.

use exesdb_tests::Host;
use serde_json::json;

#[test]
fn snapshots_are_kept_by_version() {
    let host = Host::start();
    let at = |rest: &str| format!("{}/snapshots{rest}", host.http.stream("a/b"));
    host.http.get(&at("/latest")).expect_problem(404, "snapshot-not-found");
    assert_eq!(host.http.get(&at("")).expect(200).json["snapshots"], json!([]));
    let early = json!({ "data": 1 });
    host.http.put(&at("/0"), &early).expect_problem(409, "no-such-version");
    host.http.append_many("a/b", 101).expect(200);
    host.http.put(&at("/101"), &early).expect_problem(409, "no-such-version");
    for version in [3, 20, 100] {
        let body = json!({ "data": { "version": version }, "metadata": { "by": "test" } });
        host.http.put(&at(&format!("/{version}")), &body).expect(204);
    }
    let exact = host.http.get(&at("/20")).expect(200).json;
    assert_eq!((&exact["stream"], &exact["version"]), (&json!("a/b"), &json!(20)));
    assert_eq!((&exact["data"], &exact["metadata"]), (&json!({ "version": 20 }), &json!({ "by": "test" })));
    assert_eq!(host.http.get(&at("/latest")).expect(200).json["version"], 100);
    host.http.get(&at("/21")).expect_problem(404, "snapshot-not-found");

    // The last one of a version replaces earlier ones.
    host.http.put(&at("/20"), &json!({ "data_base64": "AP8=", "content_type": "a/b" })).expect(204);
    let replaced = host.http.get(&at("/20")).expect(200).json;
    assert_eq!((&replaced["data_base64"], &replaced["content_type"]), (&json!("AP8="), &json!("a/b")));

    let versions = |query: &str| {
        let page = host.http.get(&at(query)).expect(200).json;
        let versions =
            page["snapshots"].as_array().unwrap().iter().map(|info| info["version"].as_u64().unwrap());
        (versions.collect::<Vec<_>>(), page["next"].as_str().map(str::to_owned))
    };
    assert_eq!(versions(""), (vec![100, 20, 3], None));
    let (two, next) = versions("?count=2");
    assert_eq!(two, [100, 20]);
    let next = next.expect("one more follows");
    assert_eq!(versions(&format!("?after={}", exesdb_tests::encoded(&next))), (vec![3], None));

    host.http.delete(&at("/100")).expect(204);
    host.http.get(&at("/100")).expect_problem(404, "snapshot-not-found");
    assert_eq!(host.http.get(&at("/latest")).expect(200).json["version"], 20);
    assert!([204, 404].contains(&host.http.delete(&at("/100")).status));
    assert_eq!(host.http.read_all().len(), 101, "snapshots are no events");
}

#[test]
fn each_source_has_its_own_snapshots() {
    let host = Host::start();
    let at = |stream: &str, rest: &str| format!("{}/snapshots{rest}", host.http.stream(stream));
    host.http.append_many("a", 6).expect(200);
    host.http.append_many("b", 3).expect(200);
    for (stream, source, version) in
        [("a", "balance", 1), ("a", "balance", 5), ("a", "totals", 3), ("b", "balance", 2)]
    {
        let path = at(stream, &format!("/{version}?source={source}"));
        host.http.put(&path, &json!({ "data": [stream, source, version] })).expect(204);
    }
    let latest = |rest: &str| host.http.get(&at("a", &format!("/latest?{rest}"))).expect(200).json;
    assert_eq!(latest("source=balance")["version"], 5);
    assert_eq!(latest("source=balance&at_most=4")["data"], json!(["a", "balance", 1]));
    assert_eq!(latest("source=totals")["version"], 3);
    host.http.get(&at("a", "/latest?source=totals&at_most=2")).expect_problem(404, "snapshot-not-found");
    host.http.get(&at("a", "/latest")).expect_problem(404, "snapshot-not-found");

    let list = |path: &str| {
        let page = host.http.get(path).expect(200).json;
        let of = |info: &serde_json::Value| {
            let text = |name: &str| info[name].as_str().unwrap_or_default().to_owned();
            (text("stream"), text("source"), info["version"].as_u64().unwrap())
        };
        page["snapshots"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let id = |stream: &str, source: &str, version| (stream.to_owned(), source.to_owned(), version);
    let of_source = list("/v1/stores/main/snapshots?source=balance");
    assert_eq!(of_source, [id("a", "balance", 5), id("a", "balance", 1), id("b", "balance", 2)]);
    let of_stream = [id("a", "balance", 5), id("a", "balance", 1), id("a", "totals", 3)];
    assert_eq!(list(&at("a", "")), of_stream);
    assert_eq!(list("/v1/stores/main/snapshots").len(), 4);

    let pruned = host.http.delete(&at("a", "?keep=1&source=balance")).expect(200).json;
    assert_eq!(pruned["deleted"], 1);
    assert_eq!(list(&at("a", "?source=balance")), [id("a", "balance", 5)]);
    assert_eq!(list("/v1/stores/main/snapshots?source=balance").len(), 2);
}

#[test]
fn snapshots_survive_a_crash() {
    let host = Host::start();
    let at = format!("{}/snapshots/7", host.http.stream("s"));
    host.http.append_many("s", 8).expect(200);
    host.http.put(&at, &json!({ "data": [1, 2] })).expect(204);
    let host = host.crash_and_restart();
    assert_eq!(host.http.get(&at).expect(200).json["data"], json!([1, 2]));
}

#[test]
fn snapshots_are_hidden_when_their_stream_is_deleted() {
    let host = Host::start();
    let stream = host.http.stream("s");
    let at = |rest: &str| format!("{stream}/snapshots{rest}");
    host.http.append_many("s", 3).expect(200);
    for source in ["", "?source=q"] {
        host.http.put(&at(&format!("/2{source}")), &json!({ "data": "of the first life" })).expect(204);
    }
    host.http.delete(&stream).expect(204);
    host.http.get(&at("/latest")).expect_problem(404, "snapshot-not-found");
    host.http.delete(&at("/2")).expect_problem(404, "snapshot-not-found");
    assert_eq!(host.http.delete(&at("?keep=1")).expect(200).json["deleted"], 0);
    // A stream that began again has only the snapshots after its beginning.
    host.http.append_many("s", 2).expect(200);
    host.http.get(&at("/2")).expect_problem(404, "snapshot-not-found");
    let refused = host.http.put(&at("/2"), &json!({ "data": 1 })).expect_problem(409, "no-such-version");
    assert!(refused.detail().contains("versions 3 to 4"), "{}", refused.text);
    host.http.put(&at("/4"), &json!({ "data": "of the second life" })).expect(204);
    let latest = |host: &Host| host.http.get(&at("/latest")).expect(200).json["data"].clone();
    assert_eq!(latest(&host), "of the second life");
    host.ok(&["scavenge"]);
    assert_eq!(latest(&host), "of the second life");
    let host = host.crash_and_restart();
    assert_eq!(latest(&host), "of the second life");
    host.http.delete(&format!("{stream}?tombstone=true")).expect(204);
    host.http.get(&at("/latest")).expect_problem(404, "snapshot-not-found");
    let output = host.exesdb(&["snapshot", "latest", "s"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
}
