//! Prints events: as the gateway wrote them, or as one line each for people.

use serde_json::value::RawValue;

use crate::client::{ClientError, Event};
use crate::output::{Output, printable, shortened};

/// Prints one event; with `json`, as the gateway wrote it.
pub(super) fn event(output: &mut Output, raw: &RawValue, json: bool) -> anyhow::Result<()> {
    if json { output.line(raw.get()) } else { output.line(line(raw)?) }
}

fn line(raw: &RawValue) -> Result<String, ClientError> {
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

#[cfg(test)]
mod tests {
    use super::line;
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
}
