//! Patterns that clients write, and the JSON of events that they are compared with.

use exesdb_fuzz::fuzz;
use exesdb_packed::{DATA_IS_JSON, Envelope, EventParts, Events, push_event};
use exesdb_pattern::Pattern;
use serde_json::{Number, Value};

/// Each input is a pattern on the first line, and the data of an event on the others.
#[test]
fn fuzzed_patterns_are_refused_or_match_as_parsed_values_do() {
    fuzz("patterns", |bytes| {
        let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let (text, data) = (String::from_utf8_lossy(&bytes[..at]), bytes.get(at + 1..).unwrap_or_default());
        let Ok(pattern) = Pattern::parse(&text) else { return };
        let matches = with_event(data, |event| pattern.matches(event));
        let wanted: Value = serde_json::from_str(&text).expect("a pattern is JSON");
        let wanted = wanted.as_object().expect("a pattern is an object");
        // What the parser of values refuses, such as numbers that are too large, has no value to compare with.
        if let (Some(wanted), true, Ok(there)) =
            (wanted.get("data"), wanted.len() == 1, serde_json::from_slice(data))
        {
            assert_eq!(matches, has(wanted, &there), "{text} and {there}");
        }
    });
}

fn with_event<T>(data: &[u8], check: impl FnOnce(&Envelope<'_>) -> T) -> T {
    let event = EventParts {
        flags: DATA_IS_JSON,
        version: 0,
        created: 0,
        stream_id: "order-7",
        id: "i",
        event_type: "paid",
        content_type: "application/json",
        tags: &["eu"],
        data,
        metadata: b"",
    };
    let mut packed = Vec::new();
    push_event(&mut packed, 0, &event).expect("the input is short");
    check(&Events::new(&packed).next().expect("there is one").expect("it was just written").1)
}

/// Whether a value has everything that another one has.
fn has(wanted: &Value, there: &Value) -> bool {
    match (wanted, there) {
        (Value::Object(wanted), Value::Object(there)) => {
            wanted.iter().all(|(name, wanted)| there.get(name).is_some_and(|there| has(wanted, there)))
        }
        (Value::Array(wanted), Value::Array(there)) => {
            wanted.iter().all(|wanted| there.iter().any(|there| has(wanted, there)))
        }
        (Value::Number(wanted), Value::Number(there)) => are_equal(wanted, there),
        (wanted, there) => wanted == there,
    }
}

fn are_equal(one: &Number, other: &Number) -> bool {
    one == other || (one.is_f64() || other.is_f64()) && one.as_f64() == other.as_f64()
}
