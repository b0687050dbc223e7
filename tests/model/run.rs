//! Performs the operations on the store and on the model, and compares the results.

use exesdb_tests::{Client, Host, Response, encoded};
use serde_json::{Value, json};

use crate::operation::{Draft, Expected, Item, Operation, Range, STREAMS};
use crate::reference::{
    Appended, Event, Expectation, Reference, Refusal, Stream, Write, tag_names, type_name,
};

/// A difference, with its call.
type Compared = Result<(), String>;

/// The events of an append.
type Sent = Vec<(String, usize, Vec<usize>)>;

struct Run<'a> {
    host: &'a Host,
    store: &'a str,
    http: Client,
    reference: Reference,
    /// The acknowledged appends: stream and events.
    sent: Vec<(usize, Sent)>,
    events: u64,
}

/// Performs the operations, and returns the number of compared calls, or the first difference.
pub(crate) fn run(host: &Host, store: &str, operations: &[Operation]) -> Result<u64, String> {
    let mut run = Run {
        host,
        store,
        http: host.http.of(store),
        reference: Reference::default(),
        sent: Vec::new(),
        events: 0,
    };
    for (number, operation) in operations.iter().enumerate() {
        run.perform(operation).map_err(|difference| format!("call {number}, {operation:?}: {difference}"))?;
    }
    run.perform_at_end()?;
    Ok(operations.len() as u64)
}

fn name(stream: usize) -> String {
    // Two prefixes, for filters by prefix.
    format!("{}-{stream}", if stream.is_multiple_of(2) { "even" } else { "odd" })
}

fn source(source: bool) -> &'static str {
    if source { "projection" } else { "" }
}

impl Run<'_> {
    fn perform(&mut self, operation: &Operation) -> Compared {
        match operation {
            Operation::Append { stream, expected, events } => {
                let events = self.with_ids(events);
                self.append(*stream, *expected, events)
            }
            Operation::Repeat { earlier, expected } => {
                if self.sent.is_empty() {
                    return Ok(());
                }
                let (stream, events) = self.sent[earlier % self.sent.len()].clone();
                self.append(stream, *expected, events)
            }
            Operation::Transact { appends, check, condition } => {
                self.transact(appends, *check, condition.as_ref())
            }
            Operation::Delete { stream, expected, tombstone } => {
                self.delete(&name(*stream), *expected, *tombstone)
            }
            Operation::Retain { stream, truncate, max_count } => {
                self.retain(&name(*stream), *truncate, *max_count)
            }
            Operation::ReadStream { stream, range } => self.read_stream(&name(*stream), *range),
            Operation::ReadAll { range } => self.read_filtered(&[], "", *range),
            Operation::ReadFiltered { query, prefix, range } => {
                self.read_filtered(query, if *prefix { "even" } else { "" }, *range)
            }
            Operation::Info { stream } => self.info(&name(*stream)),
            Operation::List => self.list(),
            Operation::PutSnapshot { stream, source: by, version } => {
                self.put_snapshot(&name(*stream), source(*by), *version)
            }
            Operation::LatestSnapshot { stream, source: by, at_most } => {
                self.latest_snapshot(&name(*stream), source(*by), *at_most)
            }
            Operation::PruneSnapshots { stream, source: by, keep } => {
                self.prune(&name(*stream), source(*by), *keep)
            }
            Operation::Kill { readers } => {
                let pool = if *readers { "readers" } else { "writers" };
                let path = format!("{}/system/core-system/persistence-system/streams/{pool}", self.store);
                self.command(&["kill", &path])
            }
        }
    }

    /// Scavenges at the end, and compares everything again.
    fn perform_at_end(&mut self) -> Compared {
        for scavenged in [false, true] {
            for stream in 0..STREAMS {
                let whole = Range { from: None, count: 1_000, backward: false };
                self.read_stream(&name(stream), whole)?;
                self.info(&name(stream))?;
            }
            self.list()?;
            for backward in [false, true] {
                self.read_filtered(&[], "", Range { from: None, count: 7, backward })?;
                let item = Item { types: vec![0], tags: vec![1] };
                self.read_filtered(&[item], "", Range { from: None, count: 7, backward })?;
            }
            if !scavenged {
                self.command(&["scavenge", "--store", self.store])?;
            }
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Compared {
        let output = self.host.exesdb(arguments);
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn with_ids(&mut self, drafts: &[Draft]) -> Sent {
        let with_id = |draft: &Draft| {
            self.events += 1;
            (format!("e{}", self.events), draft.kind, draft.tags.clone())
        };
        drafts.iter().map(with_id).collect()
    }

    fn expectation(&self, stream: &str, expected: Expected) -> Expectation {
        match expected {
            Expected::Any => Expectation::Any,
            Expected::NoStream => Expectation::NoStream,
            Expected::Exists => Expectation::Exists,
            Expected::Last(off) => {
                match self.reference.stream(stream).last().and_then(|last| last.checked_add_signed(off)) {
                    Some(version) => Expectation::Exact(version),
                    None => Expectation::NoStream,
                }
            }
        }
    }

    fn append(&mut self, stream: usize, expected: Expected, events: Sent) -> Compared {
        let stream_name = name(stream);
        let expected = self.expectation(&stream_name, expected);
        let response = self.http.append(&stream_name, expectation(expected), &bodies(&events));
        let write = Write { stream: &stream_name, expected, events: &events };
        let wanted = self.reference.transact(&[write], None, None);
        self.sent.push((stream, events));
        same_outcome(&response, wanted, |response, appended| {
            equal("the append's response", &appended_in(&response.json), &appended[0])
        })
    }

    fn transact(
        &mut self,
        appends: &[(usize, Expected, Vec<Draft>)],
        check: Option<(usize, Expected)>,
        condition: Option<&(Vec<Item>, Option<u64>)>,
    ) -> Compared {
        let prepared: Vec<(String, Expectation, Sent)> = appends
            .iter()
            .map(|(stream, expected, events)| {
                let stream = name(*stream);
                let expected = self.expectation(&stream, *expected);
                let events = self.with_ids(events);
                (stream, expected, events)
            })
            .collect();
        let check = check.map(|(stream, expected)| {
            let stream = name(stream);
            let expected = self.expectation(&stream, expected);
            (stream, expected)
        });
        let condition = condition.map(|(query, after)| {
            let after = after.map(|percent| self.reference.log.len() as u64 * percent / 100);
            (query.as_slice(), after)
        });
        let mut body = json!({ "appends": [] });
        body["appends"] = prepared
            .iter()
            .map(|(stream, expected, events)| {
                json!({ "stream": stream, "expected_version": expectation(*expected), "events": bodies(events) })
            })
            .collect();
        if let Some((stream, expected)) = &check {
            body["checks"] = json!([{ "stream": stream, "expected_version": expectation(*expected) }]);
        }
        if let Some((query, after)) = condition {
            let mut condition = json!({ "query": query_of(query) });
            if let Some(after) = after {
                condition["after"] = after.into();
            }
            body["conditions"] = json!([condition]);
        }
        let response = self.http.post(&format!("{}/transactions", self.http.path()), &body);
        let writes: Vec<Write<'_>> = prepared
            .iter()
            .map(|(stream, expected, events)| Write { stream, expected: *expected, events })
            .collect();
        let check = check.as_ref().map(|(stream, expected)| (stream.as_str(), *expected));
        let wanted = self.reference.transact(&writes, check, condition);
        same_outcome(&response, wanted, |response, appended| {
            let found: Vec<_> =
                response.json["results"].as_array().into_iter().flatten().map(appended_in).collect();
            equal("the result of the transaction", &found, &appended)
        })
    }

    fn delete(&mut self, stream: &str, expected: Expected, tombstone: bool) -> Compared {
        let expected = self.expectation(stream, expected);
        let version = match expectation(expected) {
            Value::String(text) => text,
            number => number.to_string(),
        };
        let target = self.http.stream(stream);
        let response =
            self.http.delete(&format!("{target}?expected_version={version}&tombstone={tombstone}"));
        same_outcome(&response, self.reference.delete(stream, expected, tombstone), |_, ()| Ok(()))
    }

    fn retain(&mut self, stream: &str, truncate: Option<u64>, max_count: Option<u64>) -> Compared {
        let truncate = truncate.map(|percent| self.reference.stream(stream).next() * percent / 100);
        let mut body = json!({});
        if let Some(truncate) = truncate {
            body["truncate_before"] = truncate.into();
        }
        if let Some(max_count) = max_count {
            body["max_count"] = max_count.into();
        }
        let response = self.http.put(&format!("{}/retention", self.http.stream(stream)), &body);
        same_outcome(&response, self.reference.retain(stream, truncate, max_count), |_, ()| Ok(()))
    }

    /// Compares one page of a stream.
    fn read_stream(&self, stream: &str, range: Range) -> Compared {
        let from = range.from.map(|percent| self.reference.stream(stream).next() * percent / 100);
        let response = self.http.get(&format!("{}/events?{}", self.http.stream(stream), query(from, range)));
        let wanted = self.reference.read(stream).map(|events| {
            let mut events: Vec<Event> = events.into_iter().cloned().collect();
            if range.backward {
                events.reverse();
                events.retain(|event| from.is_none_or(|from| event.version <= from));
            } else {
                events.retain(|event| from.is_none_or(|from| event.version >= from));
            }
            events.truncate(range.count as usize);
            events
        });
        same_outcome(&response, wanted, |response, wanted| {
            equal("the page", &events_in(&response.json)?, &wanted)
        })
    }

    /// Compares the pages of the whole store, from a position to the end.
    fn read_filtered(&self, items: &[Item], prefix: &str, range: Range) -> Compared {
        let mut from = range.from.map(|percent| self.reference.log.len() as u64 * percent / 100);
        let mut wanted: Vec<Event> = self.reference.matching(items, prefix).cloned().collect();
        if range.backward {
            wanted.reverse();
            wanted.retain(|event| from.is_none_or(|from| event.position <= from));
        } else {
            wanted.retain(|event| from.is_none_or(|from| event.position >= from));
        }
        let mut filter = String::new();
        if !items.is_empty() {
            filter += &format!("&query={}", encoded(&query_of(items).to_string()));
        }
        if !prefix.is_empty() {
            filter += &format!("&stream_prefix={prefix}");
        }
        let mut found = Vec::new();
        loop {
            let path = format!("{}/events?{}{filter}", self.http.path(), query(from, range));
            let response = self.http.get(&path);
            if !range.backward && from.is_some_and(|from| from > self.reference.log.len() as u64) {
                return equal("the problem", &response.problem(), &"history-changed");
            }
            if response.status != 200 {
                return Err(format!("{path} has status {}: {}", response.status, response.text));
            }
            let events = events_in(&response.json)?;
            if events.len() > range.count as usize {
                return Err(format!(
                    "{} events were given where {} were asked for",
                    events.len(),
                    range.count
                ));
            }
            found.extend(events);
            let next = response.json["next"].as_u64();
            if response.json["end"] == true || next.is_none() {
                return equal("all pages", &found, &wanted);
            }
            if next == from {
                return Err(format!("the page says to go on from {next:?}, where it was"));
            }
            from = next;
        }
    }

    fn info(&self, stream: &str) -> Compared {
        let response = self.http.get(&self.http.stream(stream));
        let found = self.reference.stream(stream);
        let wanted = if found.next() == 0 { Err("stream-not-found") } else { Ok(found) };
        same_outcome(&response, wanted, |response, wanted: Stream| {
            let first = (wanted.is_live() && wanted.first() < wanted.next()).then(|| wanted.first());
            let found = (
                response.json["state"].as_str().unwrap_or_default().to_owned(),
                response.json["first_version"].as_u64(),
                response.json["last_version"].as_u64(),
            );
            equal("what is known", &found, &(wanted.state().to_owned(), first, wanted.last()))
        })
    }

    fn list(&self) -> Compared {
        let response = self.http.get(&format!("{}/streams", self.http.path()));
        same_outcome(&response, Ok::<_, Refusal>(self.reference.names()), |response, wanted| {
            let names = response.json["streams"].as_array().into_iter().flatten();
            let found: Vec<String> = names.map(|name| name.as_str().unwrap_or_default().to_owned()).collect();
            equal("the names", &found, &wanted)
        })
    }

    fn snapshots(&self, stream: &str, rest: &str, source: &str) -> String {
        format!("{}/snapshots{rest}source={source}", self.http.stream(stream))
    }

    fn put_snapshot(&mut self, stream: &str, source: &str, version: u64) -> Compared {
        let path = self.snapshots(stream, &format!("/{version}?"), source);
        let response = self.http.put(&path, &json!({ "data": { "of": version } }));
        same_outcome(&response, self.reference.put_snapshot(stream, source, version), |_, ()| Ok(()))
    }

    fn latest_snapshot(&self, stream: &str, source: &str, at_most: Option<u64>) -> Compared {
        let at_most_is = at_most.map_or(String::new(), |version| format!("at_most={version}&"));
        let response = self.http.get(&self.snapshots(stream, &format!("/latest?{at_most_is}"), source));
        let wanted = self.reference.latest_snapshot(stream, source, at_most).ok_or("snapshot-not-found");
        same_outcome(&response, wanted, |response, wanted| {
            equal("the version", &response.json["version"].as_u64(), &Some(wanted))?;
            equal("its data", &response.json["data"], &json!({ "of": wanted }))
        })
    }

    fn prune(&mut self, stream: &str, source: &str, keep: u32) -> Compared {
        let response = self.http.delete(&self.snapshots(stream, &format!("?keep={keep}&"), source));
        let wanted = self.reference.prune_snapshots(stream, source, keep as usize);
        same_outcome(&response, Ok::<_, Refusal>(wanted), |response, wanted| {
            equal("how many", &response.json["deleted"].as_u64(), &Some(wanted as u64))
        })
    }
}

fn query(from: Option<u64>, range: Range) -> String {
    let direction = if range.backward { "backward" } else { "forward" };
    let from = from.map_or(String::new(), |from| format!("from={from}&"));
    format!("{from}count={}&direction={direction}", range.count)
}

fn query_of(items: &[Item]) -> Value {
    let item = |item: &Item| {
        let types: Vec<_> = item.types.iter().map(|kind| type_name(*kind)).collect();
        json!({ "types": types, "tags": tag_names(&item.tags) })
    };
    items.iter().map(item).collect()
}

fn expectation(expected: Expectation) -> Value {
    match expected {
        Expectation::Any => "any".into(),
        Expectation::NoStream => "no_stream".into(),
        Expectation::Exists => "stream_exists".into(),
        Expectation::Exact(version) => version.into(),
    }
}

fn bodies(events: &Sent) -> Vec<Value> {
    let body = |(id, kind, tags): &(String, usize, Vec<usize>)| json!({ "id": id, "type": type_name(*kind), "tags": tag_names(tags), "data": { "id": id } });
    events.iter().map(body).collect()
}

fn appended_in(response: &Value) -> Appended {
    let number = |name: &str| response[name].as_u64().unwrap_or(u64::MAX);
    Appended { first: number("first_version"), last: number("last_version"), position: number("position") }
}

fn events_in(page: &Value) -> Result<Vec<Event>, String> {
    let event = |event: &Value| {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let position_of = |names: &[&str], wanted: &str| names.iter().position(|name| *name == wanted);
        let tags = event["tags"].as_array().into_iter().flatten();
        let tags = tags.map(|tag| position_of(&crate::operation::TAGS, tag.as_str()?)).collect::<Option<_>>();
        if event["data"] != json!({ "id": event["id"] }) {
            return None;
        }
        Some(Event {
            stream: text("stream"),
            version: event["version"].as_u64()?,
            position: event["position"].as_u64()?,
            id: text("id"),
            kind: position_of(&crate::operation::TYPES, event["type"].as_str()?)?,
            tags: tags?,
        })
    };
    let events = page["events"].as_array().ok_or_else(|| format!("no events in {page}"))?;
    events
        .iter()
        .map(|value| event(value).ok_or_else(|| format!("an event that was not sent: {value}")))
        .collect()
}

fn same_outcome<T>(
    response: &Response,
    wanted: Result<T, Refusal>,
    compare: impl FnOnce(&Response, T) -> Compared,
) -> Compared {
    match wanted {
        Ok(wanted) if (200..300).contains(&response.status) => compare(response, wanted),
        Err(problem) if response.problem() == problem => Ok(()),
        Ok(_) => {
            Err(format!("it has status {}: {}; it should have succeeded", response.status, response.text))
        }
        Err(problem) => {
            Err(format!("it has status {}: {}; it should be {problem}", response.status, response.text))
        }
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Compared {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, wanted {wanted:?}"))
}
