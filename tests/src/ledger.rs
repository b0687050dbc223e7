//! Compares what clients were told about their appends with what the store contains.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Value, json};

use crate::{Client, Response};

/// An append, and what its client knows about it.
#[derive(Debug, Clone)]
pub struct Append {
    /// The stream.
    pub stream: String,
    /// The ids of the events, in order.
    pub ids: Vec<String>,
    /// What the client was told.
    pub outcome: Outcome,
}

impl Append {
    /// The events to send, the same ones every time.
    pub fn events(&self) -> Vec<Value> {
        self.ids.iter().map(|id| event(id)).collect()
    }

    /// Sends the append, possibly again, and records an acknowledgement.
    pub fn send(&mut self, client: &Client) -> Response {
        self.send_at(client, "any")
    }

    /// As [`Append::send`], with an expected version. Records a conflict, too.
    pub fn send_at(&mut self, client: &Client, expected_version: impl Into<Value>) -> Response {
        let response = client.append(&self.stream, expected_version, &self.events());
        self.record(&response, &response.json);
        response
    }

    /// Records a response; `result` is the part of it with the events' versions.
    pub(crate) fn record(&mut self, response: &Response, result: &Value) {
        // One that broke off says nothing.
        if response.status == 200 && !response.cut_off {
            let number = |name: &str| result[name].as_u64().expect("the response has numbers");
            self.outcome = Outcome::Acknowledged {
                first_version: number("first_version"),
                last_version: number("last_version"),
                position: number("position"),
            };
        } else if response.status == 409 && response.problem() == "wrong-expected-version" {
            self.outcome = Outcome::Refused;
        }
    }
}

/// An atomic append to several streams, and what its client knows about it.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// The appends, each to another stream.
    pub appends: Vec<Append>,
    /// The expected version of each stream.
    pub expected_versions: Vec<Value>,
}

impl Transaction {
    /// Sends the transaction, possibly again, and records the response in each append.
    pub fn send(&mut self, client: &Client) -> Response {
        let appends = self.appends.iter().zip(&self.expected_versions).map(|(append, expected)| {
            json!({ "stream": append.stream, "expected_version": expected, "events": append.events() })
        });
        let body = json!({ "appends": appends.collect::<Vec<Value>>() });
        let response = client.post(&format!("{}/transactions", client.path()), &body);
        for (index, append) in self.appends.iter_mut().enumerate() {
            append.record(&response, &response.json["results"][index]);
        }
        response
    }

    /// What the client was told.
    pub fn outcome(&self) -> Outcome {
        self.appends.first().map_or(Outcome::Unknown, |append| append.outcome)
    }
}

/// What a client knows about an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was acknowledged.
    Acknowledged {
        /// The first event's version.
        first_version: u64,
        /// The last event's version.
        last_version: u64,
        /// The last event's position.
        position: u64,
    },
    /// The stream had another version. The events are not in the store and never will be.
    Refused,
    /// There was no response, or one that does not say whether the events were stored.
    Unknown,
}

/// The prefix of the ids of large events.
pub(crate) const LARGE: &str = "large-";

/// The size of a large event in bytes: a few hundred of them fill a memtable.
const LARGE_BYTES: usize = 100 << 10;

/// An event of a load. Its data begins with its id, so that no two events have the same data.
fn event(id: &str) -> Value {
    json!({ "id": id, "type": TYPE, "data": data(id) })
}

fn data(id: &str) -> String {
    let mut data = id.to_owned();
    while id.starts_with(LARGE) && data.len() < LARGE_BYTES {
        data.push('-');
        data.push_str(id);
    }
    data
}

/// The type of every event of a load.
const TYPE: &str = "loaded";

/// The faults of a store that kept every promise.
pub const NO_FAULTS: [&str; 0] = [];

/// Compares the store's events, in the order of their positions, with what clients were told. There are no faults when
///
/// - positions are dense from 0, as are the versions of each stream;
/// - no id occurs twice;
/// - each event of a load has the data that was sent;
/// - each acknowledged append is at the versions and position that its client was told;
/// - no refused append is stored;
/// - each other append is stored completely and contiguously, or not at all;
/// - every event was appended by a known append.
pub fn faults(events: &[Value], appends: &[Append]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut next_versions: BTreeMap<&str, u64> = BTreeMap::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        if event["position"] != index {
            faults.push(format!("position {} is at index {index}", event["position"]));
        }
        let stream = event["stream"].as_str().unwrap_or_default();
        let next = next_versions.entry(stream).or_default();
        if event["version"] != *next {
            faults.push(format!("{stream}: version {} where {next} was expected", event["version"]));
        }
        *next += 1;
        let id = event["id"].as_str().unwrap_or_default();
        if places.insert(id, index).is_some() {
            faults.push(format!("{stream}: {id} is stored twice"));
        }
        if event["type"] == TYPE && event["data"] != data(id) {
            faults.push(format!("{stream}: {id} has other data than was sent"));
        }
    }
    let known: HashSet<&str> =
        appends.iter().flat_map(|append| append.ids.iter().map(String::as_str)).collect();
    let strangers = places.keys().filter(|id| !known.contains(*id));
    faults.extend(strangers.map(|id| format!("nobody appended {id}")));
    faults.extend(appends.iter().filter_map(|append| fault_of(append, events, &places)));
    faults
}

/// The transactions of which some appends are stored and others are not. [`faults`] checks each append by itself.
pub fn halves(events: &[Value], transactions: &[Transaction]) -> Vec<String> {
    let there: HashSet<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    let is_there = |append: &&Append| append.ids.iter().any(|id| there.contains(id.as_str()));
    let halved = transactions.iter().filter(|transaction| {
        let count = transaction.appends.iter().filter(is_there).count();
        count != 0 && count != transaction.appends.len()
    });
    halved.map(|transaction| format!("is stored in part: {transaction:?}")).collect()
}

/// The appends of pipelines that are stored before one that was sent to the same stream earlier, or without it. [`faults`]
/// checks each append by itself.
pub fn disorder(events: &[Value], pipelines: &[Vec<Append>]) -> Vec<String> {
    let place = |(place, event): (usize, &Value)| Some((event["id"].as_str()?.to_owned(), place));
    let places: HashMap<String, usize> = events.iter().enumerate().filter_map(place).collect();
    let mut faults = Vec::new();
    for pipeline in pipelines {
        // For each stream: the place of its last append so far; none once one is missing.
        let mut ends: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        for append in pipeline.iter().filter(|append| append.outcome != Outcome::Refused) {
            let place = append.ids.first().and_then(|id| places.get(id).copied());
            let end = ends.get(append.stream.as_str()).copied();
            let is_ordered = match (end, place) {
                (Some(None), Some(_)) => false,
                (Some(Some(before)), Some(place)) => before < place,
                (None, _) | (_, None) => true,
            };
            if !is_ordered {
                let Append { stream, .. } = append;
                faults.push(format!(
                    "{stream}: {append:?} is stored before or without one that was sent before it"
                ));
            }
            if end != Some(None) {
                ends.insert(&append.stream, place);
            }
        }
    }
    faults
}

fn fault_of(append: &Append, events: &[Value], places: &HashMap<&str, usize>) -> Option<String> {
    let found: Vec<usize> = append.ids.iter().filter_map(|id| places.get(id.as_str()).copied()).collect();
    let Append { stream, ids, outcome } = append;
    match outcome {
        Outcome::Refused | Outcome::Unknown if found.is_empty() => return None,
        Outcome::Refused => return Some(format!("{stream}: {append:?} was refused, but is stored")),
        Outcome::Acknowledged { .. } | Outcome::Unknown => {}
    }
    if found.len() < ids.len() {
        return Some(format!("{stream}: {} of {} events of {append:?} are stored", found.len(), ids.len()));
    }
    let in_one_piece = found.windows(2).all(|pair| pair[1] == pair[0] + 1)
        && found.iter().all(|place| events[*place]["stream"] == **stream);
    if !in_one_piece {
        return Some(format!("{stream}: {append:?} is not contiguous:  {found:?}"));
    }
    let (first, last) = (&events[*found.first()?], &events[*found.last()?]);
    match outcome {
        Outcome::Acknowledged { first_version, last_version, position }
            if first["version"] != *first_version
                || last["version"] != *last_version
                || last["position"] != *position =>
        {
            let place = |event: &Value| format!("{} at {}", event["version"], event["position"]);
            Some(format!("{stream}: {append:?} is stored from {} to {}", place(first), place(last)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Append, NO_FAULTS, Outcome, Transaction, disorder, faults, halves};
    use crate::Response;
    use serde_json::{Value, json};

    fn event(position: u64, stream: &str, version: u64, id: &str) -> Value {
        json!({ "position": position, "stream": stream, "version": version, "id": id, "type": "loaded", "data": id })
    }

    fn append(stream: &str, ids: &[&str], outcome: Outcome) -> Append {
        Append { stream: stream.to_owned(), ids: ids.iter().map(|&id| id.to_owned()).collect(), outcome }
    }

    fn good() -> (Vec<Value>, Vec<Append>) {
        let events = vec![event(0, "a", 0, "a0"), event(1, "b", 0, "b0"), event(2, "b", 1, "b1")];
        let told = |first_version, last_version, position| Outcome::Acknowledged {
            first_version,
            last_version,
            position,
        };
        let appends = vec![
            append("a", &["a0"], told(0, 0, 0)),
            append("b", &["b0", "b1"], told(0, 1, 2)),
            append("a", &["a1", "a2"], Outcome::Unknown),
            append("a", &["a3"], Outcome::Refused),
        ];
        (events, appends)
    }

    #[test]
    fn a_store_that_kept_every_promise_has_no_faults() {
        let (events, mut appends) = good();
        assert_eq!(faults(&events, &appends), NO_FAULTS);
        appends[1].outcome = Outcome::Unknown;
        assert_eq!(faults(&events, &appends), NO_FAULTS);
    }

    #[test]
    fn a_response_that_broke_off_acknowledges_nothing() {
        let mut sent = append("a", &["a0"], Outcome::Unknown);
        let json = json!({ "first_version": 0, "last_version": 0, "position": 0 });
        let mut response = Response {
            status: 200,
            content_type: "application/json".to_owned(),
            json: json.clone(),
            text: json.to_string(),
            cut_off: true,
            headers: Vec::new(),
        };
        sent.record(&response, &json);
        assert_eq!(sent.outcome, Outcome::Unknown);
        response.cut_off = false;
        sent.record(&response, &json);
        let told = Outcome::Acknowledged { first_version: 0, last_version: 0, position: 0 };
        assert_eq!(sent.outcome, told);
    }

    #[test]
    fn a_transaction_that_was_stored_in_part_is_found() {
        let (events, appends) = good();
        let transaction = |first: usize, second: usize| Transaction {
            appends: vec![appends[first].clone(), appends[second].clone()],
            expected_versions: vec![json!("any"), json!("any")],
        };
        assert_eq!(halves(&events, &[transaction(0, 1), transaction(2, 3)]), NO_FAULTS);
        assert_eq!(halves(&events, &[transaction(0, 2)]).len(), 1);
    }

    #[test]
    fn a_pipeline_that_was_stored_in_another_order_or_with_a_gap_is_found() {
        let (events, _) = good();
        let unknown = |stream: &str, id: &str| append(stream, &[id], Outcome::Unknown);
        let refused = || append("b", &["never"], Outcome::Refused);
        for (pipeline, count) in [
            (vec![unknown("b", "b0"), unknown("b", "b1"), unknown("b", "b2")], 0),
            // What was refused, and other streams, have no order with the rest.
            (vec![refused(), unknown("b", "b0"), unknown("a", "a0"), unknown("b", "b1")], 0),
            (vec![unknown("b", "never"), unknown("a", "a0")], 0),
            (vec![unknown("b", "b1"), unknown("b", "b0")], 1),
            (vec![unknown("b", "never"), unknown("b", "b0"), unknown("b", "b1")], 2),
            (vec![unknown("b", "b0"), unknown("b", "never"), unknown("b", "b1")], 1),
        ] {
            let found = disorder(&events, std::slice::from_ref(&pipeline));
            assert_eq!(found.len(), count, "{pipeline:?}: {found:?}");
        }
    }

    #[test]
    fn each_broken_promise_is_found() {
        type Breaking = fn(&mut Vec<Value>, &mut Vec<Append>);
        let table: [(&str, Breaking); 11] = [
            ("1 of 2 events", |events, _| drop(events.pop())),
            ("0 of 2 events", |events, _| events.truncate(1)),
            ("was refused, but is stored", |_, appends| appends[0].outcome = Outcome::Refused),
            ("has other data than was sent", |events, _| events[0]["data"] = json!("a1")),
            ("is stored twice", |events, _| events.push(event(3, "a", 1, "a0"))),
            ("nobody appended x", |events, _| events.push(event(3, "a", 1, "x"))),
            ("position 4 is at index 3", |events, appends| {
                events.push(event(4, "c", 0, "c0"));
                appends.push(append("c", &["c0"], Outcome::Unknown));
            }),
            ("version 2 where 1 was expected", |events, appends| {
                events.push(event(3, "a", 2, "c0"));
                appends.push(append("a", &["c0"], Outcome::Unknown));
            }),
            ("is not contiguous", |events, _| {
                events.swap(0, 1);
                for (position, event) in events.iter_mut().enumerate() {
                    event["position"] = position.into();
                }
            }),
            ("is not contiguous", |_, appends| appends[0].stream = "b".to_owned()),
            ("is stored from", |_, appends| {
                appends[0].outcome = Outcome::Acknowledged { first_version: 0, last_version: 0, position: 1 };
            }),
        ];
        for (expected, breaking) in table {
            let (mut events, mut appends) = good();
            breaking(&mut events, &mut appends);
            let found = faults(&events, &appends);
            assert!(found.iter().any(|fault| fault.contains(expected)), "{expected}: {found:?}");
        }
    }
}
