//! Ids of imported events, which are derived from their rows.
//!
//! An id depends on the source of the row, its stream, type and content, and the number of equal rows before it in the source.
//! So a row that is sent again is the same event, also if the file has grown or has new rows in between; and equal rows are
//! separate events, in one file and in two.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::{Uuid, uuid};

use super::row::Row;

/// The namespace of the ids (UUID version 5). Changing it would import everything twice.
const NAMESPACE: Uuid = uuid!("0c9bd8a4-6f4b-4f3a-9b55-6f1f3b6b7a52");

/// The digest of a row: of its source, stream, type and data, each with its length before it, so that they stay apart.
pub(super) fn content(source: &str, stream: &str, event_type: &str, data: &str) -> Uuid {
    let mut bytes = Vec::with_capacity(source.len() + stream.len() + event_type.len() + data.len() + 32);
    for field in [source, stream, event_type, data] {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &bytes)
}

/// The id of the event of a row with this digest. `occurrence` is the number of equal rows before it.
pub(super) fn event_id(content: Uuid, occurrence: u32) -> String {
    Uuid::new_v5(&content, &occurrence.to_be_bytes()).to_string()
}

/// The origin of an event.
#[derive(Serialize)]
struct Metadata<'a> {
    import: Import<'a>,
}

#[derive(Serialize)]
struct Import<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    file: &'a str,
    line: u64,
}

/// The metadata of a row's event.
pub(super) fn metadata(row: &Row, source: &str, line: u64) -> Box<RawValue> {
    let time = row.time.map(|time| time.to_string());
    let metadata = Metadata { import: Import { time, file: source, line } };
    let json = serde_json::to_string(&metadata).expect("strings and numbers are JSON");
    RawValue::from_string(json).expect("it was just made")
}

#[cfg(test)]
mod tests {
    use super::{content, event_id, metadata};
    use crate::command::import::row::{Columns, Row};
    use serde_json::value::RawValue;

    #[test]
    fn ids_distinguish_rows_and_sources() {
        let base = content("f", "s", "t", "1");
        let others = [
            content("g", "s", "t", "1"),
            content("f", "r", "t", "1"),
            content("f", "s", "u", "1"),
            content("f", "s", "t", "2"),
            content("fs", "", "t", "1"),
        ];
        assert!(others.iter().all(|other| *other != base), "{others:?}");
        assert_eq!(content("f", "s", "t", "1"), base);
        assert_ne!(event_id(base, 0), event_id(base, 1));
    }

    #[test]
    fn ids_do_not_change_between_versions_of_this_program() {
        assert_eq!(event_id(content("f", "s", "t", "1"), 0), "da96cc74-9849-57a3-bd25-5aa04733a320");
    }

    #[test]
    fn metadata_names_file_line_and_time() {
        let columns = Columns {
            stream: "s".into(),
            event_type: "t".into(),
            time: Some("at".into()),
            keep_times: false,
        };
        let data = RawValue::from_string("1".to_owned()).unwrap();
        let row = Row::new(&columns, "s", "t", Some("2026-01-01T00:00:01Z"), data).unwrap();
        assert_eq!(
            metadata(&row, "f\".csv", 2).get(),
            r#"{"import":{"time":"2026-01-01T00:00:01Z","file":"f\".csv","line":2}}"#
        );
    }
}
