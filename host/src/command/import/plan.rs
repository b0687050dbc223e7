//! What is sent, in which order: ids, batches and lanes.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::{Uuid, uuid};

use super::row::Row;
use crate::client::NewEvent;

/// What ids of imported events are made under (UUID version 5). To change it is to import everything twice.
const NAMESPACE: Uuid = uuid!("538cc2f1-8aaa-46d0-9695-1e65edc9cdf5");
/// Bytes of data and metadata in one append: what the API's 4 MiB leave beside ids, types and punctuation.
pub(super) const BATCH_BYTES_MAX: usize = 3 << 20;

/// Everything that an import sends.
#[derive(Debug)]
pub(super) struct Plan {
    /// Sent side by side; within a lane one after another. All batches of a stream are in one lane.
    pub(super) lanes: Vec<Vec<Batch>>,
    /// How many streams there are.
    pub(super) streams: u64,
}

/// Events of one stream that are appended together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) stream: String,
    /// The line of the first event's row.
    pub(super) line: u64,
    pub(super) events: Vec<NewEvent>,
    bytes: usize,
}

/// Where an event came from.
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

/// Puts rows in order (of time, where they have one; equal times stay as in the file) and into batches.
///
/// With one lane a batch is consecutive rows of one stream, so that the order of the whole store is the order of
/// the rows. With more, it is as many rows of one stream as fit.
pub(super) fn plan(rows: Vec<Row>, file: &str, batch_events: usize, lanes: usize) -> Plan {
    // Numbered in the file's order, so that ids do not depend on times.
    let mut rows: Vec<(Row, String)> = number(rows);
    rows.sort_by_key(|(row, _)| row.time);
    let mut streams: HashMap<String, usize> = HashMap::new();
    let mut planned: Vec<Vec<Batch>> = (0..lanes).map(|_| Vec::new()).collect();
    // Of each stream, the place of its last batch in its lane.
    let mut open: HashMap<usize, usize> = HashMap::new();
    for (row, id) in rows {
        let next = streams.len();
        let stream = *streams.entry(row.stream.clone()).or_insert(next);
        let lane = &mut planned[stream % lanes];
        let place = match open.get(&stream) {
            Some(&place) if lanes > 1 || place + 1 == lane.len() => Some(place),
            _ => None,
        };
        let (line, row_stream) = (row.line, row.stream.clone());
        let event = event(row, id, file);
        let bytes =
            event.data.get().len() + event.metadata.as_ref().map_or(0, |metadata| metadata.get().len());
        match place.map(|place| &mut lane[place]) {
            Some(batch) if batch.events.len() < batch_events && batch.bytes + bytes <= BATCH_BYTES_MAX => {
                batch.events.push(event);
                batch.bytes += bytes;
            }
            _ => {
                open.insert(stream, lane.len());
                lane.push(Batch { stream: row_stream, line, events: vec![event], bytes });
            }
        }
    }
    Plan { lanes: planned, streams: streams.len() as u64 }
}

/// Gives each row its event's id: made from what the row says and, among rows that say the same, its number.
fn number(rows: Vec<Row>) -> Vec<(Row, String)> {
    let mut seen: HashMap<Uuid, u64> = HashMap::new();
    let numbered = rows.into_iter().map(|row| {
        let content = content_id(&row);
        let occurrence = seen.entry(content).or_default();
        let id = Uuid::new_v5(&content, &occurrence.to_be_bytes()).to_string();
        *occurrence += 1;
        (row, id)
    });
    numbered.collect()
}

/// The id of what a row says: its stream, type and data, each with its length before it so that they cannot run
/// into one another. Not of the file's name: a renamed file has the same events.
fn content_id(row: &Row) -> Uuid {
    let mut bytes = Vec::new();
    for field in [row.stream.as_str(), row.event_type.as_str(), row.data.get()] {
        bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &bytes)
}

fn event(row: Row, id: String, file: &str) -> NewEvent {
    let time = row.time.map(|time| time.to_string());
    let metadata = Metadata { import: Import { time, file, line: row.line } };
    let json = serde_json::to_string(&metadata).expect("strings and numbers are JSON");
    let metadata = Some(RawValue::from_string(json).expect("it was just made"));
    NewEvent { id, event_type: row.event_type, data: row.data, metadata, tags: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::{BATCH_BYTES_MAX, Plan, plan};
    use crate::command::import::row::{Columns, Row};
    use serde_json::value::RawValue;

    /// Rows "stream:second:text", on lines from 2.
    fn rows(texts: &[&str]) -> Vec<Row> {
        let columns = Columns { stream: "s", event_type: "t", time: Some("at") };
        let row = |(index, text): (usize, &&str)| {
            let mut parts = text.split(':');
            let (stream, second, data) =
                (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let time = format!("2026-01-01T00:00:0{second}Z");
            let data = RawValue::from_string(format!("\"{data}\"")).unwrap();
            Row::new(index as u64 + 2, columns, stream, "t", Some(&time), data).unwrap()
        };
        texts.iter().enumerate().map(row).collect()
    }

    fn shape(plan: &Plan) -> Vec<Vec<(String, Vec<String>)>> {
        let batch = |batch: &super::Batch| {
            let data = batch.events.iter().map(|event| event.data.get().trim_matches('"').to_owned());
            (batch.stream.clone(), data.collect())
        };
        plan.lanes.iter().map(|lane| lane.iter().map(batch).collect()).collect()
    }

    fn ids(plan: &Plan) -> Vec<String> {
        plan.lanes.iter().flatten().flat_map(|batch| &batch.events).map(|event| event.id.clone()).collect()
    }

    fn lane(batches: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        batches.iter().map(|(stream, data)| ((*stream).to_owned(), owned(data))).collect()
    }

    #[test]
    fn one_lane_keeps_the_order_of_time_and_batches_consecutive_rows() {
        let plan = plan(rows(&["a:3:5", "a:1:1", "b:2:3", "a:1:2", "a:3:6", "b:2:4", "a:3:7"]), "f", 2, 1);
        let expected = lane(&[("a", &["1", "2"]), ("b", &["3", "4"]), ("a", &["5", "6"]), ("a", &["7"])]);
        assert_eq!((shape(&plan), plan.streams), (vec![expected], 2));
        let lines: Vec<u64> = plan.lanes[0].iter().map(|batch| batch.line).collect();
        assert_eq!(lines, [3, 4, 2, 8]);
    }

    #[test]
    fn a_stream_has_one_lane_and_fuller_batches_when_there_are_more() {
        let plan = plan(rows(&["a:1:1", "b:1:2", "c:1:3", "a:1:4", "b:1:5", "a:1:6", "c:1:7"]), "f", 2, 2);
        let first = lane(&[("a", &["1", "4"]), ("c", &["3", "7"]), ("a", &["6"])]);
        assert_eq!(shape(&plan), [first, lane(&[("b", &["2", "5"])])]);
    }

    #[test]
    fn batches_are_bounded_in_bytes() {
        let large = "x".repeat(BATCH_BYTES_MAX / 4 + 1);
        let texts = vec![format!("a:1:{large}"); 5];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let plan = plan(rows(&texts), "f", 100, 1);
        let sizes: Vec<usize> = plan.lanes[0].iter().map(|batch| batch.events.len()).collect();
        assert_eq!(sizes, [3, 2]);
    }

    #[test]
    fn ids_tell_rows_apart_and_nothing_else() {
        let base = ids(&plan(rows(&["a:1:x", "a:1:x", "b:1:x", "a:1:y"]), "f", 100, 1));
        let distinct: std::collections::HashSet<&String> = base.iter().collect();
        assert_eq!(distinct.len(), 4);
        let same_rows = plan(rows(&["a:1:x", "a:1:x", "b:1:x", "a:1:y"]), "renamed", 1, 1);
        assert_eq!(ids(&same_rows), base);
        // A grown file keeps the ids of the rows it had, also when the new rows are older.
        let mut grown = ids(&plan(rows(&["a:1:x", "a:1:x", "b:1:x", "a:1:y", "c:0:z"]), "f", 100, 1));
        assert_eq!(grown.split_off(1), base);
    }

    #[test]
    fn an_id_is_the_same_in_every_version_of_this_program() {
        assert_eq!(ids(&plan(rows(&["a:1:x"]), "f", 1, 1)), ["c00ecbde-7930-58ae-a647-b3af816f0586"]);
    }

    #[test]
    fn metadata_says_where_an_event_came_from() {
        let plan = plan(rows(&["a:1:x"]), "f\".csv", 1, 1);
        let metadata = plan.lanes[0][0].events[0].metadata.as_ref().unwrap();
        assert_eq!(metadata.get(), r#"{"import":{"time":"2026-01-01T00:00:01Z","file":"f\".csv","line":2}}"#);
    }
}
