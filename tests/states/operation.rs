//! The operations, with results as written in the tables of `docs/streams.md`.

use std::process::Output;

use exesdb_tests::{Client, Host, Response, encoded, stderr};
use serde_json::{Value, json};

use crate::state::{EVENTS, State, event, row, tag};

/// The stream that an operation acts on.
pub(crate) struct Subject<'a> {
    pub(crate) host: &'a Host,
    pub(crate) http: &'a Client,
    pub(crate) store: &'a str,
    pub(crate) stream: String,
    pub(crate) state: State,
}

/// Performs an operation, and returns its result as a cell of the table.
///
/// # Panics
///
/// When the operation is unknown, or no cell can express the host's response.
pub(crate) fn perform(subject: &Subject<'_>, operation: &str) -> String {
    if operation.starts_with("exesdb ") {
        return command(subject, operation);
    }
    if operation.contains("snapshot") {
        return snapshot(subject, operation);
    }
    if operation.starts_with("append") || operation.contains("in a transaction") {
        return append(subject, operation);
    }
    if operation.starts_with("check of") || operation.starts_with("condition") {
        return decide(subject, operation);
    }
    if operation.starts_with("import") {
        return import(subject, operation);
    }
    match operation {
        "follow, then append" => subject.follow(),
        "information" => subject.information(),
        "list of streams" => subject.is_listed(""),
        "list with deleted streams" => subject.is_listed("&deleted=true"),
        _ if operation.starts_with("read") => read(subject, operation),
        _ => change(subject, operation),
    }
}

impl Subject<'_> {
    fn path(&self) -> String {
        self.http.stream(&self.stream)
    }

    fn last_version(&self) -> u64 {
        self.state.last_version().unwrap_or(0)
    }

    /// Appends one event with a new id, whatever the version.
    fn append_new(&self, number: u64) -> Response {
        self.http.append(&self.stream, "any", &[new_event(self, number)])
    }

    fn read(&self) -> String {
        versions(self.http.get(&format!("{}/events?count=1000", self.path())))
    }

    /// Opens a live read, appends an event, and returns what the read delivered.
    fn follow(&self) -> String {
        let path = format!("{}/events?from=0", self.path());
        if self.state == State::Tombstoned {
            return problem(&self.http.get_with(&path, &[("accept", "text/event-stream")]));
        }
        let follower = self.http.follow(&path, None);
        let readable = match self.http.get(&format!("{}/events?count=1000", self.path())) {
            Response { status: 200, json, .. } => list_of(&json),
            _ => Vec::new(),
        };
        // Existing events are awaited before the append, because the append may hide some.
        let mut found: Vec<u64> = follower.take(readable.len()).iter().map(version).collect();
        assert_eq!(found, readable);
        let appended = appended_versions(&self.append_new(0).expect(200).json).1;
        found.push(version(&follower.take(1)[0]));
        assert_eq!(found.last(), Some(&appended));
        if readable.is_empty() { format!("+{appended}") } else { range(&found) }
    }

    fn information(&self) -> String {
        let response = self.http.get(&self.path());
        if response.status != 200 {
            return problem(&response);
        }
        let of =
            |name: &str| response.json[name].as_u64().map_or("-".to_owned(), |version| version.to_string());
        let state = response.json["state"].as_str().expect("a state");
        format!("{state} {}..{}", of("first_version"), of("last_version"))
    }

    fn is_listed(&self, more: &str) -> String {
        let path = format!("{}/streams?prefix={}{more}", self.http.path(), encoded(&self.stream));
        let streams = self.http.get(&path).expect(200).json["streams"].take();
        yes_or_no(streams.as_array().expect("a list").contains(&json!(self.stream)))
    }
}

fn read(subject: &Subject<'_>, operation: &str) -> String {
    let stream = format!("{}/events", subject.path());
    let store = format!("{}/events", subject.http.path());
    let query = encoded(&json!([{ "tags": [tag(&subject.stream)] }]).to_string());
    let next = subject.state.next_version();
    if operation == "read as lines" {
        return read_lines(subject, &stream);
    }
    versions(subject.http.get(&match operation {
        "read" => stream,
        "read backward" => format!("{stream}?direction=backward"),
        "read two from version 1" => format!("{stream}?from=1&count=2"),
        "read two backward from version 4" => format!("{stream}?from=4&count=2&direction=backward"),
        "read from the next version" => format!("{stream}?from={next}"),
        "read the store by prefix" => format!("{store}?stream_prefix={}", encoded(&subject.stream)),
        "read the store by tag" => format!("{store}?query={query}"),
        "read the store by tag, backward" => format!("{store}?query={query}&direction=backward"),
        _ => panic!("docs/streams.md has an operation that this test does not know: {operation}"),
    }))
}

fn read_lines(subject: &Subject<'_>, path: &str) -> String {
    let response = subject.http.get_with(path, &[("accept", "application/x-ndjson")]);
    if response.status != 200 {
        return problem(&response);
    }
    let lines =
        response.text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let events = lines.filter(|line| line.get("page").is_none());
    range(&events.map(|event| version(&event)).collect::<Vec<_>>())
}

/// The event of an append.
fn new_event(subject: &Subject<'_>, number: u64) -> Value {
    json!({ "id": format!("new-{number}"), "type": "t", "tags": [tag(&subject.stream)], "data": "new" })
}

fn append(subject: &Subject<'_>, operation: &str) -> String {
    let last = subject.last_version();
    let first = subject.state.first_version();
    let again = |versions: std::ops::RangeInclusive<u64>| -> Vec<Value> {
        versions.map(|version| event(&subject.stream, version)).collect()
    };
    let (expected, events) = match operation {
        "append, any version" | "append in a transaction" => (json!("any"), vec![new_event(subject, 0)]),
        "append, no_stream" => (json!("no_stream"), vec![new_event(subject, 0)]),
        "append, stream_exists" => (json!("stream_exists"), vec![new_event(subject, 0)]),
        "append, the last version" => (json!(last), vec![new_event(subject, 0)]),
        "append, the version before" => (json!(last.saturating_sub(1)), vec![new_event(subject, 0)]),
        "append, the version after" => (json!(last + 1), vec![new_event(subject, 0)]),
        "append the last event again" | "the last event again in a transaction" => {
            (json!("any"), again(last..=last))
        }
        "append the first event again" => (json!("any"), again(first..=first)),
        "append the first six again" => (json!("any"), again(first..=first + EVENTS - 1)),
        "append the last event and a new one" => {
            (json!("any"), [again(last..=last), vec![new_event(subject, 0)]].concat())
        }
        _ => panic!("docs/streams.md has an operation that this test does not know: {operation}"),
    };
    let response = if operation.contains("in a transaction") {
        let append = json!({ "stream": subject.stream, "expected_version": expected, "events": events });
        let mut response = subject
            .http
            .post(&format!("{}/transactions", subject.http.path()), &json!({ "appends": [append] }));
        if response.status == 200 {
            response.json = response.json["results"][0].take();
        }
        response
    } else {
        subject.http.append(&subject.stream, expected, &events)
    };
    if response.status != 200 {
        return problem(&response);
    }
    let (first, last) = appended_versions(&response.json);
    // An acknowledged event is readable, and as it was sent.
    for (version, sent) in (first..=last).zip(&events) {
        let page = subject.http.get(&format!("{}/events?from={version}&count=1", subject.path()));
        let found = &page.json["events"][0];
        if found["version"] != version || found["id"] != sent["id"] {
            return format!("acknowledged version {version}, then {} {}", page.status, page.text);
        }
    }
    let sign = if first < subject.state.next_version() { '=' } else { '+' };
    if first == last { format!("{sign}{last}") } else { format!("{sign}{first}..{last}") }
}

/// What a transaction that appends elsewhere requires of the stream.
fn decide(subject: &Subject<'_>, operation: &str) -> String {
    let other = format!("other-than-{}", subject.stream);
    let append = json!({ "stream": other, "events": [{ "id": "1", "type": "other", "data": 1 }] });
    let mut body = json!({ "appends": [append] });
    let check = |expected: Value| json!([{ "stream": subject.stream, "expected_version": expected }]);
    match operation {
        "check of stream_exists" => body["checks"] = check(json!("stream_exists")),
        "check of no_stream" => body["checks"] = check(json!("no_stream")),
        "check of the last version" => body["checks"] = check(json!(subject.last_version())),
        "condition on its tag" => {
            body["conditions"] = json!([{ "query": [{ "tags": [tag(&subject.stream)] }] }]);
        }
        _ => panic!("docs/streams.md has an operation that this test does not know: {operation}"),
    }
    let response = subject.http.post(&format!("{}/transactions", subject.http.path()), &body);
    if response.status != 200 {
        return problem(&response);
    }
    assert_eq!(subject.http.read(&other).len(), 1, "the append that was acknowledged");
    "done".to_owned()
}

/// Deletes the stream or changes its retention; some operations read it after that.
fn change(subject: &Subject<'_>, operation: &str) -> String {
    let path = subject.path();
    let last = subject.last_version();
    let retain = |limits: Value| subject.http.put(&format!("{path}/retention"), &limits);
    let response = match operation {
        "delete" | "delete, then append and read" => subject.http.delete(&path),
        "delete, the last version" => subject.http.delete(&format!("{path}?expected_version={last}")),
        "delete, the version before" => {
            subject.http.delete(&format!("{path}?expected_version={}", last.saturating_sub(1)))
        }
        "delete with a tombstone" => subject.http.delete(&format!("{path}?tombstone=true")),
        "keep one event, then read" => retain(json!({ "max_count": 1 })),
        "keep everything, then read" => retain(json!({})),
        "truncate before the next version, then read" => {
            retain(json!({ "truncate_before": subject.state.next_version() }))
        }
        "truncate before 1000000, append, read" => retain(json!({ "truncate_before": 1_000_000 })),
        _ => panic!("docs/streams.md has an operation that this test does not know: {operation}"),
    };
    if response.status != 204 {
        return problem(&response);
    }
    if operation.contains("append") {
        subject.append_new(0).expect(200);
    }
    if operation.ends_with("read") { subject.read() } else { "done".to_owned() }
}

fn import(subject: &Subject<'_>, operation: &str) -> String {
    let (first, next) = (subject.state.first_version(), subject.state.next_version());
    let other = |version: u64| {
        let mut row = row(&subject.stream, version);
        row["id"] = "another".into();
        row
    };
    let events: Vec<Value> = match operation {
        "import its first six rows again" => {
            (first..first + EVENTS).map(|version| row(&subject.stream, version)).collect()
        }
        "import another event at its last version" => vec![other(subject.last_version())],
        "import the next version" => vec![other(next)],
        "import the version after the next" => vec![other(next + 1)],
        _ => panic!("docs/streams.md has an operation that this test does not know: {operation}"),
    };
    let response =
        subject.http.post(&format!("{}/import", subject.http.path()), &json!({ "events": events }));
    if response.status != 200 {
        return problem(&response);
    }
    let [added, repeated, hidden] =
        ["added", "repeated", "hidden"].map(|name| response.json[name].to_string());
    if added != "0" {
        let newest = subject.http.get(&format!("{}/events?direction=backward&count=1", subject.path()));
        // The rows are older than every maximum age.
        let is_aged = matches!(subject.state, State::Aged | State::Emptied);
        if !is_aged && newest.json["events"][0]["id"] != events[events.len() - 1]["id"] {
            return format!("added, then {} {}", newest.status, newest.text);
        }
    }
    format!("{added}/{repeated}/{hidden}")
}

fn snapshot(subject: &Subject<'_>, operation: &str) -> String {
    let path = format!("{}/snapshots", subject.path());
    let (first, last) = (subject.state.first_version(), subject.last_version());
    let put = |version: u64| subject.http.put(&format!("{path}/{version}"), &json!({ "data": 1 }));
    let response = match operation {
        "put a snapshot at its last version" => put(last),
        "put a snapshot after its last version" => put(subject.state.next_version()),
        "put a snapshot at its third version" => put(first + 2),
        "get its first snapshot" => subject.http.get(&format!("{path}/{}", first + 2)),
        "get its latest snapshot" => subject.http.get(&format!("{path}/latest")),
        "list its snapshots" => subject.http.get(&path),
        "list the snapshots of the store" => {
            let of_stream = |info: &Value| info["stream"] == subject.stream.as_str();
            let snapshots = all_snapshots(subject.http).into_iter().filter(of_stream).collect::<Vec<_>>();
            return listed(&snapshots);
        }
        "keep its newest snapshot" => {
            let response = subject.http.delete(&format!("{path}?keep=1")).expect(200);
            return format!("{} deleted", response.json["deleted"]);
        }
        "delete its first snapshot" => subject.http.delete(&format!("{path}/{}", first + 2)),
        _ => panic!("docs/streams.md has an operation that this test does not know: {operation}"),
    };
    match (response.status, response.json["snapshots"].as_array()) {
        (204, _) => "done".to_owned(),
        (200, Some(snapshots)) => listed(snapshots),
        (200, None) => response.json["version"].to_string(),
        _ => problem(&response),
    }
}

/// Every snapshot of the store, page by page.
pub(crate) fn all_snapshots(http: &Client) -> Vec<Value> {
    let mut snapshots = Vec::new();
    let mut after = String::new();
    loop {
        let mut page = http.get(&format!("{}/snapshots?count=100{after}", http.path())).expect(200).json;
        snapshots.extend(page["snapshots"].as_array().expect("a list").iter().cloned());
        match page["next"].take() {
            Value::String(next) => after = format!("&after={}", encoded(&next)),
            _ => return snapshots,
        }
    }
}

fn command(subject: &Subject<'_>, operation: &str) -> String {
    let stream = subject.stream.as_str();
    let last = subject.last_version().to_string();
    let third = (subject.state.first_version() + 2).to_string();
    let folder = exesdb_tests::folder();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is there");
        path.to_string_lossy().into_owned()
    };
    let append = json!({ "stream": stream, "events": [new_event(subject, 0)] });
    let transaction = file("transaction.json", json!({ "appends": [append] }).to_string());
    let rows = file("another.csv", format!("stream,type,n\n{stream},t,1\n{stream},t,2\n"));
    let arguments: Vec<&str> = match operation {
        "exesdb read" => vec!["read", stream, "--json"],
        "exesdb append" => vec!["append", stream, "--type", "t", "--data", "1", "--json"],
        "exesdb transact" => vec!["transact", &transaction, "--json"],
        "exesdb import, two rows of another source" => {
            vec!["import", &rows, "--stream-by", "stream", "--type-by", "type", "--json"]
        }
        "exesdb delete" => vec!["delete", stream],
        "exesdb delete --tombstone" => vec!["delete", stream, "--tombstone"],
        "exesdb retention --show" => vec!["retention", stream, "--show"],
        "exesdb retention --max-count 1" => vec!["retention", stream, "--max-count", "1"],
        "exesdb retention --truncate-before 2" => vec!["retention", stream, "--truncate-before", "2"],
        "exesdb retention --max-age 1d" => vec!["retention", stream, "--max-age", "1d"],
        "exesdb retention --unlimited" => vec!["retention", stream, "--unlimited"],
        "exesdb streams" => vec!["streams", "--prefix", stream, "--json"],
        "exesdb streams --deleted" => vec!["streams", "--prefix", stream, "--deleted", "--json"],
        "exesdb snapshot latest" => vec!["snapshot", "latest", stream],
        "exesdb snapshot get, the first" => vec!["snapshot", "get", stream, &third],
        "exesdb snapshot list" => vec!["snapshot", "list", stream, "--json"],
        "exesdb snapshot delete, the first" => vec!["snapshot", "delete", stream, &third],
        "exesdb snapshot prune --keep 1" => vec!["snapshot", "prune", stream, "--keep", "1"],
        "exesdb snapshot put, the last version" => {
            vec!["snapshot", "put", stream, &last, "--file", "/dev/null", "--content-type", "text/plain"]
        }
        "exesdb export" => vec!["export", "--stream-prefix", stream],
        _ => panic!("docs/streams.md has an operation that this test does not know: {operation}"),
    };
    let output = subject.host.exesdb(&[&arguments[..], &["--store", subject.store]].concat());
    if !output.status.success() {
        let said = stderr(&output);
        assert!(
            said.starts_with("exesdb: ") && said.len() > 20,
            "{operation} says what went wrong: {said:?}"
        );
        return format!("exit {}", output.status.code().unwrap_or(-1));
    }
    let lines = lines(&output);
    match operation {
        "exesdb read" => range(&lines.iter().map(version).collect::<Vec<_>>()),
        "exesdb append" | "exesdb transact" => {
            let appended = appended_versions(&lines[0]).1;
            assert_eq!(subject.http.read(stream).last().map(version), Some(appended));
            format!("+{appended}")
        }
        "exesdb streams" | "exesdb streams --deleted" => yes_or_no(lines.contains(&json!(stream))),
        "exesdb snapshot list" => listed(&lines),
        "exesdb import, two rows of another source" => {
            let [added, there, hidden] = ["added", "already_there", "hidden"].map(|name| &lines[0][name]);
            format!("{added}/{there}/{hidden}")
        }
        "exesdb snapshot latest" | "exesdb snapshot get, the first" => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        "exesdb export" => {
            let events = lines.iter().map(|line| &line["event"]).filter(|event| event["stream"] == stream);
            range(&events.map(version).collect::<Vec<_>>())
        }
        _ => "done".to_owned(),
    }
}

/// The JSON lines of an output.
fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// A page of events as a cell.
fn versions(response: Response) -> String {
    if response.status == 200 { range(&list_of(&response.json)) } else { problem(&response) }
}

fn list_of(page: &Value) -> Vec<u64> {
    page["events"].as_array().expect("a page has events").iter().map(version).collect()
}

fn version(event: &Value) -> u64 {
    event["version"].as_u64().expect("an event has a version")
}

/// The first and the last version of an append.
fn appended_versions(result: &Value) -> (u64, u64) {
    let of = |name: &str| result[name].as_u64().expect("a result has versions");
    (of("first_version"), of("last_version"))
}

/// Versions as the table writes them.
///
/// # Panics
///
/// When they are not consecutive, ascending or descending.
fn range(versions: &[u64]) -> String {
    let (Some(first), Some(last)) = (versions.first(), versions.last()) else { return "none".to_owned() };
    let step = |pair: &[u64]| if first <= last { pair[0] + 1 == pair[1] } else { pair[1] + 1 == pair[0] };
    assert!(versions.windows(2).all(step), "versions follow each other: {versions:?}");
    format!("{first}..{last}")
}

fn listed(snapshots: &[Value]) -> String {
    if snapshots.is_empty() {
        return "none".to_owned();
    }
    snapshots.iter().map(|info| info["version"].to_string()).collect::<Vec<_>>().join(",")
}

fn yes_or_no(is_there: bool) -> String {
    if is_there { "yes" } else { "no" }.to_owned()
}

/// A problem as the table writes it; the whole response if the table has no word for it.
fn problem(response: &Response) -> String {
    let word = match (response.status, response.problem()) {
        (404, "stream-not-found" | "snapshot-not-found") => "missing",
        (410, "stream-deleted") => "gone",
        (409, "wrong-expected-version") => "version",
        (409, "event-id-conflict") => "id",
        (409, "condition-failed") => "condition",
        (409, "no-such-version") => "no-version",
        _ => return format!("{} {}", response.status, response.text),
    };
    word.to_owned()
}
