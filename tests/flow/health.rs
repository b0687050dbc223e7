//! Responses of the host itself, the OpenAPI document, and unknown paths.

use exesdb_tests::Host;
use serde_json::{Value, json};

#[test]
fn health_checks_respond() {
    let host = Host::start();
    assert_eq!(host.http.get("/health/live").expect(200).json, json!({ "status": "live" }));
    let ready = host.http.get("/health/ready").expect(200).json;
    assert_eq!((&ready["status"], &ready["stores"]), (&json!("ready"), &json!({ "main": "ready" })));
    assert_eq!(host.http.get("/health").expect(200).json, ready);
}

#[test]
fn stores_are_listed_and_described() {
    let host = Host::with_config("[[store]]\nname = \"main\"\n[[store]]\nname = \"orders\"\n");
    let orders = host.http.of("orders");
    for _ in 0..3 {
        orders.append_one("s").expect(200);
    }
    let store = |name: &str, next_position: u64| {
        let history =
            host.http.get(&format!("/v1/stores/{name}/events?count=1")).expect(200).json["history"].clone();
        json!({ "name": name, "ready": true, "next_position": next_position, "history": history })
    };
    let list = host.http.get("/v1/stores").expect(200).json;
    assert_eq!(list, json!({ "stores": [store("main", 0), store("orders", 3)] }));
    assert_eq!(host.http.get("/v1/stores/orders").expect(200).json, store("orders", 3));
    for path in ["/v1/stores", "/v1/stores/main", "/health"] {
        assert_eq!(host.http.head(path).expect(200).text, "");
        host.http.delete(path).expect_problem(405, "method-not-allowed");
        let response = host.http.get(&format!("{path}?count=1")).expect_problem(400, "invalid-argument");
        assert_eq!(response.json["field"], "count");
    }
    let unknown = host.http.get("/v1/stores/mian").expect_problem(404, "store-not-found");
    assert_eq!(unknown.json["stores"], json!(["main", "orders"]));
    assert!(unknown.detail().contains("there are `main`, `orders`"), "{}", unknown.text);
}

#[test]
fn a_host_without_a_cluster_says_so() {
    let host = Host::start();
    host.http.get("/v1/cluster").expect_problem(404, "no-cluster");
    let transfer = "/v1/cluster/stores/main/transfer-leader";
    host.http.post(transfer, &json!({})).expect_problem(404, "no-cluster");
    let unknown = transfer.replace("main", "other");
    host.http.post(&unknown, &json!({})).expect_problem(404, "store-not-found");
    host.http.get(transfer).expect_problem(405, "method-not-allowed");
    host.http.delete("/v1/cluster").expect_problem(405, "method-not-allowed");
    let query = host.http.get("/v1/cluster?store=main").expect_problem(400, "invalid-argument");
    assert_eq!(query.json["field"], "store");
    // What is meant for a cluster does not disturb.
    let response = host.http.get_with("/v1/stores/main/events", &[("exesdb-read", "linearizable")]);
    assert!(response.expect(200).json["events"].is_array());
}

#[test]
fn unknown_paths_and_stores_are_named() {
    let host = Host::start();
    for path in ["events", "streams", "streams/s", "streams/s/events", "streams/s/snapshots/latest", ""] {
        let response = host.http.get(&format!("/v1/stores/unknown/{path}"));
        let response = response.expect_problem(404, "store-not-found");
        assert!(response.detail().contains("`unknown`"), "{}", response.text);
    }
    let body = json!({ "events": [{ "type": "t", "data": 1 }] });
    host.http.post("/v1/stores/unknown/streams/s/events", &body).expect_problem(404, "store-not-found");
    for path in ["/", "/v1", "/v1/stores/main/nothing", "/v2/stores/main/events"] {
        host.http.get(path).expect_problem(404, "path-not-found");
    }
    let slash = host.http.get("/v1/stores/main/streams/a/b/events").expect_problem(404, "path-not-found");
    assert!(slash.detail().contains("%2F"), "{}", slash.text);
    host.http.delete("/v1/stores/main/events").expect_problem(405, "method-not-allowed");
    host.http.post("/v1/stores/main/streams", &json!({})).expect_problem(405, "method-not-allowed");
    host.http
        .get_with("/v1/stores/main/events", &[("accept", "text/html")])
        .expect_problem(406, "not-acceptable");
    host.http
        .post_bytes("/v1/stores/main/streams/s/events", "text/plain", b"hello")
        .expect_problem(415, "unsupported-media-type");
}

#[test]
fn every_documented_path_exists() {
    let host = Host::start();
    let api = host.http.get("/openapi.json").expect(200);
    assert_eq!(api.json["openapi"].as_str().map(|version| &version[..4]), Some("3.1."));
    let paths = api.json["paths"].as_object().unwrap();
    assert!(paths.len() >= 8, "{paths:?}");
    for (template, item) in paths {
        let path = template.replace("{store}", "main").replace("{stream}", "s").replace("{version}", "0");
        let methods =
            ["get", "put", "post", "delete"].into_iter().filter(|method| item.get(method).is_some());
        for method in methods {
            let response = match method {
                "get" => host.http.get(&path),
                "put" => host.http.put(&path, &json!({ "data": 1 })),
                "post" => host.http.post(&path, &json!({ "events": [{ "type": "t", "data": 1 }] })),
                _ => host.http.delete(&path),
            };
            assert!(
                !["path-not-found", "method-not-allowed"].contains(&response.problem())
                    && (200..500).contains(&response.status),
                "{method} {path}: {}",
                response.text
            );
            let described = item[method]["responses"].as_object().unwrap();
            let status = response.status.to_string();
            let class = format!("{}XX", &status[..1]);
            assert!(
                described.contains_key(&status)
                    || described.contains_key(&class)
                    || described.contains_key("default"),
                "{method} {template} has status {status}, which is not documented"
            );
        }
    }
    let described: Vec<&Value> = paths.values().flat_map(|item| item.as_object().unwrap().values()).collect();
    assert!(described.len() >= paths.len());
}
