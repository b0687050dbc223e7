//! The OpenAPI document says what the gateway does: the same routes, parameters, fields, limits and problems.

use std::collections::BTreeSet;

use exesdb_gateway_http::limits;
use exesdb_gateway_http::problem::Kind;
use exesdb_gateway_http::route::{Head, Resource, route};
use exesdb_gateway_http::serve::OPENAPI;
use exesdb_sdk::arguments;
use serde_json::{Value, json};

use crate::client::Request;
use crate::memory::Memory;

const METHODS: [&str; 8] = ["get", "head", "post", "put", "delete", "options", "patch", "trace"];

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("the document is JSON")
}

/// Follows references to the value that is meant.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("references stay in the document");
            let target = document.pointer(pointer);
            resolve(document, target.unwrap_or_else(|| panic!("{reference} leads nowhere")))
        }
        None => value,
    }
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().expect("this is an object")
}

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().expect("this is a list").iter().map(|item| item.as_str().expect("of strings")).collect()
}

/// Template, path item, method and operation of everything in the document.
fn operations(document: &Value) -> Vec<(&String, &Value, String, &Value)> {
    let paths = object(&document["paths"]).iter();
    paths
        .flat_map(|(template, item)| {
            let methods = METHODS.iter().filter_map(move |method| Some((*method, item.get(method)?)));
            methods.map(move |(method, operation)| (template, item, method.to_uppercase(), operation))
        })
        .collect()
}

/// The parameters of an operation and of its path, by where they are.
fn parameters<'a>(document: &'a Value, item: &'a Value, operation: &'a Value, place: &str) -> Vec<&'a Value> {
    [item, operation]
        .into_iter()
        .filter_map(|owner| owner.get("parameters")?.as_array())
        .flatten()
        .map(|parameter| resolve(document, parameter))
        .filter(|parameter| parameter["in"] == place)
        .collect()
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
        .map(|(template, _, method, _)| (template.clone(), method))
        .collect();
    let known = Resource::ALL.into_iter().flat_map(|resource| {
        // HEAD is documented once for all.
        let methods = resource.allow().split(", ").filter(|method| *method != "HEAD");
        methods.map(move |method| (resource.template().to_owned(), method.to_owned()))
    });
    assert_eq!(documented, known.collect());
    assert!(text(&document["info"]["description"]).contains("**HEAD**"));
    assert!(text(&document["info"]["description"]).contains("/health/live"));
}

#[test]
fn every_documented_example_is_answered_as_documented() {
    let document = document();
    for (template, item, method, operation) in operations(&document) {
        let mut target = template.clone();
        for parameter in parameters(&document, item, operation, "path") {
            let name = format!("{{{}}}", text(&parameter["name"]));
            target = target.replace(&name, &percent_encoded(&text(&parameter["example"])));
        }
        let target = target.replace("%31", "1");
        assert!(!target.contains('{'), "{target}");
        // Some exclude each other: those have no example.
        let query: Vec<String> = parameters(&document, item, operation, "query")
            .into_iter()
            .filter(|parameter| parameter.get("example").is_some())
            .map(|parameter| {
                format!("{}={}", text(&parameter["name"]), percent_encoded(&text(&parameter["example"])))
            })
            .collect();
        let mut store = Memory::default();
        if template.ends_with("/transactions") {
            // Its condition names a position that the store has come to.
            store = Memory::with(&["account/9"; 42]);
        }
        if method != "POST" {
            store.add("account/7");
            let put = Request::new("PUT", "/v1/stores/main/streams/account%2F7/snapshots/1");
            assert_eq!(put.body(r#"{"data":1}"#).send(&mut store).status, 204);
        }
        let body = operation.pointer("/requestBody/content/application~1json/example");
        let request = Request::new(&method, &format!("{target}?{}", query.join("&")))
            .body(body.map(text).unwrap_or_default());
        let answer = request.send(&mut store);
        let response = operation["responses"].get(answer.status.to_string());
        let response = response.unwrap_or_else(|| panic!("{method} {target} gave {answer:?}"));
        assert!(answer.status < 300, "{method} {target} gave {}", answer.text());
        match response.pointer("/content/application~1json") {
            Some(content) => {
                conforms(&document, &answer.json(), &content["schema"], template);
                if let Some(example) = content.get("example") {
                    conforms(&document, example, &content["schema"], template);
                }
            }
            None => assert!(!answer.has_body, "{method} {target}"),
        }
    }
}

/// Checks that an object has the fields of its schema and no others, and so the objects within it.
fn conforms(document: &Value, value: &Value, schema: &Value, what: &str) {
    let schema = resolve(document, schema);
    match (value, schema.get("properties"), schema.get("items")) {
        (Value::Object(fields), Some(properties), _) => {
            for (name, field) in fields {
                let property =
                    properties.get(name).unwrap_or_else(|| panic!("{what}: {name} is not documented"));
                conforms(document, field, property, name);
            }
            for name in schema.get("required").map(strings).unwrap_or_default() {
                assert!(fields.contains_key(name), "{what}: {name} is missing in {value}");
            }
        }
        (Value::Array(list), _, Some(items)) => {
            list.iter().for_each(|item| conforms(document, item, items, what));
        }
        (value, None, None) => {
            let fits = match schema.get("type").and_then(Value::as_str) {
                Some("string") => value.is_string(),
                Some("integer") => value.is_u64(),
                Some("boolean") => value.is_boolean(),
                _ => true,
            };
            assert!(fits, "{what}: {value} is not of the documented type");
        }
        (value, _, _) => panic!("{what}: {value} is neither object nor list"),
    }
}

/// The router names the parameters that it knows when it meets another one.
#[test]
fn query_parameters_are_the_same() {
    let document = document();
    for (template, item, method, operation) in operations(&document) {
        let target = template.replace("{version}", "1").replace(['{', '}'], "");
        let head = Head { method: &method, target: &format!("{target}?unheard-of=1"), headers: &[] };
        let detail = route(&head).expect_err("the parameter is unknown").detail;
        let known: BTreeSet<&str> = match detail.rsplit_once("this route has ") {
            Some((_, "none")) => BTreeSet::new(),
            Some((_, known)) => known.split(", ").collect(),
            None => panic!("{detail}"),
        };
        let documented = parameters(&document, item, operation, "query");
        let documented: BTreeSet<&str> =
            documented.into_iter().filter_map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(documented, known, "{method} {template}");
    }
}

/// The decoders name the fields that they know when they meet another one.
#[test]
fn fields_of_bodies_are_the_same() {
    let document = document();
    let schemas = &document["components"]["schemas"];
    let mut store = Memory::default();
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
    let components = &document["components"];
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
    let description = text(&document["info"]["description"]);
    assert!(description.contains(&format!("1 to {} bytes", arguments::STREAM_ID_BYTES_MAX)));
    assert!(description.contains(&format!("nesting deeper than {}", limits::JSON_NESTING_MAX)));
}

#[test]
fn problems_are_the_same() {
    let document = document();
    let problem = &document["components"]["schemas"]["Problem"]["properties"];
    assert_eq!(strings(&problem["type"]["enum"]), Kind::ALL.into_iter().map(Kind::uri).collect());
    let statuses: BTreeSet<u64> = Kind::ALL.into_iter().map(|kind| u64::from(kind.status())).collect();
    let documented = problem["status"]["enum"].as_array().unwrap();
    assert_eq!(documented.iter().filter_map(Value::as_u64).collect::<BTreeSet<u64>>(), statuses);
    for (name, response) in object(&document["components"]["responses"]) {
        let content = &response["content"]["application/problem+json"];
        let example = &content["example"];
        conforms(&document, example, &content["schema"], name);
        let kind =
            Kind::ALL.into_iter().find(|kind| example["type"] == kind.uri()).expect("its type is known");
        assert_eq!(example["title"], kind.title(), "{name}");
        assert_eq!(example["status"], u64::from(kind.status()), "{name}");
    }
}

#[test]
fn references_lead_somewhere() {
    fn walk(document: &Value, value: &Value) {
        match value {
            Value::Object(fields) => {
                resolve(document, value);
                fields.values().for_each(|field| walk(document, field));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(document, item)),
            _ => {}
        }
    }
    let document = document();
    walk(&document, &document);
}
