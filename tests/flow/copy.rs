//! `exesdb import` of an export into a store that already has the streams: copies that are kept up to date, copies with
//! events of their own, and different streams of the same names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use exesdb_tests::{Host, folder, stderr};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Two stores: `a`, from which exports come, and `c`, into which they are imported.
struct Stores {
    host: Host,
    folder: TempDir,
}

impl Stores {
    fn start() -> Self {
        let host = Host::with_config(
            "[[store]]\nname = \"a\"\n[[store]]\nname = \"c\"\n[[store]]\nname = \"new\"\n",
        );
        Self { host, folder: folder() }
    }

    /// Appends an event.
    fn append(&self, store: &str, stream: &str, data: u64) {
        let event = json!({ "type": "t", "data": data });
        self.host.http.of(store).append(stream, "any", &[event]).expect(200);
    }

    fn run(&self, store: &str, arguments: &[&str]) {
        self.host.ok(&[arguments, &["--store", store]].concat());
    }

    fn export(&self, store: &str, name: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        self.run(store, &["export", &file.to_string_lossy()]);
        file
    }

    fn import(&self, store: &str, file: &Path) -> Output {
        self.host.exesdb(&["import", &file.to_string_lossy(), "--json", "--store", store])
    }

    /// Imports a file completely, and returns the summary.
    fn imported(&self, store: &str, file: &Path) -> Value {
        let output = self.import(store, file);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).expect("a summary")
    }

    /// Imports a file that is refused in part, and returns the messages.
    fn refused(&self, store: &str, file: &Path) -> (Value, String) {
        let output = self.import(store, file);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{said}");
        (serde_json::from_slice(&output.stdout).expect("a summary"), said)
    }

    /// From `a` to `c`.
    fn copy(&self, name: &str) {
        self.imported("c", &self.export("a", name));
    }

    /// The data of a stream's events; `None` if it cannot be read.
    fn read(&self, store: &str, stream: &str) -> Option<Vec<u64>> {
        let events = self.host.http.of(store).try_read(stream).ok()?;
        Some(events.iter().map(|event| event["data"].as_u64().expect("a number")).collect())
    }

    fn info(&self, store: &str, stream: &str) -> Value {
        let http = self.host.http.of(store);
        http.get(&http.stream(stream)).expect(200).json
    }

    fn put_snapshot(&self, store: &str, stream: &str, version: u64) -> u16 {
        let http = self.host.http.of(store);
        let path = format!("{}/snapshots/{version}", http.stream(stream));
        http.put(&path, &json!({ "data": version })).status
    }

    /// The data of the latest snapshot, if any.
    fn snapshot(&self, store: &str, stream: &str) -> Option<u64> {
        let http = self.host.http.of(store);
        let response = http.get(&format!("{}/snapshots/latest", http.stream(stream)));
        (response.status == 200).then(|| response.json["data"].as_u64().expect("a number"))
    }
}

#[test]
fn a_copy_with_new_events_keeps_them() {
    let stores = Stores::start();
    for stream in ["dw", "tomb", "kept"] {
        (0..3).for_each(|data| stores.append("a", stream, data));
    }
    stores.copy("first");
    for stream in ["dw", "tomb", "kept"] {
        (3..6).for_each(|data| stores.append("c", stream, data));
    }
    stores.run("a", &["delete", "dw"]);
    stores.run("a", &["delete", "tomb", "--tombstone"]);
    stores.run("a", &["retention", "kept", "--max-count", "1"]);
    let (summary, said) = stores.refused("c", &stores.export("a", "second"));
    assert_eq!((&summary["streams"], &summary["streams_refused"]), (&json!(0), &json!(3)), "{said}");
    assert_eq!((&summary["added"], &summary["refused"]), (&json!(0), &json!(0)), "{said}");
    for part in [
        "1 deletion, 1 tombstone and 1 retention were not imported, all others were:",
        "stream dw: its deletion was not applied: the stream has gone on to version 5 here, the export's ends at version 2",
        "do it by hand: exesdb delete dw --store c",
        "do it by hand: exesdb delete tomb --tombstone --store c",
        "do it by hand: exesdb retention kept --max-count 1 --store c",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    for stream in ["dw", "tomb", "kept"] {
        assert_eq!(stores.read("c", stream), Some((0..6).collect()), "{stream}");
    }
    // After the change that the message names, there is no further message.
    stores.run("c", &["delete", "dw"]);
    stores.run("c", &["delete", "tomb", "--tombstone"]);
    stores.run("c", &["retention", "kept", "--max-count", "1"]);
    let summary = stores.imported("c", &stores.folder.path().join("second"));
    assert_eq!(summary["streams_refused"], 0);
}

#[test]
fn another_stream_of_the_same_name_keeps_its_events() {
    let stores = Stores::start();
    for stream in ["dw", "tomb", "cut", "same"] {
        (0..3).for_each(|data| stores.append("a", stream, data));
        (10..13).for_each(|data| stores.append("c", stream, data));
    }
    assert_eq!(stores.put_snapshot("a", "same", 2), 204);
    stores.run("a", &["delete", "dw"]);
    stores.run("a", &["delete", "tomb", "--tombstone"]);
    stores.run("a", &["retention", "cut", "--truncate-before", "3"]);
    let (summary, said) = stores.refused("c", &stores.export("a", "first"));
    assert!(
        said.contains("3 events, 1 deletion, 1 tombstone, 1 retention and 1 snapshot were not"),
        "{said}"
    );
    assert!(said.contains("the store has another event at version 2"), "{said}");
    assert!(said.contains("stream same: its event of version 0 was not imported"), "{said}");
    assert_eq!((&summary["refused"], &summary["snapshots_refused"]), (&json!(3), &json!(1)));
    for stream in ["dw", "tomb", "cut", "same"] {
        assert_eq!(stores.read("c", stream), Some(vec![10, 11, 12]), "{stream}");
        assert_eq!(stores.snapshot("c", stream), None, "{stream}");
    }
}

#[test]
fn another_stream_that_ends_where_the_export_begins_keeps_its_events() {
    let stores = Stores::start();
    for stream in ["again", "cut"] {
        (0..3).for_each(|data| stores.append("a", stream, data));
        (10..13).for_each(|data| stores.append("c", stream, data));
    }
    stores.run("a", &["delete", "again"]);
    stores.run("a", &["retention", "cut", "--truncate-before", "3"]);
    for stream in ["again", "cut"] {
        (3..5).for_each(|data| stores.append("a", stream, data));
    }
    let first = stores.export("a", "first");
    let (_, said) = stores.refused("c", &first);
    assert!(said.contains("4 events and 2 retentions were not imported"), "{said}");
    assert!(
        said.contains("nothing tells whether it is the export's stream: it ends at version 2 here"),
        "{said}"
    );
    for stream in ["again", "cut"] {
        assert_eq!(stores.read("c", stream), Some(vec![10, 11, 12]), "{stream}");
        stores.run("c", &["delete", stream]);
    }
    stores.imported("c", &first);
    for stream in ["again", "cut"] {
        assert_eq!(stores.read("c", stream), Some(vec![3, 4]), "{stream}");
    }
}

#[test]
fn an_outdated_copy_is_brought_up_to_date() {
    let stores = Stores::start();
    let streams = ["dw", "tomb", "cut", "behind"];
    for stream in streams {
        (0..3).for_each(|data| stores.append("a", stream, data));
    }
    stores.copy("first");
    stores.append("a", "behind", 3);
    stores.run("a", &["retention", "dw", "--max-count", "7"]);
    for stream in ["dw", "behind"] {
        stores.run("a", &["delete", stream]);
    }
    stores.run("a", &["delete", "tomb", "--tombstone"]);
    stores.run("a", &["retention", "cut", "--max-count", "1"]);
    let second = stores.export("a", "second");
    let (summary, said) = stores.refused("c", &second);
    assert_eq!((&summary["streams"], &summary["streams_refused"]), (&json!(3), &json!(1)), "{said}");
    assert!(said.contains("1 deletion was not imported"), "{said}");
    assert!(
        said.contains(
            "stream behind: its deletion was not applied: the stream has only come to version 2 of 3"
        ),
        "{said}"
    );
    assert_eq!(stores.read("c", "behind"), Some(vec![0, 1, 2]));
    for stream in ["dw", "tomb", "cut"] {
        assert_eq!(stores.read("c", stream), stores.read("a", stream), "{stream}");
        let of = |store| {
            let info = stores.info(store, stream);
            [info["state"].clone(), info["last_version"].clone(), info["retention"]["max_count"].clone()]
        };
        assert_eq!(of("c"), of("a"), "{stream}");
    }
    // The remedy that the message names.
    stores.run("c", &["delete", "behind"]);
    assert_eq!(stores.imported("c", &second)["streams_refused"], 0);
}

#[test]
fn a_gap_is_reported_as_a_gap() {
    let stores = Stores::start();
    (0..3).for_each(|data| stores.append("a", "gq", data));
    stores.copy("first");
    (3..8).for_each(|data| stores.append("a", "gq", data));
    stores.run("a", &["retention", "gq", "--max-count", "2"]);
    assert_eq!(stores.put_snapshot("a", "gq", 7), 204);
    let second = stores.export("a", "second");
    let (_, said) = stores.refused("c", &second);
    // The first event of the copy is hidden in the original, so it is the same stream.
    for part in [
        "2 events, 1 retention and 1 snapshot were not imported",
        "line 2, stream gq: its event of version 6 was not imported: versions 3 to 5 are missing here",
        "import it into a new store",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert_eq!(said.matches("stream gq").count(), 1, "{said}");
    assert_eq!(stores.read("c", "gq"), Some(vec![0, 1, 2]));
    stores.imported("new", &second);
    assert_eq!(stores.read("new", "gq"), Some(vec![6, 7]));
}

/// Batches are sent ahead, so the ones after a refused one may be carried out before what is left of it.
#[test]
fn a_refusal_amid_many_batches_leaves_out_its_stream_only() {
    let stores = Stores::start();
    let http = stores.host.http.of("a");
    let append = |stream: &str, from: u64| {
        let events: Vec<Value> =
            (from..from + 500).map(|data| json!({ "type": "t", "data": data })).collect();
        http.append(stream, "any", &events).expect(200);
    };
    stores.append("c", "clash", 99);
    for block in 0..12 {
        // A batch of the import has 1,000 events. Some have all streams, and some a stream of their own.
        append("first", 500 * block);
        if block % 3 == 0 {
            append("second", 500 * block);
        } else {
            append(&format!("only-{block}"), 0);
        }
        if block == 5 {
            (0..3).for_each(|data| stores.append("a", "clash", data));
        }
    }
    let file = stores.export("a", "export");
    let (summary, said) = stores.refused("c", &file);
    let counts = ["events", "added", "already_there", "refused"].map(|name| summary[name].as_u64());
    assert_eq!(counts, [12_003, 12_000, 0, 3].map(Some), "{said}");
    assert!(said.contains("stream clash: its event of version 0 was not imported"), "{said}");
    assert_eq!(stores.read("c", "clash"), Some(vec![99]));
    let events = |file: &Path| {
        let text = std::fs::read_to_string(file).expect("an export");
        let mut streams: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for line in text.lines() {
            let mut line: Value = serde_json::from_str(line).expect("a line of an export");
            let Some(event) = line["event"].as_object_mut() else { continue };
            event.remove("position");
            let stream = event["stream"].as_str().expect("a stream").to_owned();
            streams.entry(stream).or_default().push(Value::Object(std::mem::take(event)));
        }
        streams.remove("clash");
        streams
    };
    assert_eq!(events(&stores.export("c", "copy")), events(&file));
    let (summary, _) = stores.refused("c", &file);
    assert_eq!((&summary["added"], &summary["already_there"]), (&json!(0), &json!(12_000)));
}

#[test]
fn snapshots_of_a_deleted_stream_are_removed_in_the_copy() {
    let stores = Stores::start();
    (0..3).for_each(|data| stores.append("a", "bb", data));
    assert_eq!(stores.put_snapshot("a", "bb", 2), 204);
    stores.copy("first");
    assert_eq!(stores.snapshot("c", "bb"), Some(2));
    stores.run("a", &["delete", "bb"]);
    (3..5).for_each(|data| stores.append("a", "bb", data));
    stores.copy("second");
    stores.imported("new", &stores.folder.path().join("second"));
    for scavenged in [false, true] {
        if scavenged {
            for store in ["a", "c", "new"] {
                stores.run(store, &["scavenge"]);
            }
        }
        for store in ["a", "c", "new"] {
            assert_eq!(stores.read(store, "bb"), Some(vec![3, 4]), "{store}");
            assert_eq!(stores.snapshot(store, "bb"), None, "{store}");
            assert_eq!(stores.put_snapshot(store, "bb", 2), 409, "{store}");
            assert_eq!(stores.info(store, "bb"), stores.info("a", "bb"), "{store}");
        }
        // A repetition changes nothing.
        stores.copy(&format!("scavenged-{scavenged}"));
    }
    for store in ["a", "c", "new"] {
        assert_eq!(stores.put_snapshot(store, "bb", 4), 204, "{store}");
    }
}

#[test]
fn a_removed_limit_truncates_nothing() {
    let stores = Stores::start();
    for stream in ["rt", "more"] {
        (0..4).for_each(|data| stores.append("a", stream, data));
        stores.run("a", &["retention", stream, "--max-count", "3"]);
    }
    stores.copy("first");
    stores.run("a", &["retention", "rt", "--unlimited"]);
    stores.run("a", &["retention", "more", "--max-count", "5"]);
    for stream in ["rt", "more"] {
        (4..7).for_each(|data| stores.append("a", stream, data));
    }
    let second = stores.export("a", "second");
    // An import from a pipe does the same.
    let mut import = stores.host.command();
    import.args(["import", "-", "--store", "c"]).stdin(std::fs::File::open(&second).expect("it is there"));
    let output = import.output().expect("the host's binary runs");
    assert!(output.status.success(), "{}", stderr(&output));
    for _ in 0..2 {
        assert_eq!(stores.read("c", "rt"), Some((1..7).collect()));
        assert_eq!(stores.read("c", "more"), Some((2..7).collect()));
        for stream in ["rt", "more"] {
            assert_eq!(stores.read("a", stream), stores.read("c", stream));
            let limit = |store| stores.info(store, stream)["retention"]["max_count"].clone();
            assert_eq!(limit("c"), limit("a"));
        }
        stores.imported("c", &second);
    }
}

#[test]
fn an_import_of_the_own_export_changes_nothing() {
    let stores = Stores::start();
    let streams = ["counted", "aged", "cut", "again", "deleted", "tomb", "plain", "emptied"];
    for stream in streams {
        (0..4).for_each(|data| stores.append("a", stream, data));
    }
    stores.run("a", &["retention", "counted", "--max-count", "2"]);
    stores.run("a", &["retention", "aged", "--max-age", "1h", "--max-count", "9"]);
    stores.run("a", &["retention", "cut", "--truncate-before", "2"]);
    stores.run("a", &["retention", "emptied", "--truncate-before", "4"]);
    stores.run("a", &["retention", "deleted", "--max-count", "2"]);
    stores.run("a", &["delete", "deleted"]);
    stores.run("a", &["delete", "again"]);
    stores.run("a", &["delete", "tomb", "--tombstone"]);
    stores.append("a", "again", 4);
    let infos = |store| streams.map(|stream| stores.info(store, stream));
    let before = infos("a");
    assert_eq!(before[0]["retention"], json!({ "max_count": 2 }));
    let first = stores.export("a", "first");
    stores.imported("a", &first);
    assert_eq!(infos("a"), before);
    let again = std::fs::read_to_string(stores.export("a", "second")).expect("text");
    assert_eq!(again, std::fs::read_to_string(&first).expect("text"));
    assert!(again.contains("\"retention\":{\"max_count\":2}"), "{again}");
    // Neither does the export of a copy, or that of the original in a copy.
    stores.imported("c", &first);
    let copied = infos("c");
    stores.imported("c", &stores.export("c", "third"));
    stores.imported("c", &first);
    assert_eq!(infos("c"), copied);
}

#[test]
fn null_is_printed() {
    let stores = Stores::start();
    stores.run("a", &["append", "s", "--type", "t", "--data", "null"]);
    assert_eq!(stores.put_snapshot("a", "s", 0), 204);
    let http = stores.host.http.of("a");
    http.put(&format!("{}/snapshots/0", http.stream("s")), &json!({ "data": null })).expect(204);
    let read = stores.host.ok(&["read", "s", "--store", "a"]);
    assert!(read.trim_end().ends_with("s@0  t  null"), "{read:?}");
    assert_eq!(stores.host.ok(&["snapshot", "latest", "s", "--store", "a"]), "null\n");
}
