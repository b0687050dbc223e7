//! Compares what clients were told with what the nodes have at the end. Pure, and linear but for sorting: an append's answer
//! says its place in the order of all events, so that order need not be searched for.

mod order;
mod reads;
mod windows;

use std::collections::{BTreeMap, HashMap};

use exesdb_tests::{Append, Outcome, faults};
use serde_json::Value;

use crate::record::{Call, History};

/// Differences of two nodes that are described.
const DIFFERENCES_MAX: usize = 3;

/// What the checks found, and how much they looked at.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) violations: Vec<String>,
    /// Acknowledged appends.
    pub(crate) acknowledged: usize,
    /// Appends that were refused because of their expected version.
    pub(crate) refused: usize,
    /// Appends whose outcome is unknown.
    pub(crate) unknown: usize,
    /// Reads.
    pub(crate) reads: usize,
    /// Operations in windows that were searched.
    pub(crate) searched: usize,
    /// Operations in windows that are too large to be searched, or come after an append whose outcome is unknown.
    pub(crate) not_searched: usize,
}

/// Checks that
///
/// - all nodes have the same events at the same positions;
/// - positions and versions have no gaps, each acknowledged append is there once and where its client was told, each refused
///   one is not, and each other one is there whole or not at all ([`exesdb_tests::faults`]);
/// - an append that began after another one was answered is behind it;
/// - expected versions held in the order of the log, and each refusal was right;
/// - each read saw what its level promises, and nothing that was not there;
/// - in windows of operations, a search finds an order that explains all answers without looking at positions.
pub(crate) fn findings(history: &History, nodes: &[(String, Vec<Value>)]) -> Findings {
    let mut findings = Findings { reads: history.reads.len(), ..Findings::default() };
    for call in &history.calls {
        match call.append.outcome {
            Outcome::Acknowledged { .. } => findings.acknowledged += 1,
            Outcome::Refused => findings.refused += 1,
            Outcome::Unknown => findings.unknown += 1,
        }
    }
    let violations = &mut findings.violations;
    violations.extend(history.strange.iter().map(|strange| format!("no node should respond so: {strange}")));
    violations.extend(differences(nodes));
    let Some((_, events)) = nodes.first() else { return findings };
    let appends: Vec<Append> = history.calls.iter().map(|call| call.append.clone()).collect();
    violations.extend(faults(events, &appends));
    let stored = Stored::of(events, &history.calls);
    violations.extend(order::out_of_order(&stored));
    violations.extend(versions(&stored, &history.calls));
    violations.extend(reads::wrong_reads(&stored, history));
    let searched = windows::search(history);
    violations.extend(searched.violations);
    (findings.searched, findings.not_searched) = (searched.searched, searched.skipped);
    findings
}

/// Nodes that do not have the events of the first one.
pub(crate) fn differences(nodes: &[(String, Vec<Value>)]) -> Vec<String> {
    let mut differences = Vec::new();
    let Some(((name, events), others)) = nodes.split_first() else { return differences };
    for (other, found) in others {
        if found.len() != events.len() {
            differences.push(format!("{name} has {} events, and {other} {}", events.len(), found.len()));
        }
        let unequal = events.iter().zip(found).filter(|(own, its)| own != its);
        let described = unequal.map(|(own, its)| format!("{name} has {own}, and {other} {its}"));
        differences.extend(described.take(DIFFERENCES_MAX));
    }
    differences
}

/// A stored append.
struct StoredCall<'a> {
    call: &'a Call,
    /// The positions of its first and last event.
    first: u64,
    last: u64,
    /// The version of its first event.
    version: u64,
}

/// What is stored of the calls.
struct Stored<'a> {
    calls: Vec<StoredCall<'a>>,
    /// For each stream the id of each event, and the call that appended it, if known.
    streams: BTreeMap<&'a str, Vec<(&'a str, Option<&'a Call>)>>,
}

impl<'a> Stored<'a> {
    fn of(events: &'a [Value], calls: &'a [Call]) -> Self {
        let mut by_id: HashMap<&str, &Call> = HashMap::new();
        for call in calls {
            by_id.extend(call.append.ids.iter().map(|id| (id.as_str(), call)));
        }
        let mut streams: BTreeMap<&str, Vec<(&str, Option<&Call>)>> = BTreeMap::new();
        let mut places: HashMap<&str, (u64, u64)> = HashMap::new();
        for event in events {
            let text = |name: &str| event[name].as_str().unwrap_or_default();
            let number = |name: &str| event[name].as_u64().unwrap_or(u64::MAX);
            streams.entry(text("stream")).or_default().push((text("id"), by_id.get(text("id")).copied()));
            places.insert(text("id"), (number("position"), number("version")));
        }
        // Those that are there in part are reported elsewhere.
        let stored = |call: &'a Call| {
            let (first, version) = *places.get(call.append.ids.first()?.as_str())?;
            let (last, _) = *places.get(call.append.ids.last()?.as_str())?;
            Some(StoredCall { call, first, last, version })
        };
        Self { calls: calls.iter().filter_map(stored).collect(), streams }
    }

    fn count(&self, stream: &str) -> u64 {
        self.streams.get(stream).map_or(0, |events| events.len() as u64)
    }
}

/// Expected versions that did not hold, and refusals that should not have been.
fn versions(stored: &Stored<'_>, calls: &[Call]) -> Vec<String> {
    let mut violations = Vec::new();
    for StoredCall { call, version, .. } in &stored.calls {
        if call.expected.count().is_some_and(|count| count != *version) {
            violations.push(format!("it is stored from version {version} on: {call:?}"));
        }
    }
    for call in calls.iter().filter(|call| call.append.outcome == Outcome::Refused) {
        let Some(count) = call.expected.count() else {
            violations.push(format!("it expected nothing, and was refused: {call:?}"));
            continue;
        };
        // The version was another one because somebody had appended the next event.
        let events = stored.streams.get(call.append.stream.as_str());
        let next = usize::try_from(count).ok().and_then(|count| events?.get(count));
        let is_right = next.is_some_and(|(_, by)| by.is_none_or(|by| by.begun < call.ended));
        if !is_right {
            violations.push(format!("the version was the expected one, and it was refused: {call:?}"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use exesdb_tests::{Append, NO_FAULTS, Outcome};
    use serde_json::{Value, json};

    use super::findings;
    use crate::record::{Call, Expected, History, Level, Read};

    fn event(position: u64, stream: &str, version: u64, id: &str) -> Value {
        json!({ "position": position, "stream": stream, "version": version, "id": id, "type": "loaded", "data": id })
    }

    fn call(times: (u64, u64), stream: &str, id: &str, expected: Expected, outcome: Outcome) -> Call {
        let append = Append { stream: stream.to_owned(), ids: vec![id.to_owned()], outcome };
        Call { client: 1, append, expected, begun: times.0, ended: times.1 }
    }

    fn told(version: u64, position: u64) -> Outcome {
        Outcome::Acknowledged { first_version: version, last_version: version, position }
    }

    fn read(times: (u64, u64), level: Level, last: Option<(u64, &str)>) -> Read {
        let last = last.map(|(version, id)| (version, id.to_owned()));
        Read { client: 1, level, stream: "a".to_owned(), last, begun: times.0, ended: times.1 }
    }

    /// What kept every promise.
    fn good() -> (History, Vec<(String, Vec<Value>)>) {
        let events = vec![
            event(0, "a", 0, "a0"),
            event(1, "b", 0, "b0"),
            event(2, "a", 1, "a1"),
            event(3, "b", 1, "b1"),
        ];
        let calls = vec![
            call((10, 20), "a", "a0", Expected::NoStream, told(0, 0)),
            call((15, 30), "b", "b0", Expected::Any, told(0, 1)),
            call((40, 50), "a", "a1", Expected::Version(0), told(1, 2)),
            call((45, 60), "a", "never", Expected::Version(0), Outcome::Refused),
            call((45, 60), "b", "b1", Expected::Any, Outcome::Unknown),
            call((45, 60), "b", "b2", Expected::Any, Outcome::Unknown),
        ];
        let reads = vec![
            read((1, 5), Level::Linearizable, None),
            read((35, 42), Level::Linearizable, Some((0, "a0"))),
            read((55, 58), Level::Linearizable, Some((1, "a1"))),
            read((55, 59), Level::AtLeast, Some((1, "a1"))),
            read((60, 70), Level::Local, Some((0, "a0"))),
        ];
        let nodes = ["node-1", "node-2"].map(|name| (name.to_owned(), events.clone()));
        (History { calls, reads, ..History::default() }, nodes.into())
    }

    #[test]
    fn a_cluster_that_kept_every_promise_passes() {
        let (history, nodes) = good();
        let findings = findings(&history, &nodes);
        assert_eq!(findings.violations, NO_FAULTS);
        assert_eq!((findings.acknowledged, findings.refused, findings.unknown), (3, 1, 2));
    }

    #[test]
    fn each_broken_promise_is_found() {
        type Breaking = fn(&mut History, &mut [Vec<Value>]);
        let table: [(&str, &str, Breaking); 18] = [
            ("a lost event", "0 of 1 events", |_, nodes| {
                for events in nodes {
                    events.remove(2);
                    events[2]["position"] = json!(2);
                }
            }),
            ("an event that is there twice", "is stored twice", |_, nodes| {
                nodes.iter_mut().for_each(|events| events.push(event(4, "b", 2, "a0")));
            }),
            ("a gap of positions", "position 9 is at index 3", |_, nodes| {
                nodes.iter_mut().for_each(|events| events[3]["position"] = json!(9));
            }),
            ("a gap of versions", "version 5 where 1 was expected", |_, nodes| {
                nodes.iter_mut().for_each(|events| events[3]["version"] = json!(5));
            }),
            ("an event that was refused", "was refused, but is stored", |history, _| {
                history.calls[1].append.outcome = Outcome::Refused;
            }),
            ("another place than was told", "is stored from", |history, _| {
                history.calls[1].append.outcome = told(0, 0);
            }),
            ("a node that misses an event", "node-1 has 4 events, and node-2 3", |_, nodes| {
                nodes[1].truncate(3);
            }),
            ("a node with another event", "node-1 has", |_, nodes| nodes[1][1]["data"] = json!("x")),
            ("an order that is not that of time", "was answered before", |history, _| {
                (history.calls[0].begun, history.calls[0].ended) = (100, 110);
            }),
            ("an unknown append from before it was sent", "was answered before", |history, _| {
                (history.calls[1].begun, history.calls[1].ended) = (70, 80);
                history.calls.push(call((90, 95), "b", "b0", Expected::Any, Outcome::Unknown));
            }),
            ("a conflict that was accepted", "it is stored from version 1", |history, _| {
                history.calls[2].expected = Expected::NoStream;
            }),
            ("a refusal without a conflict", "was the expected one", |history, _| {
                history.calls[3].expected = Expected::Version(1);
            }),
            ("a refusal before the conflict", "was the expected one", |history, _| {
                (history.calls[3].begun, history.calls[3].ended) = (30, 35);
            }),
            ("a refusal of any version", "it expected nothing", |history, _| {
                history.calls[3].expected = Expected::Any;
            }),
            ("a stale read", "the stream had 2 events by then", |history, _| {
                history.reads[2].last = Some((0, "a0".to_owned()));
            }),
            ("a read that forgets its own writes", "the stream had 2 events by then", |history, _| {
                history.reads[3].last = None;
            }),
            ("a read of what is not there", "is not stored there", |history, _| {
                history.reads[4].last = Some((0, "x".to_owned()));
            }),
            ("a read of the future", "was sent after", |history, _| {
                (history.reads[1].begun, history.reads[1].ended) = (6, 8);
            }),
        ];
        for (name, expected, breaking) in table {
            let (mut history, nodes) = good();
            let mut events: Vec<Vec<Value>> = nodes.into_iter().map(|(_, events)| events).collect();
            breaking(&mut history, &mut events);
            let names = ["node-1", "node-2"].map(str::to_owned);
            let nodes: Vec<(String, Vec<Value>)> = names.into_iter().zip(events).collect();
            let found = findings(&history, &nodes).violations;
            assert!(found.iter().any(|violation| violation.contains(expected)), "{name}: {found:#?}");
        }
    }
}
