//! The OpenAPI document and the gateway agree about routes, parameters, fields, limits and problems.

use std::collections::BTreeSet;

use exesdb_api_document::{Document, Exchange, Head as ResponseHead, Operation, object, strings};
use exesdb_gateway_http::OPENAPI;
use exesdb_gateway_http::limits;
use exesdb_gateway_http::problem::Kind;
use exesdb_gateway_http::request::Head;
use exesdb_gateway_http::route::{Resource, route};
use exesdb_sdk::arguments;
use exesdb_sdk::steps::double::Supply;
use serde_json::{Value, json};

use crate::client::{Request, TestResponse};
use crate::host;
use crate::store::TestStore;

/// Kinds of problems that only the host returns.
const OF_HOST: [&str; 6] =
    ["store-not-found", "unavailable", "foreign-origin", "foreign-host", "no-cluster", "leader-not-moved"];

/// Responses of the host for all paths, which are no problems.
const WITHOUT_BODY: [&str; 2] = ["Preflight", "NotHttp"];

pub(crate) fn document() -> Document {
    Document::parse(OPENAPI).expect("the document is JSON")
}

/// Checks a response against the document.
#[track_caller]
pub(crate) fn assert_documented(document: &Document, method: &str, path: &str, response: &TestResponse) {
    // The host adds the length of a body that is sent with its head.
    let mut headers = response.headers.clone();
    if response.has_body() && response.is_sent_at_once {
        headers.push(("content-length".to_owned(), response.body.len().to_string()));
    }
    let head = ResponseHead { method, path, status: response.status, headers: &headers };
    let exchange = Exchange { head, body: &response.body, is_whole: response.is_whole };
    assert_eq!(document.check_exchange(&exchange), Ok(()), "{method} {path}: {}", response.text());
}

#[track_caller]
fn conforms(document: &Document, value: &Value, schema: &Value, what: &str) {
    if let Err(error) = document.check(value, schema, what) {
        panic!("{error}");
    }
}

/// The operations that the component serves.
fn operations(document: &Document) -> Vec<Operation<'_>> {
    document.operations().into_iter().filter(|operation| !operation.is_of_host()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn routes_and_methods_are_the_same() {
    let document = document();
    let documented: BTreeSet<(String, String)> = operations(&document)
        .into_iter()
        .map(|operation| (operation.template.to_owned(), operation.method))
        .collect();
    let known = Resource::ALL.into_iter().flat_map(|resource| {
        // HEAD is documented once for all paths.
        let methods = resource.allow().split(", ").filter(|method| *method != "HEAD");
        methods.map(move |method| (resource.template().to_owned(), method.to_owned()))
    });
    assert_eq!(documented, known.collect());
    assert!(text(&document.value()["info"]["description"]).contains("**HEAD**"));
    for of_host in ["/health/live", "/v1/cluster"] {
        assert!(text(&document.value()["info"]["description"]).contains(of_host));
    }
}

#[test]
fn documented_examples_get_documented_responses() {
    let document = document();
    for documented in operations(&document) {
        let Operation { template, operation, ref method, .. } = documented;
        let mut target = template.to_owned();
        for parameter in document.parameters(&documented, "path") {
            let name = format!("{{{}}}", text(&parameter["name"]));
            target = target.replace(&name, &percent_encoded(&text(&parameter["example"])));
        }
        let target = target.replace("%31", "1");
        assert!(!target.contains('{'), "{target}");
        // Parameters that exclude each other have no example.
        let query: Vec<String> = document
            .parameters(&documented, "query")
            .into_iter()
            .filter(|parameter| parameter.get("example").is_some())
            .map(|parameter| {
                format!("{}={}", text(&parameter["name"]), percent_encoded(&text(&parameter["example"])))
            })
            .collect();
        let mut store = TestStore::default();
        if template.ends_with("/transactions") {
            // The condition in the example names a position, which the store must have reached.
            store = TestStore::with(&["account/9"; 42]);
        }
        if template.ends_with("/import") {
            // The example continues an import: three rows of its source were imported before.
            let event = |row| {
                format!(
                    r#"{{"stream":"account/7","version":{row},"created":1,"id":"{row}","type":"t","data":1}}"#
                )
            };
            let body = format!(
                r#"{{"events":[{},{},{}],"marks":[{{"stream":"account/7","source":"accounts.csv","rows":3}}]}}"#,
                event(0),
                event(1),
                event(2)
            );
            let import = Request::new("POST", "/v1/stores/main/import").body(body);
            assert_eq!(import.send(&mut store).status, 200);
        }
        if method != "POST" {
            store.add("account/7");
            let put = Request::new("PUT", "/v1/stores/main/streams/account%2F7/snapshots/1");
            assert_eq!(put.body(r#"{"data":1}"#).send(&mut store).status, 204);
        }
        if template.ends_with("/subscriptions/{subscription}/events") {
            store.supplies = [Supply::Last(host::delivered(&store, 17, &[(0, 1)]))].into();
        }
        if template.contains("/topics/") {
            store.supplies = [host::begun("$all", Some(0)), host::heard(&store, 0..1)].into();
        }
        let body = ["json", "x-ndjson"].into_iter().find_map(|form| {
            let example = operation.pointer(&format!("/requestBody/content/application~1{form}/example"))?;
            Some((format!("application/{form}"), text(example)))
        });
        let mut request = Request::new(method, &format!("{target}?{}", query.join("&")));
        if let Some((media_type, body)) = body {
            request = request.header("content-type", media_type).body(body);
        }
        if template.contains("/topics/") {
            request = request.header("accept", "text/event-stream");
        }
        let response = request.send(&mut store);
        let documented = operation["responses"].get(response.status.to_string());
        let documented = documented.unwrap_or_else(|| panic!("{method} {target} gave {response:?}"));
        assert!(response.status < 300, "{method} {target} gave {}", response.text());
        assert_documented(&document, method, template, &response);
        match documented.pointer("/content/application~1json") {
            Some(content) => {
                if let Some(example) = content.get("example") {
                    conforms(&document, example, &content["schema"], template);
                }
            }
            None => {
                assert!(!response.has_body() || documented.get("content").is_some(), "{method} {target}");
            }
        }
    }
}

/// The examples of messages and lines, which the schema of a body does not cover.
#[test]
fn examples_of_responses_of_many_parts_are_as_documented() {
    let document = document();
    let mut examples = 0;
    for Operation { template, method, operation, .. } in operations(&document) {
        let content = operation["responses"]["200"]["content"].as_object().into_iter().flatten();
        for (media_type, form) in content.filter(|(_, form)| form.get("x-item-schema").is_some()) {
            let Some(example) = form.get("example") else { continue };
            examples += 1;
            let is_of_store = !template.contains("/subscriptions") && !template.contains("/topics");
            let history = (method == "GET" && is_of_store).then_some(("exesdb-history", "00f1e2d3c4b5a697"));
            let headers = [("content-type", media_type.as_str())].into_iter().chain(history);
            let uncached = (media_type == "text/event-stream").then_some(("cache-control", "no-cache"));
            let headers: Vec<_> = headers.chain(uncached).collect();
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let head = ResponseHead { method: &method, path: template, status: 200, headers: &headers };
            let example = text(example);
            // The example of an event stream shows its beginning.
            let is_whole = media_type != "text/event-stream";
            let exchange = Exchange { head, body: example.as_bytes(), is_whole };
            assert_eq!(document.check_exchange(&exchange), Ok(()), "{method} {template}");
        }
    }
    assert_eq!(
        examples, 8,
        "two of the store's events and two of a stream's, one of a subscription's and one of a topic's, and the answers to appends and imports"
    );
}

/// The component's are checked with its responses.
#[test]
fn examples_of_the_host_are_as_documented() {
    let document = document();
    let of_host = document.operations().into_iter().filter(Operation::is_of_host);
    for Operation { template, operation, .. } in of_host {
        let requests = operation.pointer("/requestBody/content").into_iter();
        let responses = object(&operation["responses"])
            .values()
            .filter_map(|response| document.resolve(response).get("content"));
        for content in requests.chain(responses).flat_map(|content| object(content).values()) {
            conforms(&document, &content["example"], &content["schema"], template);
        }
    }
}

/// The error for an unknown parameter lists the known ones.
#[test]
fn query_parameters_are_the_same() {
    let document = document();
    for operation in operations(&document) {
        let (template, method) = (operation.template, &operation.method);
        let target = template.replace("{version}", "1").replace(['{', '}'], "");
        let head = Head { method, path: &target, query: "unheard-of=1", headers: &[] };
        let detail = route(&head).expect_err("the parameter is unknown").detail;
        let known: BTreeSet<&str> = match detail.rsplit_once("this route has ") {
            Some((_, "none")) => BTreeSet::new(),
            Some((_, known)) => known.split(", ").collect(),
            None => panic!("{detail}"),
        };
        let documented = document.parameters(&operation, "query");
        let documented: BTreeSet<&str> =
            documented.into_iter().filter_map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(documented, known, "{method} {template}");
    }
}

/// The error for an unknown field lists the known ones.
#[test]
fn fields_of_bodies_are_the_same() {
    let document = document();
    let schemas = &document.value()["components"]["schemas"];
    let mut store = TestStore::default();
    let transact = |body: &str| Request::new("POST", "/v1/stores/m/transactions").body(body);
    let import = |body: &str| Request::new("POST", "/v1/stores/m/import").body(body);
    for (schema, request) in [
        ("AppendRequest", Request::append("s", r#"{"unheard-of":1}"#)),
        ("EventInput", Request::append("s", r#"{"events":[{"unheard-of":1}]}"#)),
        ("Transaction", transact(r#"{"unheard-of":1}"#)),
        ("TransactionAppend", transact(r#"{"appends":[{"unheard-of":1}]}"#)),
        ("EventInput", transact(r#"{"appends":[{"events":[{"unheard-of":1}]}]}"#)),
        ("StreamCheck", transact(r#"{"checks":[{"unheard-of":1}]}"#)),
        ("AppendCondition", transact(r#"{"conditions":[{"unheard-of":1}]}"#)),
        ("QueryItem", transact(r#"{"conditions":[{"query":[{"unheard-of":1}]}]}"#)),
        ("ImportRequest", import(r#"{"unheard-of":1}"#)),
        ("ImportedEvent", import(r#"{"events":[{"unheard-of":1}]}"#)),
        ("ImportMark", import(r#"{"marks":[{"unheard-of":1}]}"#)),
        (
            "ImportStatesRequest",
            Request::new("POST", "/v1/stores/m/import/states").body(r#"{"unheard-of":1}"#),
        ),
        ("Retention", Request::new("PUT", "/v1/stores/m/streams/s/retention").body(r#"{"unheard-of":1}"#)),
        (
            "SnapshotInput",
            Request::new("PUT", "/v1/stores/m/streams/s/snapshots/1").body(r#"{"unheard-of":1}"#),
        ),
    ] {
        let detail = text(&request.send(&mut store).json()["detail"]);
        let (_, known) = detail.rsplit_once("there are ").expect("the known fields are named");
        let documented: BTreeSet<&str> =
            object(&schemas[schema]["properties"]).keys().map(String::as_str).collect();
        assert_eq!(documented, known.split(", ").collect(), "{schema}");
        assert_eq!(schemas[schema]["additionalProperties"], json!(false), "{schema}");
    }
}

#[test]
fn limits_are_the_same() {
    let document = document();
    let components = &document.value()["components"];
    let number = |value: u32| json!(value);
    let size = |value: usize| json!(value);
    for (pointer, expected) in [
        ("/parameters/Count/schema/maximum", number(arguments::COUNT_MAX)),
        ("/parameters/Count/schema/default", number(limits::PAGE_COUNT_DEFAULT)),
        ("/parameters/Prefix/schema/x-max-bytes", size(arguments::STREAM_ID_BYTES_MAX)),
        ("/schemas/StreamName/x-max-bytes", size(arguments::STREAM_ID_BYTES_MAX)),
        ("/schemas/StreamName/maxLength", size(arguments::STREAM_ID_BYTES_MAX)),
        ("/schemas/AppendRequest/x-max-bytes", size(limits::REQUEST_BYTES_MAX)),
        ("/schemas/AppendRequest/properties/events/maxItems", size(limits::APPEND_EVENTS_MAX)),
        ("/schemas/EventInput/x-max-bytes", size(limits::EVENT_BYTES_MAX)),
        ("/schemas/SnapshotInput/x-max-bytes", size(limits::EVENT_BYTES_MAX)),
        ("/schemas/EventInput/properties/id/x-max-bytes", size(limits::EVENT_ID_BYTES_MAX)),
        ("/schemas/EventInput/properties/id/maxLength", size(limits::EVENT_ID_BYTES_MAX)),
        ("/schemas/EventInput/properties/type/x-max-bytes", size(limits::EVENT_TYPE_BYTES_MAX)),
        ("/schemas/EventInput/properties/type/maxLength", size(limits::EVENT_TYPE_BYTES_MAX)),
        ("/schemas/EventInput/properties/content_type/x-max-bytes", size(arguments::CONTENT_TYPE_BYTES_MAX)),
        ("/schemas/EventInput/properties/content_type/maxLength", size(arguments::CONTENT_TYPE_BYTES_MAX)),
        ("/schemas/EventInput/properties/tags/maxItems", size(limits::TAGS_MAX)),
        ("/schemas/EventInput/properties/tags/items/x-max-bytes", size(limits::TAG_BYTES_MAX)),
        ("/schemas/QueryItem/properties/tags/maxItems", size(limits::TAGS_MAX)),
        ("/schemas/QueryItem/properties/tags/items/x-max-bytes", size(limits::TAG_BYTES_MAX)),
        ("/schemas/QueryItem/properties/types/maxItems", size(limits::QUERY_TYPES_MAX)),
        ("/schemas/Query/maxItems", size(limits::QUERY_ITEMS_MAX)),
        ("/schemas/Transaction/x-max-bytes", size(limits::REQUEST_BYTES_MAX)),
        ("/schemas/Transaction/properties/appends/maxItems", size(limits::TRANSACTION_APPENDS_MAX)),
        ("/schemas/Transaction/properties/checks/maxItems", size(limits::TRANSACTION_CHECKS_MAX)),
        ("/schemas/Transaction/properties/conditions/maxItems", size(limits::TRANSACTION_CONDITIONS_MAX)),
        ("/schemas/ImportRequest/x-max-bytes", size(limits::REQUEST_BYTES_MAX)),
        ("/schemas/ImportRequest/properties/events/maxItems", size(limits::IMPORT_EVENTS_MAX)),
        ("/schemas/ImportRequest/properties/marks/maxItems", size(limits::IMPORT_MARKS_MAX)),
        ("/schemas/ImportSource/x-max-bytes", size(limits::IMPORT_SOURCE_BYTES_MAX)),
        ("/schemas/ImportSource/maxLength", size(limits::IMPORT_SOURCE_BYTES_MAX)),
        ("/schemas/ImportStatesRequest/x-max-bytes", size(limits::REQUEST_BYTES_MAX)),
        ("/schemas/ImportStatesRequest/properties/streams/maxItems", size(limits::IMPORT_STATES_MAX)),
        ("/schemas/ImportStates/properties/states/maxItems", size(limits::IMPORT_STATES_MAX)),
        ("/schemas/ImportedEvent/x-max-bytes", size(limits::EVENT_BYTES_MAX)),
        ("/parameters/Type/schema/maxItems", size(limits::QUERY_TYPES_MAX)),
        ("/parameters/Type/schema/items/x-max-bytes", size(limits::EVENT_TYPE_BYTES_MAX)),
        ("/parameters/Tag/schema/maxItems", size(limits::TAGS_MAX)),
        ("/parameters/Tag/schema/items/x-max-bytes", size(limits::TAG_BYTES_MAX)),
        ("/parameters/StreamPrefix/schema/maxItems", size(limits::STREAM_PREFIXES_MAX)),
        ("/parameters/StreamPrefix/schema/items/x-max-bytes", size(arguments::STREAM_ID_BYTES_MAX)),
        ("/parameters/CorrelationId/schema/x-max-bytes", size(limits::CORRELATION_ID_BYTES_MAX)),
        ("/parameters/CausationId/schema/x-max-bytes", size(limits::CORRELATION_ID_BYTES_MAX)),
        ("/parameters/StreamPattern/schema/x-max-bytes", size(limits::PATTERN_BYTES_MAX)),
        ("/parameters/TypePattern/schema/x-max-bytes", size(limits::PATTERN_BYTES_MAX)),
        ("/parameters/Source/schema/x-max-bytes", size(limits::SOURCE_BYTES_MAX)),
        ("/parameters/AnySource/schema/x-max-bytes", size(limits::SOURCE_BYTES_MAX)),
        ("/parameters/Keep/schema/maximum", number(u32::MAX)),
        ("/schemas/EventPage/properties/events/maxItems", number(arguments::COUNT_MAX)),
        ("/schemas/StreamPage/properties/streams/maxItems", number(arguments::COUNT_MAX)),
        ("/schemas/SnapshotPage/properties/snapshots/maxItems", number(arguments::COUNT_MAX)),
    ] {
        assert_eq!(components.pointer(pointer), Some(&expected), "{pointer}");
    }
    let description = text(&document.value()["info"]["description"]);
    assert!(description.contains("at most 1,048,576 bytes together"));
    assert_eq!(limits::REQUEST_TAGS_BYTES_MAX, 1_048_576);
    assert!(description.contains(&format!("1 to {} bytes", arguments::STREAM_ID_BYTES_MAX)));
    assert!(description.contains(&format!("nesting deeper than {}", limits::JSON_NESTING_MAX)));
}

#[test]
fn problems_are_the_same() {
    let document = document();
    let components = &document.value()["components"];
    let problem = &components["schemas"]["Problem"]["properties"];
    let of_host = OF_HOST.map(|kind| format!("urn:exesdb:problem:{kind}"));
    let mut kinds: BTreeSet<String> = of_host.iter().cloned().collect();
    kinds.extend(Kind::ALL.into_iter().map(|kind| kind.uri().to_owned()));
    let documented = strings(problem["type"].get("enum")).into_iter().map(str::to_owned);
    assert_eq!(documented.collect::<BTreeSet<String>>(), kinds);
    let statuses = Kind::ALL.into_iter().map(|kind| u64::from(kind.status()));
    let documented = problem["status"]["enum"].as_array().unwrap();
    assert_eq!(documented.iter().filter_map(Value::as_u64).collect::<BTreeSet<u64>>(), statuses.collect());
    for (name, response) in object(&components["responses"]) {
        let Some(content) = response.pointer("/content/application~1problem+json") else {
            assert!(WITHOUT_BODY.contains(&name.as_str()), "{name}");
            continue;
        };
        let example = &content["example"];
        conforms(&document, example, &content["schema"], name);
        if of_host.iter().any(|kind| example["type"] == *kind) {
            continue;
        }
        let kind =
            Kind::ALL.into_iter().find(|kind| example["type"] == kind.uri()).expect("its type is known");
        assert_eq!(example["title"], kind.title(), "{name}");
        assert_eq!(example["status"], u64::from(kind.status()), "{name}");
    }
}

#[test]
fn references_resolve() {
    fn walk(document: &Document, value: &Value) {
        match value {
            Value::Object(fields) => {
                document.resolve(value);
                fields.values().for_each(|field| walk(document, field));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, document.value());
}
