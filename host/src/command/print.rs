//! Prints events: as the gateway wrote them, or as one line each for people.

use std::fmt::Write as _;

use exesdb_supervisor::Event as TreeEvent;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::{ClientError, Event};
use crate::output::{Output, printable, shortened};

/// Prints one event; with `json`, as the gateway wrote it.
pub(super) fn event(output: &mut Output, raw: &RawValue, json: bool) -> anyhow::Result<()> {
    if json { output.line(raw.get()) } else { output.line(line(raw)?) }
}

/// An event as one line.
pub(super) fn line(raw: &RawValue) -> Result<String, ClientError> {
    let event = Event::parse(raw)?;
    let data = match (&event.data, &event.data_base64) {
        (Some(json), _) => shortened(json.get()),
        (None, Some(base64)) => format!("base64:{}", shortened(base64)),
        (None, None) => String::new(),
    };
    let (stream, event_type) = (printable(&event.stream), printable(&event.event_type));
    let created = printable(&event.created);
    Ok(format!("{:>8}  {created}  {stream}@{}  {event_type}  {data}", event.position, event.version))
}

/// Prints a record of a topic; with `json`, as the gateway wrote it.
pub(super) fn record(output: &mut Output, raw: &RawValue, json: bool) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Record {
        at_us: u64,
        kind: String,
        path: String,
        detail: Value,
    }
    if json {
        return output.line(raw.get());
    }
    let Record { at_us, kind, path, detail } = serde_json::from_str(raw.get())?;
    output.line(happened(&TreeEvent { seq: 0, at_micros: at_us, path, kind, detail }))
}

/// An event of the supervision tree for people: one line, and below it values of several lines, such as a backtrace.
pub(super) fn happened(event: &TreeEvent) -> String {
    let time =
        i64::try_from(event.at_micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let time = time.map_or_else(|| event.at_micros.to_string(), |time| format!("{time:.6}"));
    let mut text = format!("{time}  {:<12}  {}", printable(&event.kind), printable(&event.path));
    let mut below = String::new();
    let mut add = |key: &str, value: &Value| match value {
        Value::Null => {}
        Value::String(value) if value.trim_end().contains('\n') => {
            let _ = write!(below, "\n    {}:", printable(key));
            for line in value.trim_end().lines() {
                let _ = write!(below, "\n      {}", printable(line));
            }
        }
        Value::String(value) => {
            let _ = write!(text, "  {}={}", printable(key), printable(value.trim_end()));
        }
        other => {
            let _ = write!(text, "  {}={}", printable(key), printable(&other.to_string()));
        }
    };
    match &event.detail {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| add(key, value)),
        other => add("detail", other),
    }
    text + &below
}

#[cfg(test)]
mod tests {
    use super::{TreeEvent, happened, line};
    use serde_json::json;
    use serde_json::value::RawValue;

    #[test]
    fn an_event_is_one_line() {
        let cases = [
            (
                r#"{"stream":"s","version":1,"position":7,"id":"i","type":"t","data":{"b":1e400,"a":0.10},"metadata":{},
                    "created":"2026-01-02T03:04:05.000006Z"}"#,
                "       7  2026-01-02T03:04:05.000006Z  s@1  t  {\"b\":1e400,\"a\":0.10}",
            ),
            (
                r#"{"stream":"s","version":2,"position":8,"id":"i","type":"t","data":null,"created":"c"}"#,
                "       8  c  s@2  t  null",
            ),
            (
                r#"{"stream":"s\u001b","version":0,"position":0,"id":"i","type":"t","data_base64":"AAA=","content_type":"x/y",
                    "created":"c"}"#,
                "       0  c  s\\u{1b}@0  t  base64:AAA=",
            ),
        ];
        for (json, expected) in cases {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(line(&raw).unwrap(), expected);
        }
    }

    #[test]
    fn json_that_is_no_event_is_an_error() {
        let raw = RawValue::from_string("{\"stream\":1}".to_owned()).unwrap();
        assert!(line(&raw).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn an_event_is_a_line_with_its_backtrace_below() {
        let event = |detail| TreeEvent {
            seq: 1,
            at_micros: 1_000_001,
            path: "host/main".to_owned(),
            kind: "exit".to_owned(),
            detail,
        };
        let head = "1970-01-01T00:00:01.000001Z  exit          host/main";
        let cases = [
            (json!({}), String::new()),
            (json!(null), String::new()),
            (json!({"reason": "killed", "n": 2}), "  n=2  reason=killed".to_owned()),
            (json!(["a"]), "  detail=[\"a\"]".to_owned()),
            (
                json!({"backtrace": "0: a\n1: b\u{1b}\n", "reason": "trap\n"}),
                "  reason=trap\n    backtrace:\n      0: a\n      1: b\\u{1b}".to_owned(),
            ),
        ];
        for (detail, expected) in cases {
            assert_eq!(happened(&event(detail)), format!("{head}{expected}"));
        }
        let mut far = event(json!({}));
        far.at_micros = u64::MAX;
        assert!(happened(&far).starts_with("18446744073709551615  exit"));
    }
}
