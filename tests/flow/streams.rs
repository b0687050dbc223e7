//! Names and information of streams.

use exesdb_tests::{Host, NO_EVENTS};
use serde_json::{Value, json};

#[test]
fn a_stream_has_information() {
    let host = Host::start();
    let path = host.http.stream("s");
    host.http.get(&path).expect_problem(404, "stream-not-found");
    host.http.append_one("s").expect(200);
    let first = host.http.get(&path).expect(200).json;
    assert_eq!((&first["stream"], &first["last_version"]), (&json!("s"), &json!(0)));
    assert_eq!(first["created"], first["updated"]);
    host.http.append_one("s").expect(200);
    let second = host.http.get(&path).expect(200).json;
    assert_eq!((&second["last_version"], &second["created"]), (&json!(1), &first["created"]));
    let events = host.http.read("s");
    assert_eq!(second["created"], events[0]["created"]);
    assert_eq!(second["updated"], events[1]["created"]);
}

#[test]
fn names_are_listed_in_byte_order_by_prefix_and_page() {
    let host = Host::start();
    let names = ["b", "a-2", "a-10", "ä", "a-1", "A", "a/1", "日本"];
    for name in names {
        host.http.append_one(name).expect(200);
        host.http.append_one(name).expect(200);
    }
    let mut sorted = names;
    sorted.sort_unstable();
    let list = |query: &str| host.http.get(&format!("/v1/stores/main/streams{query}")).expect(200).json;
    assert_eq!(list(""), json!({ "streams": sorted, "more": false }));
    let table: [(&str, &[&str], bool); 7] = [
        ("?prefix=a", &["a-1", "a-10", "a-2", "a/1"], false),
        ("?prefix=a-1", &["a-1", "a-10"], false),
        ("?prefix=%C3%A4", &["ä"], false),
        ("?prefix=zzz", &[], false),
        ("?count=2", &["A", "a-1"], true),
        ("?after=a-10&count=2", &["a-2", "a/1"], true),
        ("?prefix=a&after=a-10&count=2", &["a-2", "a/1"], false),
    ];
    for (query, expected, more) in table {
        assert_eq!(list(query), json!({ "streams": expected, "more": more }), "{query}");
    }
    let mut walked: Vec<Value> = Vec::new();
    loop {
        let after = walked.last().map_or(String::new(), |name| {
            format!("&after={}", exesdb_tests::encoded(name.as_str().unwrap()))
        });
        let page = list(&format!("?count=3{after}"));
        walked.extend(page["streams"].as_array().unwrap().iter().cloned());
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(walked, sorted.map(|name| json!(name)));
}

#[test]
fn any_name_without_control_characters_works() {
    let host = Host::start();
    let longest = "x".repeat(256);
    let longest_unicode = "ä".repeat(128);
    let names = [
        "a",
        "a/b",
        "/",
        "//",
        ".",
        "..",
        "../..",
        "a b",
        " ",
        "+",
        "%",
        "%2F",
        "a?b=c",
        "#",
        "&",
        "latest",
        "snapshots",
        "events",
        "\"",
        "\\",
        "'",
        "ä",
        "日本語",
        "\u{1f600}",
        "e\u{301}",
        "\u{feff}",
        "\u{202e}abc",
        "\u{10ffff}",
        "a:b",
        "case:concept:name",
        &longest,
        &longest_unicode,
    ];
    for (number, name) in names.iter().enumerate() {
        let response = host.http.append(name, "no_stream", &[json!({ "type": "t", "data": number })]);
        assert_eq!(response.status, 200, "{name:?}: {}", response.text);
    }
    for (number, name) in names.iter().enumerate() {
        let events = host.http.read(name);
        assert_eq!(events.len(), 1, "{name:?}");
        assert_eq!((&events[0]["stream"], &events[0]["data"]), (&json!(name), &json!(number)));
        assert_eq!(host.http.get(&host.http.stream(name)).expect(200).json["stream"], **name);
    }
    let listed = host.http.get("/v1/stores/main/streams").expect(200).json;
    assert_eq!(listed["streams"].as_array().unwrap().len(), names.len());
    assert_eq!(host.traps(), NO_EVENTS);
}
