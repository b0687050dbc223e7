//! Snapshots: recorded, read, listed, deleted.

use exesdb_tests::Host;
use serde_json::json;

#[test]
fn snapshots_are_kept_by_version() {
    let host = Host::start();
    let at = |rest: &str| format!("{}/snapshots{rest}", host.http.stream("a/b"));
    host.http.get(&at("/latest")).expect_problem(404, "snapshot-not-found");
    assert_eq!(host.http.get(&at("")).expect(200).json["snapshots"], json!([]));
    for version in [3, 20, 100] {
        let body = json!({ "data": { "version": version }, "metadata": { "by": "test" } });
        host.http.put(&at(&format!("/{version}")), &body).expect(204);
    }
    let exact = host.http.get(&at("/20")).expect(200).json;
    assert_eq!((&exact["stream"], &exact["version"]), (&json!("a/b"), &json!(20)));
    assert_eq!((&exact["data"], &exact["metadata"]), (&json!({ "version": 20 }), &json!({ "by": "test" })));
    assert_eq!(host.http.get(&at("/latest")).expect(200).json["version"], 100);
    host.http.get(&at("/21")).expect_problem(404, "snapshot-not-found");

    // Recorded again, the last one stands.
    host.http.put(&at("/20"), &json!({ "data_base64": "AP8=", "content_type": "a/b" })).expect(204);
    let replaced = host.http.get(&at("/20")).expect(200).json;
    assert_eq!((&replaced["data_base64"], &replaced["content_type"]), (&json!("AP8="), &json!("a/b")));

    let versions = |query: &str| {
        let page = host.http.get(&at(query)).expect(200).json;
        let versions =
            page["snapshots"].as_array().unwrap().iter().map(|info| info["version"].as_u64().unwrap());
        (versions.collect::<Vec<_>>(), page["more"] == true)
    };
    assert_eq!(versions(""), (vec![100, 20, 3], false));
    assert_eq!(versions("?count=2"), (vec![100, 20], true));
    assert_eq!(versions("?before=20"), (vec![3], false));
    assert_eq!(versions("?before=3"), (vec![], false));

    host.http.delete(&at("/100")).expect(204);
    host.http.get(&at("/100")).expect_problem(404, "snapshot-not-found");
    assert_eq!(host.http.get(&at("/latest")).expect(200).json["version"], 20);
    assert!([204, 404].contains(&host.http.delete(&at("/100")).status));
    assert_eq!(host.http.read_all().len(), 0, "snapshots are no events");
}

#[test]
fn snapshots_outlive_a_crash() {
    let host = Host::start();
    let at = format!("{}/snapshots/7", host.http.stream("s"));
    host.http.put(&at, &json!({ "data": [1, 2] })).expect(204);
    let host = host.crash_and_restart();
    assert_eq!(host.http.get(&at).expect(200).json["data"], json!([1, 2]));
}
