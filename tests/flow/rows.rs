//! `exesdb import` of rows into streams with hidden events: the rows imported before decide which rows are hidden and which
//! are new, not the events that the stream had.

use std::path::Path;

use exesdb_tests::{Host, folder, stderr};
use serde_json::{Value, json};

const BY: [&str; 7] = ["--stream-by", "s", "--type-by", "t", "--time-by", "at", "--keep-times"];

/// Rows of a stream with these numbers, long ago or long from now.
fn write(path: &Path, stream: &str, year: u32, numbers: std::ops::Range<u32>) {
    let head = if path.exists() { "" } else { "s,t,at,n\n" };
    let rows = numbers.map(|number| format!("{stream},t,{year}-01-01T00:00:{number:02}Z,{number}\n"));
    let before = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, before + head + &rows.collect::<String>())
        .expect("the test's folder can be written");
}

/// How many rows were added, already there, hidden and refused, and the exit code.
fn import(host: &Host, file: &Path, more: &[&str]) -> ([u64; 4], i32) {
    let file = file.to_string_lossy();
    let output = host.exesdb(&[&["import", &file, "--json"], &BY[..], more].concat());
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let counts =
        ["added", "already_there", "hidden", "refused"].map(|name| summary[name].as_u64().expect("a number"));
    (counts, output.status.code().expect("it was not killed"))
}

/// A way to hide rows, and the results of three imports: the three old rows again, two new ones with them, and that again.
struct Hiding {
    name: &'static str,
    hide: &'static [&'static [&'static str]],
    again: [u64; 4],
    grown: [[u64; 4]; 2],
}

/// `STREAM` is the stream.
const HIDINGS: [Hiding; 7] = [
    Hiding { name: "kept", hide: &[], again: [0, 3, 0, 0], grown: [[2, 3, 0, 0], [0, 5, 0, 0]] },
    Hiding {
        name: "cut",
        hide: &[&["retention", "STREAM", "--truncate-before", "2"]],
        again: [0, 1, 2, 0],
        grown: [[2, 1, 2, 0], [0, 3, 2, 0]],
    },
    // Two rows of another source come first.
    Hiding {
        name: "newest",
        hide: &[&["retention", "STREAM", "--max-count", "1"]],
        again: [0, 0, 3, 0],
        grown: [[2, 0, 3, 0], [0, 1, 4, 0]],
    },
    Hiding {
        name: "aged",
        hide: &[&["retention", "STREAM", "--max-age", "1d"]],
        again: [0, 0, 3, 0],
        grown: [[2, 0, 3, 0], [0, 2, 3, 0]],
    },
    Hiding {
        name: "deleted",
        hide: &[&["delete", "STREAM"]],
        again: [0, 0, 3, 0],
        grown: [[2, 0, 3, 0], [0, 2, 3, 0]],
    },
    Hiding {
        name: "begun-again",
        hide: &[&["delete", "STREAM"], &["append", "STREAM", "--type", "new", "--data", "{}"]],
        again: [0, 0, 3, 0],
        grown: [[2, 0, 3, 0], [0, 2, 3, 0]],
    },
    Hiding {
        name: "tombstoned",
        hide: &[&["delete", "STREAM", "--tombstone"]],
        again: [0, 0, 3, 0],
        grown: [[0, 0, 3, 2], [0, 0, 3, 2]],
    },
];

#[test]
fn only_rows_that_were_imported_before_are_hidden() {
    for scavenged in [false, true] {
        let (host, folder) = (Host::start(), folder());
        let file = |name: &str, source: &str| folder.path().join(format!("{name}-{source}.csv"));
        for Hiding { name, hide, .. } in HIDINGS {
            write(&file(name, "a"), name, 2011, 0..3);
            assert_eq!(import(&host, &file(name, "a"), &[]), ([3, 0, 0, 0], 0), "{name}");
            for arguments in hide {
                let arguments: Vec<&str> =
                    arguments.iter().map(|part| if *part == "STREAM" { name } else { part }).collect();
                host.ok(&arguments);
            }
        }
        if scavenged {
            host.ok(&["scavenge"]);
        }
        for Hiding { name, again, grown, .. } in HIDINGS {
            let what = format!("{name}, scavenged: {scavenged}");
            let is_dead = name == "tombstoned";
            // The rows of another source are new.
            write(&file(name, "b"), name, 2099, 0..2);
            let new = if is_dead { ([0, 0, 0, 2], 3) } else { ([2, 0, 0, 0], 0) };
            assert_eq!(import(&host, &file(name, "b"), &[]), new, "{what}");
            let before = host.http.read_all();
            assert_eq!(import(&host, &file(name, "a"), &[]), (again, 0), "{what}");
            assert_eq!(host.http.read_all(), before, "{what}");
            write(&file(name, "a"), name, 2099, 3..5);
            for counts in grown {
                let code = if is_dead { 3 } else { 0 };
                assert_eq!(import(&host, &file(name, "a"), &[]), (counts, code), "{what}");
            }
            if !is_dead {
                let last = host.http.read(name).pop().expect("the new rows can be read");
                assert_eq!(last["data"]["n"], "4", "{what}");
            }
        }
    }
}

/// Rows of stream `name` at these seconds, in this order; the data says which.
fn write_seconds(path: &Path, name: &str, seconds: &[u32]) {
    let rows = seconds.iter().map(|second| format!("{name},t,2011-01-01T00:00:{second:02}Z,{second}\n"));
    std::fs::write(path, format!("s,t,at,n\n{}", rows.collect::<String>()))
        .expect("the test's folder can be written");
}

#[test]
fn a_row_that_came_late_is_added_and_a_hidden_one_is_not_wherever_their_times_put_them() {
    for scavenged in [false, true] {
        let (host, folder) = (Host::start(), folder());
        // The file grows at its end, or at its beginning.
        for (direction, turn) in [("oldest-first", false), ("newest-first", true)] {
            let ordered = |mut seconds: Vec<u32>| {
                if turn {
                    seconds.reverse();
                }
                seconds
            };
            let file = folder.path().join(format!("{direction}.csv"));
            let streams = [
                ("deleted", &["delete"] as &[&str], [1, 0, 4, 0], vec!["35"]),
                ("cut", &["retention", "--truncate-before", "3"], [1, 1, 3, 0], vec!["40", "35"]),
                ("kept", &[], [1, 4, 0, 0], vec!["10", "20", "30", "40", "35"]),
            ];
            for (stream, hide, counts, left) in streams {
                let name = format!("{stream}-{direction}");
                write_seconds(&file, &name, &ordered(vec![10, 20, 30, 40]));
                assert_eq!(import(&host, &file, &[]), ([4, 0, 0, 0], 0), "{name}");
                if let Some((command, options)) = hide.split_first() {
                    host.ok(&[&[*command, &name], options].concat());
                }
                if scavenged {
                    host.ok(&["scavenge"]);
                }
                write_seconds(&file, &name, &ordered(vec![10, 20, 30, 40, 35]));
                assert_eq!(import(&host, &file, &[]), (counts, 0), "{name}, scavenged: {scavenged}");
                let events = host.http.read(&name);
                let found: Vec<&str> =
                    events.iter().map(|event| event["data"]["n"].as_str().expect("a text")).collect();
                assert_eq!(found, left, "{name}, scavenged: {scavenged}");
                let [_, there, hidden, _] = counts;
                assert_eq!(import(&host, &file, &[]), ([0, there + 1, hidden, 0], 0), "{name}");
            }
        }
    }
}

#[test]
fn events_that_were_appended_are_not_taken_for_rows() {
    let (host, folder) = (Host::start(), folder());
    let file = folder.path().join("f.csv");
    host.http.append_many("s", 5);
    host.ok(&["delete", "s"]);
    write(&file, "s", 2099, 0..2);
    assert_eq!(import(&host, &file, &[]), ([2, 0, 0, 0], 0));
    assert_eq!(host.http.read("s").len(), 2);
    assert_eq!(import(&host, &file, &[]), ([0, 2, 0, 0], 0));
}

#[test]
fn the_sources_of_a_stream_do_not_disturb_each_other() {
    let (host, folder) = (Host::start(), folder());
    let [a, b] = ["a.csv", "b.csv"].map(|name| folder.path().join(name));
    write(&a, "s", 2099, 0..3);
    write(&b, "s", 2098, 0..3);
    assert_eq!(import(&host, &a, &[]), ([3, 0, 0, 0], 0));
    assert_eq!(import(&host, &b, &[]), ([3, 0, 0, 0], 0));
    host.ok(&["retention", "s", "--truncate-before", "2"]);
    assert_eq!(import(&host, &a, &[]), ([0, 1, 2, 0], 0));
    assert_eq!(import(&host, &b, &[]), ([0, 3, 0, 0], 0));
    // A row that comes before rows that can all be seen is new, although others are hidden.
    write(&b, "s", 2097, 9..10);
    assert_eq!(import(&host, &b, &[]), ([1, 3, 0, 0], 0));
    host.ok(&["delete", "s"]);
    assert_eq!(import(&host, &a, &[]), ([0, 0, 3, 0], 0));
    assert_eq!(import(&host, &b, &[]), ([0, 0, 4, 0], 0));
    write(&b, "s", 2099, 10..11);
    assert_eq!(import(&host, &b, &[]), ([1, 0, 4, 0], 0));
    assert_eq!(import(&host, &a, &[]), ([0, 0, 3, 0], 0));
}

#[test]
fn rows_that_are_added_again_are_counted_once() {
    let (host, folder) = (Host::start(), folder());
    let file = folder.path().join("f.csv");
    write(&file, "s", 2098, 0..3);
    assert_eq!(import(&host, &file, &[]), ([3, 0, 0, 0], 0));
    for _ in 0..2 {
        host.ok(&["delete", "s"]);
        assert_eq!(import(&host, &file, &[]), ([0, 0, 3, 0], 0));
        assert_eq!(import(&host, &file, &["--add-hidden"]), ([3, 0, 0, 0], 0));
        for more in [&["--add-hidden"][..], &[]] {
            assert_eq!(import(&host, &file, more), ([0, 3, 0, 0], 0));
        }
    }
    host.ok(&["delete", "s"]);
    write(&file, "s", 2099, 3..4);
    assert_eq!(import(&host, &file, &[]), ([1, 0, 3, 0], 0));
    assert_eq!(host.http.read("s").len(), 1);
}

#[test]
fn a_copy_of_a_store_counts_the_rows_that_it_shows() {
    let host = Host::with_config("[[store]]\nname = \"main\"\n[[store]]\nname = \"copy\"\n");
    let folder = folder();
    let [file, export] = ["f.csv", "export.ndjson"].map(|name| folder.path().join(name));
    for stream in ["a", "b", "c"] {
        write(&file, stream, 2099, 0..3);
    }
    assert_eq!(import(&host, &file, &[]), ([9, 0, 0, 0], 0));
    let export = export.to_string_lossy();
    host.ok(&["export", &export]);
    host.ok(&["import", &export, "--store", "copy"]);
    let copy = ["--store", "copy"];
    assert_eq!(import(&host, &file, &copy), ([0, 9, 0, 0], 0));
    host.ok(&["delete", "b", "--store", "copy"]);
    assert_eq!(import(&host, &file, &copy), ([0, 6, 3, 0], 0));
}

/// Stops the host, and checks that the doctor finds no fault in the counts.
#[test]
fn the_doctor_verifies_the_counts() {
    let (host, folder) = (Host::start(), folder());
    for Hiding { name, hide, .. } in HIDINGS {
        let file = folder.path().join(format!("{name}.csv"));
        write(&file, name, 2011, 0..3);
        assert_eq!(import(&host, &file, &[]), ([3, 0, 0, 0], 0));
        for arguments in hide {
            let arguments: Vec<&str> =
                arguments.iter().map(|part| if *part == "STREAM" { name } else { part }).collect();
            host.ok(&arguments);
        }
    }
    host.ok(&["scavenge"]);
    let output = host.stop().down.exesdb(&["doctor"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_clients_claims_about_rows_are_checked() {
    let host = Host::start();
    let (http, path) = (&host.http, host.http.path());
    let event = |version: u64| {
        let id = version.to_string();
        json!({"stream": "s/1", "version": version, "created": 1, "id": id, "type": "t", "data": 1})
    };
    let mark = |rows: u64| json!({"stream": "s/1", "source": "f", "rows": rows});
    let import = |body: Value| http.post(&format!("{path}/import"), &body);
    let states = |body: Value| http.post(&format!("{path}/import/states"), &body);
    import(json!({"events": [event(0), event(1)], "marks": [mark(2)]})).expect(200);
    let response = states(json!({"source": "f", "streams": ["s/1", "never"]})).expect(200).json;
    assert_eq!(
        (&response["states"][0]["rows"], &response["states"][1]),
        (&json!(2), &json!({"stream": "never", "rows": 0, "leading_rows": 0}))
    );
    assert_eq!(response["states"][0]["info"]["last_version"], 1);
    // Sent again, and late.
    for rows in [2, 1] {
        let again = import(json!({"events": [event(0), event(1)], "marks": [mark(rows)]})).expect(200);
        assert_eq!(again.json["repeated"], 2);
    }
    // More than there are, none, and twice.
    for (marks, field) in [
        (json!([mark(3)]), "marks[0].rows"),
        (json!([mark(u64::MAX)]), "marks[0].rows"),
        (json!([mark(0)]), "marks[0].rows"),
        (json!([mark(1), mark(1)]), "marks[1].source"),
        (json!([{"stream": "s/1", "source": "f", "rows": 2, "leading_rows": 3}]), "marks[0].leading_rows"),
        (json!([{"stream": "never", "source": "f", "rows": 1}]), "marks[0].rows"),
    ] {
        let refused = import(json!({ "marks": marks })).expect_problem(400, "invalid-argument");
        assert!(refused.detail().starts_with(field), "{}", refused.detail());
    }
    import(json!({})).expect_problem(400, "invalid-argument");
    import(json!({"marks": vec![mark(1); 1_001]})).expect_problem(413, "too-large");
    states(json!({"source": "f", "streams": []})).expect_problem(400, "invalid-argument");
    states(json!({"source": "f", "streams": vec!["s"; 1_001]})).expect_problem(413, "too-large");
    // The place of a new row was taken by an event that is hidden by now.
    http.append_one("s/1").expect(200);
    http.delete(&http.stream("s/1")).expect(204);
    import(json!({"events": [event(2)], "marks": [mark(3)]})).expect_problem(409, "wrong-expected-version");
    import(json!({"events": [event(3)], "marks": [mark(3)]})).expect(200);
}
