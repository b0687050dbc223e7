//! The command line, end to end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use exesdb_tests::{Host, eventually, exesdb, exesdb_in, folder, of_kind, stderr};
use serde_json::{Value, json};

#[test]
fn events_are_appended_read_and_listed() {
    let host = Host::start();
    assert_eq!(
        host.ok(&["append", "s/1", "--type", "placed", "--data", "{\"total\":12}"]),
        "s/1: version 0, position 0\n"
    );
    let response = host.json(&[
        "append",
        "s/1",
        "--type",
        "paid",
        "--data",
        "1",
        "--metadata",
        "{\"by\":\"me\"}",
        "--json",
    ]);
    let history = host.http.get("/v1/stores/main").expect(200).json["history"].clone();
    assert_eq!(
        response,
        [json!({ "first_version": 1, "last_version": 1, "position": 1, "history": history })]
    );

    // Several lines of stdin are one append.
    let mut append = host.command();
    append.args(["append", "lines", "--type", "line", "--expected-version", "no_stream", "--json"]);
    let mut append = append.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    append.stdin.take().unwrap().write_all(b"1\n\n{\"a\": 2}\n\"three\"\n").unwrap();
    let output = append.wait_with_output().unwrap();
    let response: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(response, json!({ "first_version": 0, "last_version": 2, "position": 4, "history": history }));

    let events = host.json(&["read", "s/1", "--json"]);
    assert_eq!(events, host.http.read("s/1"));
    assert_eq!(host.json(&["read", "--json"]), host.http.read_all());
    let last = host.json(&["read", "lines", "--direction", "backward", "--count", "1", "--json"]);
    assert_eq!((last.len(), &last[0]["data"]), (1, &json!("three")));
    let text = host.ok(&["read", "s/1", "--from", "1"]);
    assert!(text.lines().count() == 1 && text.contains("s/1@1") && text.contains("paid"), "{text}");

    assert_eq!(host.ok(&["streams"]), "lines\ns/1\n");
    assert_eq!(host.json(&["streams", "--prefix", "s", "--json"]), [json!("s/1")]);
}

#[test]
fn follow_ends_after_count_events() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    let mut follow = host.command();
    follow.args(["follow", "--json", "--count", "3"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next =
        || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["position"].clone();
    assert_eq!(next(), 0);
    host.http.append_one("t").expect(200);
    assert_eq!(next(), 1);
    host.http.append_one("s").expect(200);
    assert_eq!(next(), 2);
    let status = eventually("follow ends with its count", || follow.try_wait().unwrap());
    assert!(status.success());
}

#[test]
fn snapshots_are_recorded_shown_listed_and_deleted() {
    let host = Host::start();
    let folder = folder();
    let file = folder.path().join("state.json");
    std::fs::write(&file, "{\"total\":12}").unwrap();
    host.http.append_many("s", 43).expect(200);
    host.ok(&["snapshot", "put", "s", "41", "--file", &file.to_string_lossy()]);
    std::fs::write(&file, [0, 0xff]).unwrap();
    host.ok(&["snapshot", "put", "s", "42", "--file", &file.to_string_lossy(), "--content-type", "a/b"]);
    assert_eq!(host.json(&["snapshot", "get", "s", "41"]), [json!({ "total": 12 })]);
    let raw = host.exesdb(&["snapshot", "latest", "s"]);
    assert_eq!(raw.stdout, [0, 0xff]);
    assert_eq!(host.json(&["snapshot", "latest", "s", "--json"])[0]["version"], 42);
    let listed = host.json(&["snapshot", "list", "s", "--json"]);
    let versions: Vec<_> = listed.iter().map(|info| info["version"].clone()).collect();
    assert_eq!(versions, [json!(42), json!(41)]);
    assert!(host.ok(&["snapshot", "list", "s"]).contains("a/b"));
    host.ok(&["snapshot", "delete", "s", "42"]);
    assert_eq!(host.json(&["snapshot", "latest", "s", "--json"])[0]["version"], 41);
}

#[test]
fn kills_are_shown_in_the_tree_and_in_the_events() {
    let host = Host::start();
    let tree = host.tree();
    assert_eq!((&tree["path"], &tree["state"]), (&json!("host"), &json!("running")));
    let text = host.ok(&["tree"]);
    for part in ["CHILD", "gateway-workers", "store-cluster", "rest_for_one", "one_for_all", "running"] {
        assert!(text.contains(part), "{text}");
    }

    let path = "host/main/system/gateway-system/pubsub";
    assert_eq!(host.ok(&["kill", path]), format!("sent killed to {path}\n"));
    let restarted = || {
        let events = host.events();
        let started = of_kind(&events, "started").into_iter().filter(|event| event["path"] == path).count();
        (started == 2).then_some(events)
    };
    let events = eventually("the killed child is started again", restarted);
    let ended = of_kind(&events, "terminated");
    let ended: Vec<_> = ended.iter().map(|event| (&event["path"], &event["detail"]["reason"])).collect();
    assert_eq!(ended, [(&json!(path), &json!("killed"))]);
    // Without the root's name, with another reason, as JSON.
    let response =
        host.json(&["kill", "main/system/gateway-system/pubsub", "--reason", "error:test", "--json"]);
    assert_eq!(response[0]["path"], path);
    eventually("the end has its reason", || {
        let ended = host.json(&["events", "--json", "--kind", "terminated"]);
        ended.iter().any(|event| event["detail"]["reason"] == "error:test").then_some(())
    });
    let text = host.ok(&["events", "--kind", "terminated"]);
    assert!(text.lines().count() == 2 && text.contains("reason=killed"), "{text}");
}

#[test]
fn telemetry_is_followed_until_the_host_ends() {
    let host = Host::start();
    let mut events = host.command();
    events.args(["events", "--follow", "--json"]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(first["seq"], 0);
    let stopped = host.stop();
    assert!(stopped.status.success());
    let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
    let ended: Vec<_> = of_kind(&rest, "sup_terminated").iter().map(|event| event["path"].clone()).collect();
    assert_eq!(ended.last(), Some(&json!("host")), "the root is the last to end");
    assert!(eventually("the follower ends", || events.try_wait().unwrap()).success());
}

#[test]
fn the_host_stops_in_reverse_order_and_logs_it() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    host.signal("INT");
    let stopped = host.ended();
    assert_eq!(stopped.status.code(), Some(0));
    let log = stopped.log.join("\n");
    assert!(log.contains("stopping") && log.contains("everything acknowledged is on disk"), "{log}");
    let host = stopped.down.start();
    assert_eq!(host.http.read("s").len(), 1);
}

#[test]
fn errors_name_a_remedy() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    // arguments, exit code, text of stderr
    host.http.append_one("gone").expect(200);
    host.ok(&["delete", "gone"]);
    let table: [(&[&str], i32, &[&str]); 25] = [
        (&["restart", "main"], 1, &["`host/main` runs", "exesdb kill host/main"]),
        (&["events", "--kind", "exti"], 2, &["exti", "terminated", "trap"]),
        (&["retention", "s", "--max-age", "0s"], 2, &["0 would hide every event", "1s"]),
        (
            &["append", "s", "--type", "t", "--data", "1", "--expected-version", "no_stream"],
            1,
            &["without events (`no_stream`) was expected", "the last event of the stream `s` has version 0"],
        ),
        (
            &["append", "gone", "--type", "t", "--data", "1", "--expected-version", "stream_exists"],
            1,
            &["a stream with events (`stream_exists`) was expected", "was deleted", "version 0"],
        ),
        (&["delete", "s", "--expected-version", "4"], 1, &["version 4 was expected", "version 0"]),
        (&["serve", "--listen", "localhost"], 2, &["localhost:2113"]),
        (&["backup", "f", "--store", "other"], 1, &["there is no store other; there are: main"]),
        (&["kill", "main/system/gateway-sytem"], 1, &["gateway-sytem", "gateway-system", "core-system"]),
        (&["kill", "nothing"], 1, &["there is no `nothing`", "main"]),
        (&["kill", ""], 1, &["there is no"]),
        (&["kill", "main", "--reason", "angry"], 2, &["angry", "shutdown"]),
        (&["read", "missing"], 1, &["the stream `missing` has no events"]),
        (&["read", "s", "--store", "other"], 1, &["there is no store `other`", "there are `main`"]),
        (
            &["append", "s", "--type", "t", "--data", "1", "--expected-version", "7"],
            1,
            &["version 7 was expected", "0"],
        ),
        (&["append", "s", "--type", "t", "--data", "{"], 2, &["not JSON"]),
        (&["append", "s", "--type", "", "--data", "1"], 1, &["--type: is empty"]),
        (&["snapshot", "get", "s", "1"], 1, &["the stream `s` has no snapshot at version 1"]),
        (&["import", "missing.csv", "--stream-by", "a", "--type-by", "b"], 1, &["missing.csv"]),
        (&["cluster", "status"], 1, &["this node is a member of no cluster"]),
        (&["cluster", "transfer-leader", "main"], 1, &["this node is a member of no cluster"]),
        (&["cluster", "transfer-leader", "other"], 1, &["there is no store `other`"]),
        (&["cluster", "token"], 1, &["this host is in no cluster", "exesdb cluster init"]),
        (&["cluster", "local", "2", "--dir", "d"], 2, &["an even number of nodes", "1, 3 or 5"]),
        (&["frobnicate"], 2, &["frobnicate", "--help"]),
    ];
    for (arguments, code, parts) in table {
        let output = host.exesdb(arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        for part in parts {
            assert!(said.contains(part), "{arguments:?}: {said}");
        }
    }
    let tree = host.tree();
    assert!(tree["children"][0]["restarts"] == 0, "what was refused killed nothing");
}

#[test]
fn without_a_host_the_error_says_how_to_reach_one() {
    let folder = folder();
    let data = folder.path().join("nothing here");
    let data = data.to_string_lossy();
    // Nothing listens on this reserved port.
    let run = |arguments: &[&str]| {
        let output = exesdb_in(
            folder.path(),
            arguments,
            &[("EXESDB_DATA", &data), ("EXESDB_URL", "http://127.0.0.1:1")],
        );
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        stderr(&output)
    };
    for arguments in [&["tree"][..], &["kill", "main"], &["events"]] {
        let said = run(arguments);
        assert!(said.contains("no exesdb is running on") && said.contains("exesdb serve"), "{said}");
        assert!(said.contains("nothing here"), "{said}");
    }
    std::fs::write(folder.path().join("rows.csv"), "a,b\n1,2\n").unwrap();
    let import = ["import", "rows.csv", "--stream-by", "a", "--type-by", "b"];
    for arguments in [
        &["read", "s"][..],
        &["streams"],
        &["follow"],
        &["append", "s", "--type", "t", "--data", "1"],
        &import,
    ] {
        let said = run(arguments);
        assert!(said.contains("no exesdb answers at http://127.0.0.1:1") && said.contains("--url"), "{said}");
    }
}

#[test]
fn a_second_host_on_the_same_data_is_refused() {
    let host = Host::start();
    let data = host.data();
    let output =
        exesdb_tests::exesdb(&["serve", "--listen", "127.0.0.1:0", "--data", &data.to_string_lossy()], &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&*data.to_string_lossy()), "{said}");
    host.http.append_one("s").expect(200);
    host.tree();
}

#[test]
fn a_first_start_needs_nothing_but_a_folder() {
    let folder = folder();
    let mut serve = exesdb_tests::command(&[]);
    // A port of its own; all other defaults.
    serve.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(folder.path()).stderr(Stdio::piped());
    let mut serve = serve.spawn().unwrap();
    let mut lines = BufReader::new(serve.stderr.take().unwrap()).lines().map_while(Result::ok);
    let ready = lines.find(|line| line.contains("exesdb is ready"));
    let data = folder.path().join("exesdb-data");
    let output = exesdb_in(folder.path(), &["tree", "--json"], &[]);
    let stop = std::process::Command::new("kill").arg(serve.id().to_string()).status();
    let status = eventually("the host ends", || serve.try_wait().unwrap());
    assert!(ready.is_some() && stop.unwrap().success() && status.success());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(data.join("main").is_dir());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&data).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "what is in there is the owner's alone");
}

#[test]
fn completions_list_the_commands() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = exesdb_in(folder.path(), &["completions", shell], &[]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{shell}");
        for command in ["serve", "append", "follow", "snapshot", "import", "tree", "kill", "events"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let help = exesdb_in(folder.path(), &["--help"], &[]);
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("exesdb serve") && help.contains("Exit codes"), "{help}");
}

#[test]
fn the_help_of_kill_names_what_does_not_restart() {
    let help = exesdb(&["kill", "--help"], &[]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.contains("`exesdb kill host` ends the whole host"), "{help}");
}

#[test]
fn the_error_for_a_data_directory_in_use_names_its_environment_variable() {
    let host = Host::start();
    let data = host.data().to_string_lossy().into_owned();
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let said = stderr(&exesdb(&arguments, &[("EXESDB_DATA", &data)]));
    assert!(said.contains("another exesdb is running") && said.contains("EXESDB_DATA"), "{said}");
    let said = stderr(&exesdb(&[&arguments[..], &["--data", &data]].concat(), &[]));
    assert!(said.contains("another exesdb is running") && !said.contains("EXESDB_DATA"), "{said}");
}

#[test]
fn a_failed_command_prints_nothing_and_names_options() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    let lists: [&[&str]; 11] = [
        &["read"],
        &["read", "s"],
        &["streams"],
        &["follow"],
        &["follow", "s"],
        &["snapshot", "list"],
        &["snapshot", "list", "s"],
        &["snapshot", "latest", "s"],
        &["retention", "s", "--show"],
        &["delete", "s"],
        &["export"],
    ];
    for list in lists {
        let output = host.exesdb(&[list, &["--store", "nope"]].concat());
        let said = stderr(&output);
        assert_eq!(
            said,
            "exesdb: there is no store `nope`; there are `main`: name one with --store, or add it to the configuration file and start the host again\n",
            "{list:?}"
        );
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true), "{list:?}");
    }
    // arguments, text of the error
    let mistakes: [(&[&str], &str); 8] = [
        (&["read", "nosuch"], "the stream `nosuch` has no events"),
        (&["read", "--tag", ""], "--tag: is empty; it must have 1 to 256 bytes"),
        (&["read", "--stream-pattern", "("], "--stream-pattern: is no regular expression that can be used: "),
        (&["read", "--query", "[{\"typ\":[\"x\"]}]"], "--query[0].typ: is not a known field; "),
        (&["append", "s", "--type", "", "--data", "1"], "--type: is empty; it must have 1 to 256 bytes"),
        (
            &["append", "s", "--type", "t", "--data", "1", "--tag", ""],
            "--tag: is empty; it must have 1 to 256 bytes",
        ),
        (
            &["append", "s", "--type", "t", "--data", "1", "--expected-version", "9"],
            "version 9 was expected, but the last event of the stream `s` has version 0",
        ),
        (&["snapshot", "latest", "s"], "the stream `s` has no such snapshot"),
    ];
    for (arguments, expected) in mistakes {
        let output = host.exesdb(arguments);
        let said = stderr(&output);
        assert!(said.starts_with(&format!("exesdb: {expected}")), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let file = host.data().with_file_name("list.json");
    std::fs::write(&file, "[]").unwrap();
    let said = stderr(&host.exesdb(&["transact", &file.to_string_lossy()]));
    assert!(said.contains("list.json is not one JSON object with `appends`"), "{said}");
}

#[test]
fn a_host_that_cannot_start_says_why() {
    let folder = folder();
    let (taken, file) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), folder.path().join("file"));
    std::fs::write(&file, "").unwrap();
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("d/main"), "").unwrap();
    std::fs::write(folder.path().join("one.toml"), "[store]\nname = \"main\"\n").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // arguments, texts of the error
    let table: [(&[&str], &[&str]); 5] = [
        (
            &["--data", "file"],
            &["the data directory file cannot be made: ", "move it away, or give another path"],
        ),
        (&["--data", "file/d"], &["the data directory file/d cannot be made: ", "move it away"]),
        (&["--data", "d"], &["the folder d/main cannot be made or entered: ", "move it away"]),
        (&["--data", "e", "--listen", &address], &["cannot listen on ", "stop what uses this address"]),
        (&["--config", "one.toml"], &["one.toml:1:1: store is one table; write [[store]]"]),
    ];
    for (arguments, parts) in table {
        let output =
            exesdb_in(folder.path(), &[&["serve"], arguments].concat(), &[("EXESDB_LISTEN", "127.0.0.1:0")]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        parts.iter().for_each(|part| assert!(said.contains(part), "{part}: {said}"));
    }
}
