//! Maintenance of a store: backup, restore, scavenging, and the doctor.

use std::path::Path;

use exesdb_tests::{Down, Host, command, eventually, folder, stderr};
use serde_json::{Value, json};

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Some streams, one of them with limits, and snapshots.
fn fill(host: &Host) {
    for n in 0..20 {
        host.http.append_one(&format!("s-{}", n % 4)).expect(200);
    }
    host.ok(&["append", "s-0", "--type", "t", "--data", "1", "--tag", "k:1"]);
    host.ok(&["retention", "s-1", "--max-count", "2"]);
    for version in [1, 4] {
        let path = format!("{}/snapshots/{version}", host.http.stream("s-2"));
        host.http.put(&path, &json!({ "data": version })).expect(204);
    }
}

#[test]
fn a_backup_of_a_running_store_is_restored_elsewhere() {
    let host = Host::start();
    fill(&host);
    let folder = folder();
    let file = folder.path().join("main.backup");
    let summary = host.json(&["backup", &text(&file), "--json"]).remove(0);
    assert_eq!(summary["next_position"], 21);
    assert_eq!(summary["dump_bytes"], file.metadata().unwrap().len());
    let (events, snapshots) = (host.http.read_all(), host.json(&["snapshot", "list", "--json"]));
    host.http.append_one("later").expect(200);
    // Existing files are not replaced, and a refused command leaves no file.
    assert!(stderr(&host.exesdb(&["backup", &text(&file)])).contains("is there already"));
    let other = folder.path().join("other.backup");
    let output = host.exesdb(&["backup", &text(&other), "--store", "other"]);
    assert!(stderr(&output).contains("there are: main"), "{}", stderr(&output));
    assert!(!other.exists());
    assert!(stderr(&host.exesdb(&["restore", &text(&file)])).contains("open elsewhere"));

    let down = Down::new(None);
    let output = down.exesdb(&["restore", &text(&file), "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let restored = down.start();
    assert_eq!(restored.http.read_all(), events);
    assert_eq!(restored.json(&["snapshot", "list", "--json"]), snapshots);
    // It continues from the end of the backup.
    assert_eq!(restored.http.append_one("s-0").expect(200).json["position"], 21);
    let down = restored.stop().down;
    let output = down.exesdb(&["restore", &text(&file)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has a store already"), "{}", stderr(&output));
    let output = down.exesdb(&["restore", &text(&file), "--up-to", "3"]);
    assert!(stderr(&output).contains("has a store already"), "{}", stderr(&output));
    assert_eq!(down.start().http.read_all().len(), events.len() + 1);
}

#[test]
fn a_backup_is_restored_up_to_a_position() {
    let host = Host::start();
    fill(&host);
    let folder = folder();
    let file = folder.path().join("main.backup");
    host.ok(&["delete", "s-3"]);
    host.http.append_one("tombstone").expect(200);
    host.ok(&["delete", "tombstone", "--tombstone"]);
    host.ok(&["backup", &text(&file)]);
    let before = |event: &Value| event["position"].as_u64().unwrap() <= 15;
    let events: Vec<Value> = host.http.read_all().into_iter().filter(before).collect();

    let down = Down::new(None);
    let output = down.exesdb(&["restore", &text(&file), "--up-to", "15", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts = (&summary["events"], &summary["streams"], &summary["snapshots"]);
    assert_eq!(counts, (&json!(events.len()), &json!(2), &json!(1)));
    let output = down.exesdb(&["doctor"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let names: Vec<String> = down
        .data()
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.contains("restoring")), "{names:?}");

    let restored = down.start();
    // Versions, positions, times, ids and tags are unchanged.
    assert_eq!(restored.http.read_all(), events);
    // The last event is at 14; after it comes a hidden one that stands for the stream without any.
    assert_eq!(restored.http.append_one("s-0").expect(200).json["position"], 16);
    assert_eq!(restored.http.append_one("s-3").expect(200).json["first_version"], 5);
    // This stream began after the position.
    restored.http.get(&restored.http.stream("tombstone")).expect(404);
    assert_eq!(restored.json(&["retention", "s-1", "--show", "--json"])[0]["max_count"], 2);
    let versions: Vec<Value> = restored
        .json(&["snapshot", "list", "--json"])
        .iter()
        .map(|snapshot| snapshot["version"].clone())
        .collect();
    assert_eq!(versions, [json!(1)], "stream s-2 has versions up to 3");
}

#[test]
fn a_restore_up_to_a_position_stops_at_an_invalid_component() {
    let host = Host::with_probes("");
    host.http.append_one("probe-standing-still").expect(200);
    let folder = folder();
    let file = folder.path().join("main.backup");
    host.ok(&["backup", &text(&file)]);
    let config = host.data().with_file_name("exesdb.toml");
    let down = host.stop().down;
    std::fs::remove_dir_all(down.data().join("main")).unwrap();
    let output = down.exesdb(&["restore", &text(&file), "--up-to", "9", "--config", &text(&config)]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the component streams (") && said.contains("streams-probe.wasm"), "{said}");
    assert!(said.contains("from position 0 on is not the last and goes on at position 0"), "{said}");
}

#[test]
fn a_store_that_was_restored_under_another_name_is_served_as_the_restore_says() {
    let host = Host::start();
    fill(&host);
    let folder = folder();
    let file = folder.path().join("main.backup");
    host.ok(&["backup", &text(&file)]);
    let events = host.http.read_all();
    // The host serves another store, so it keeps running.
    let said = host.ok(&["restore", &text(&file), "--store", "copy"]);
    for line in ["  [[store]]", "  name = \"copy\"", "exesdb serve --config FILE"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = host.ok(&["restore", &text(&file), "--store", "part", "--up-to", "3"]);
    assert!(said.contains("  name = \"part\""), "{said}");
    // A restart without changes says which stores it serves, and which not.
    let host = host.stop().down.start();
    let ready = eventually("it says that it is ready", || {
        host.log().into_iter().find(|line| line.contains("exesdb is ready"))
    });
    let log = host.log();
    assert!(ready.contains(r#""stores":"main""#), "{ready}");
    for store in ["copy", "part"] {
        let named = format!(r#""store":"{store}""#);
        let warned = log.iter().find(|line| line.contains(&named)).expect(store);
        assert!(warned.contains("it is not served") && warned.contains("[[store]]"), "{warned}");
    }
    drop(host);

    let down = Down::new(Some("[[store]]\nname = \"main\"\n[[store]]\nname = \"copy\"\n"));
    let config = text(&down.data().with_file_name("exesdb.toml"));
    let output = down.exesdb(&["restore", &text(&file), "--store", "copy", "--config", &config]);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("exesdb serve --config {config}")), "{said}");
    let host = down.start();
    eventually("it names both", || {
        host.log().into_iter().find(|line| line.contains(r#""stores":"main, copy""#))
    });
    let log = host.log();
    assert!(!log.iter().any(|line| line.contains("it is not served")), "{log:?}");
    assert_eq!(host.http.of("copy").read_all(), events);
}

#[test]
fn a_folder_without_permission_is_not_a_missing_store() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    /// A user without privileges, if the test runs as root.
    const NOBODY: u32 = 65_534;
    let down = Host::start().stop().down;
    let data = down.data();
    let may_do_everything = Path::new("/proc/self").metadata().unwrap().uid() == 0;
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o000)).unwrap();
    for arguments in [&["doctor"][..], &["restore", "--give-up"], &["backup", "other.backup"], &["tree"]] {
        let mut command = command(&[("EXESDB_DATA", &text(&data))]);
        command.args(arguments);
        if may_do_everything {
            command.uid(NOBODY);
        }
        let output = command.output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("ermission denied"), "{arguments:?}: {said}");
        assert!(!said.contains("no store in"), "{arguments:?}: {said}");
    }
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(down.exesdb(&["doctor"]).status.success());
}

#[test]
fn an_incomplete_backup_creates_no_store() {
    let host = Host::start();
    fill(&host);
    let folder = folder();
    let file = folder.path().join("main.backup");
    host.ok(&["backup", &text(&file)]);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let broken = [whole[..whole.len() - 1].to_vec(), flipped, b"events".to_vec(), Vec::new()];
    let down = Down::new(None);
    for bytes in broken {
        std::fs::write(&file, &bytes).unwrap();
        for more in [&[][..], &["--up-to", "3"]] {
            let arguments: Vec<String> = ["restore".to_owned(), text(&file)]
                .into_iter()
                .chain(more.iter().map(|&it| it.to_owned()))
                .collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = down.exesdb(&arguments);
            assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
            assert!(stderr(&output).contains("backup"), "{}", stderr(&output));
            assert!(
                stderr(&output).contains(&format!("{} cannot be restored", text(&file))),
                "{}",
                stderr(&output)
            );
            let output = down.exesdb(&["doctor"]);
            let said = stderr(&output);
            assert!(!output.status.success() && said.contains("was not finished"), "{said}");
        }
    }
    // A failed restore does not prevent the next one.
    std::fs::write(&file, &whole).unwrap();
    assert!(down.exesdb(&["restore", &text(&file)]).status.success());
}

#[test]
fn hidden_events_are_removed_while_the_store_runs() {
    let host = Host::start();
    fill(&host);
    host.ok(&["delete", "s-3"]);
    let events = host.http.read_all();
    let steps = host.json(&["scavenge", "--json"]);
    let last = |component: &str| {
        let of = |step: &&Value| step["response"] == "scavenged" && step["component"] == component;
        steps.iter().rev().find(of).cloned().unwrap()
    };
    // Three of s-1's five events, and all five of s-3's.
    assert_eq!((&last("streams")["removed"], &last("snapshots")["removed"]), (&json!(8), &json!(0)));
    assert!(steps.iter().any(|step| step["response"] == "compacted"), "{steps:?}");
    assert_eq!(host.http.read_all(), events);
    let said = host.ok(&["scavenge"]);
    assert!(
        said.contains("streams: ") && said.contains(" 0 removed") && said.contains("rewritten"),
        "{said}"
    );
    assert!(host.ok(&["compact"]).contains("keyspaces rewritten"));
    assert!(stderr(&host.exesdb(&["compact", "--store", "x"])).contains("there are: main"));
    assert_eq!(host.http.append_one("s-3").expect(200).json["first_version"], 5);
    let down = host.stop().down;
    assert!(down.exesdb(&["doctor"]).status.success());
}

#[test]
fn the_doctor_reports_what_is_wrong_with_a_store() {
    let host = Host::start();
    fill(&host);
    let output = host.exesdb(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Stop the host"));
    let stopped = host.stop().down;
    let unknown = stopped.exesdb(&["doctor", "--store", "mian"]);
    let said = stderr(&unknown);
    assert!(!unknown.status.success() && said.contains("mian; the data directory has main;"), "{said}");
    let examined = |arguments: &[&str]| {
        let arguments: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
        let output = stopped.exesdb(&arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code(), lines)
    };
    let (code, lines) = examined(&[]);
    assert_eq!((code, &lines[0]["found"]), (Some(0), &json!(0)));
    assert!(lines[0]["examined"].as_u64().unwrap() > 100, "{lines:?}");

    // Without the durable mark, the store may be incomplete. The doctor reports that, and repairs it only on request.
    std::fs::remove_file(stopped.data().join("main/durable.mark")).unwrap();
    let (code, lines) = examined(&[]);
    assert_eq!(
        (code, &lines[0]["layer"], &lines[0]["repaired"]),
        (Some(1), &json!("storage"), &json!(false))
    );
    assert!(lines[0]["problem"].as_str().unwrap().contains("durable.mark"), "{lines:?}");
    let (code, lines) = examined(&["--repair"]);
    assert_eq!((code, &lines[0]["repaired"]), (Some(0), &json!(true)), "{lines:?}");
    assert_eq!(examined(&[]).0, Some(0));
    assert_eq!(stopped.start().http.read("s-0").len(), 6);
}

/// Begins a restore from a pipe, sends all but the end of a backup, and kills it.
fn kill_a_restore(down: &Down, backup: &[u8], arguments: &[&str]) {
    let pipe = down.data().with_file_name("pipe");
    drop(std::fs::remove_file(&pipe));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo can be run").success());
    let mut restore = command(&[("EXESDB_DATA", &text(&down.data()))]);
    let mut restore =
        restore.args(["restore", &text(&pipe)]).args(arguments).spawn().expect("the binary can be run");
    let mut input = std::fs::File::options().write(true).open(&pipe).expect("the restore reads");
    std::io::Write::write_all(&mut input, &backup[..backup.len() - 20]).expect("the restore reads");
    eventually("the restore has begun", || down.data().join("main/restoring").exists().then_some(()));
    restore.kill().expect("it runs");
    restore.wait().expect("it is our child");
}

#[test]
fn a_killed_restore_keeps_its_store_from_starting_until_it_is_repeated_or_given_up() {
    let host = Host::start();
    for _ in 0..8 {
        host.http.append_one("s").expect(200);
    }
    let folder = folder();
    let file = folder.path().join("main.backup");
    host.ok(&["backup", &text(&file)]);
    let backup = std::fs::read(&file).unwrap();
    drop(host);
    for arguments in [&[][..], &["--up-to", "5"]] {
        let down = Down::new(None);
        kill_a_restore(&down, &backup, arguments);
        let refused = down.try_start().err().expect("no empty store is served");
        let said = refused.log.join("\n");
        assert!(said.contains("was not finished") && said.contains("--give-up"), "{said}");
        // After it was given up, a new store can be created.
        let down = refused.down;
        let doctor = stderr(&down.exesdb(&["doctor"]));
        assert!(doctor.contains("was not finished") && doctor.contains("--give-up"), "{doctor}");
        let output = down.exesdb(&["restore", "--give-up"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let host = down.start();
        assert!(host.http.read_all().is_empty());
        drop(host);
        // After it was repeated, the store is complete.
        let down = Down::new(None);
        kill_a_restore(&down, &backup, arguments);
        let output = down.exesdb(&[&["restore", &text(&file)][..], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let expected = if arguments.is_empty() { 8 } else { 6 };
        assert_eq!(down.start().http.read_all().len(), expected);
    }
}
