//! Performs the operations on the store and on the model, and compares the results.

use exesdb_reference::{AppendRequest, Reference, Transaction};
use exesdb_sdk::events::{EventData, RecordedEvent};
use exesdb_sdk::types::{
    AppendCondition, Deletion, Direction, ExpectedVersion, QueryItem, Retention, StreamCheck,
};
use exesdb_tests::{Client, Host, Response, encoded};
use serde_json::json;

use crate::json::{self, problem};
use crate::operation::{Draft, Expected, Operation, Range, STREAMS};

/// A difference, with its call.
type Compared = Result<(), String>;

struct Run<'a> {
    host: &'a Host,
    store: &'a str,
    http: Client,
    /// The model. Its time is always 0, so the times of events are not compared.
    reference: Reference,
    /// All appends that were sent.
    sent: Vec<AppendRequest>,
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
                self.append(name(*stream), *expected, events)
            }
            Operation::Repeat { earlier, expected } => {
                if self.sent.is_empty() {
                    return Ok(());
                }
                let AppendRequest { stream_id, events, .. } = self.sent[earlier % self.sent.len()].clone();
                self.append(stream_id, *expected, events)
            }
            Operation::Transact { appends, check, condition } => {
                self.transact(appends, *check, condition.as_ref())
            }
            Operation::Delete { stream, expected, deletion } => {
                self.delete(&name(*stream), *expected, *deletion)
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
        let item = QueryItem { types: vec!["placed".to_owned()], tags: vec!["customer:2".to_owned()] };
        for scavenged in [false, true] {
            for stream in 0..STREAMS {
                let whole = Range { from: None, count: 1_000, direction: Direction::Forward };
                self.read_stream(&name(stream), whole)?;
                self.info(&name(stream))?;
            }
            self.list()?;
            for direction in [Direction::Forward, Direction::Backward] {
                let range = Range { from: None, count: 7, direction };
                self.read_filtered(&[], "", range)?;
                self.read_filtered(std::slice::from_ref(&item), "", range)?;
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

    fn with_ids(&mut self, drafts: &[Draft]) -> Vec<EventData> {
        let with_id = |Draft { event_type, tags }: &Draft| {
            self.events += 1;
            let id = format!("e{}", self.events);
            EventData {
                event_type: event_type.clone(),
                content_type: json::JSON.to_owned(),
                data: json!({ "id": id }).to_string().into_bytes(),
                metadata: Vec::new(),
                tags: tags.clone(),
                id,
            }
        };
        drafts.iter().map(with_id).collect()
    }

    fn expectation(&self, stream: &str, expected: Expected) -> ExpectedVersion {
        match expected {
            Expected::Any => ExpectedVersion::Any,
            Expected::NoStream => ExpectedVersion::NoStream,
            Expected::Exists => ExpectedVersion::StreamExists,
            Expected::Last(off) => {
                let last = self.reference.last_version(stream);
                let version = last.and_then(|last| last.checked_add_signed(off));
                version.map_or(ExpectedVersion::NoStream, ExpectedVersion::Exact)
            }
        }
    }

    fn append(&mut self, stream_id: String, expected: Expected, events: Vec<EventData>) -> Compared {
        let expected = self.expectation(&stream_id, expected);
        let expected_version = json::expected_version(expected);
        let response = self.http.append(&stream_id, expected_version, &json::events(&events));
        let request = AppendRequest { stream_id, expected, events };
        let wanted = self.reference.append(&request).map_err(problem);
        self.sent.push(request);
        same_outcome(&response, wanted, |response, wanted| {
            equal("the append's response", &json::appended(&response.json), &wanted)
        })
    }

    fn transact(
        &mut self,
        appends: &[(usize, Expected, Vec<Draft>)],
        check: Option<(usize, Expected)>,
        condition: Option<&(Vec<QueryItem>, Option<u64>)>,
    ) -> Compared {
        let appends = appends.iter().map(|(stream, expected, events)| {
            let stream_id = name(*stream);
            let expected = self.expectation(&stream_id, *expected);
            AppendRequest { stream_id, expected, events: self.with_ids(events) }
        });
        let appends = appends.collect();
        let check = check.map(|(stream, expected)| {
            let stream_id = name(stream);
            let expected = self.expectation(&stream_id, expected);
            StreamCheck { stream_id, expected }
        });
        let condition = condition.map(|(query, after)| {
            let after = after.map(|percent| self.reference.end() * percent / 100);
            AppendCondition { query: query.clone(), after }
        });
        let checks = check.into_iter().collect();
        let conditions = condition.into_iter().collect();
        let transaction = Transaction { appends, checks, conditions };
        let path = format!("{}/transactions", self.http.path());
        let response = self.http.post(&path, &json::transaction(&transaction));
        let reached = self.reference.check_conditions(&transaction);
        let wanted = reached.and_then(|()| self.reference.transact(&transaction));
        same_outcome(&response, wanted.map_err(problem), |response, wanted| {
            let results = response.json["results"].as_array().into_iter().flatten();
            let found: Vec<_> = results.map(json::appended).collect();
            equal("the result of the transaction", &found, &wanted)
        })
    }

    fn delete(&mut self, stream: &str, expected: Expected, deletion: Deletion) -> Compared {
        let expected = self.expectation(stream, expected);
        let version = json::expected_version(expected);
        let version = version.as_str().map_or_else(|| version.to_string(), str::to_owned);
        let tombstone = deletion == Deletion::Tombstone;
        let target = self.http.stream(stream);
        let response =
            self.http.delete(&format!("{target}?expected_version={version}&tombstone={tombstone}"));
        let wanted = self.reference.delete_stream(stream, expected, deletion);
        same_outcome(&response, wanted.map_err(problem), |_, ()| Ok(()))
    }

    fn retain(&mut self, stream: &str, truncate: Option<u64>, max_count: Option<u64>) -> Compared {
        let truncate_before = truncate.map(|percent| self.reference.next_version(stream) * percent / 100);
        let retention = Retention { max_count, max_age_seconds: None, truncate_before };
        let path = format!("{}/retention", self.http.stream(stream));
        let response = self.http.put(&path, &json::retention(&retention));
        let wanted = self.reference.set_retention(stream, &retention);
        same_outcome(&response, wanted.map_err(problem), |_, ()| Ok(()))
    }

    /// Compares one page of a stream.
    fn read_stream(&self, stream: &str, range: Range) -> Compared {
        let from = range.from.map(|percent| self.reference.next_version(stream) * percent / 100);
        let response = self.http.get(&format!("{}/events?{}", self.http.stream(stream), query(from, range)));
        let mut wanted = self.reference.read_stream(stream, from, range.direction);
        if let Ok(events) = &mut wanted {
            events.truncate(range.count as usize);
        }
        same_outcome(&response, wanted.map_err(problem), |response, wanted| {
            equal("the page", &json::recorded(&response.json)?, &wanted)
        })
    }

    /// Compares the pages of the whole store, from a position to the end.
    fn read_filtered(&self, items: &[QueryItem], prefix: &str, range: Range) -> Compared {
        let from = range.from.map(|percent| self.reference.end() * percent / 100);
        let mut filter = String::new();
        if !items.is_empty() {
            filter += &format!("&query={}", encoded(&json::query(items).to_string()));
        }
        if !prefix.is_empty() {
            filter += &format!("&stream_prefix={prefix}");
        }
        let path = |from| format!("{}/events?{}{filter}", self.http.path(), query(from, range));
        if let Err(error) = self.reference.check_from(from, range.direction) {
            let response = self.http.get(&path(from));
            return equal("the problem", &response.problem(), &problem(error));
        }
        let found = self.pages(path, from, range.count)?;
        equal("all pages", &found, &self.reference.read_filtered(items, prefix, from, range.direction))
    }

    /// The events of all pages from `from` on.
    fn pages(
        &self,
        path: impl Fn(Option<u64>) -> String,
        mut from: Option<u64>,
        count: u32,
    ) -> Result<Vec<RecordedEvent>, String> {
        let mut found = Vec::new();
        loop {
            let path = path(from);
            let response = self.http.get(&path);
            if response.status != 200 {
                return Err(format!("{path} has status {}: {}", response.status, response.text));
            }
            let events = json::recorded(&response.json)?;
            if events.len() > count as usize {
                return Err(format!("{} events were given where {count} were asked for", events.len()));
            }
            found.extend(events);
            let next = response.json["next"].as_u64();
            if response.json["end"] == true || next.is_none() {
                return Ok(found);
            }
            if next == from {
                return Err(format!("the page says to go on from {next:?}, where it was"));
            }
            from = next;
        }
    }

    fn info(&self, stream: &str) -> Compared {
        let response = self.http.get(&self.http.stream(stream));
        let wanted = self.reference.stream_info(stream);
        same_outcome(&response, wanted.map_err(problem), |response, wanted| {
            let mut found = response.json.clone();
            for time in ["created", "updated"] {
                found.as_object_mut().and_then(|found| found.remove(time));
            }
            equal("the description", &found, &json::description(&wanted))
        })
    }

    fn list(&self) -> Compared {
        let response = self.http.get(&format!("{}/streams", self.http.path()));
        same_outcome(&response, Ok(self.reference.list_streams(false)), |response, wanted| {
            equal("the names", &response.json["streams"], &json!(wanted))
        })
    }

    fn snapshots(&self, stream: &str, rest: &str, source: &str) -> String {
        format!("{}/snapshots{rest}source={source}", self.http.stream(stream))
    }

    fn put_snapshot(&mut self, stream: &str, source: &str, version: u64) -> Compared {
        let path = self.snapshots(stream, &format!("/{version}?"), source);
        let response = self.http.put(&path, &json!({ "data": { "of": version } }));
        let wanted = self.reference.record_snapshot(stream, source, version);
        same_outcome(&response, wanted.map_err(problem), |_, ()| Ok(()))
    }

    fn latest_snapshot(&self, stream: &str, source: &str, at_most: Option<u64>) -> Compared {
        let at_most_is = at_most.map_or(String::new(), |version| format!("at_most={version}&"));
        let response = self.http.get(&self.snapshots(stream, &format!("/latest?{at_most_is}"), source));
        let wanted = self.reference.read_latest(stream, source, at_most).ok();
        same_outcome(&response, wanted.ok_or("snapshot-not-found"), |response, wanted| {
            equal("the version", &response.json["version"].as_u64(), &Some(wanted))?;
            equal("its data", &response.json["data"], &json!({ "of": wanted }))
        })
    }

    fn prune(&mut self, stream: &str, source: &str, keep: u32) -> Compared {
        let response = self.http.delete(&self.snapshots(stream, &format!("?keep={keep}&"), source));
        let wanted = self.reference.keep_newest(stream, source, keep as usize);
        same_outcome(&response, Ok(wanted), |response, wanted| {
            equal("how many", &response.json["deleted"].as_u64(), &Some(wanted as u64))
        })
    }
}

fn query(from: Option<u64>, range: Range) -> String {
    let direction = match range.direction {
        Direction::Forward => "forward",
        Direction::Backward => "backward",
    };
    let from = from.map_or(String::new(), |from| format!("from={from}&"));
    format!("{from}count={}&direction={direction}", range.count)
}

/// Compares a response with the wanted result, or kind of problem.
fn same_outcome<T>(
    response: &Response,
    wanted: Result<T, &str>,
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
