//! Searches every file of a running host for deleted content.

use std::path::{Path, PathBuf};

use exesdb_test_support::Rng;
use exesdb_tests::Host;
use serde_json::json;

/// A text that no file contains by chance and that compression does not change.
fn marker(random: &mut Rng) -> String {
    (0..40).map(|_| random.alphanumeric()).collect()
}

/// The files below a folder that contain a text.
fn having(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Compaction may remove files meanwhile.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_there = |file: Vec<u8>| file.windows(text.len()).any(|part| part == text.as_bytes());
        if path.is_dir() {
            found.extend(having(&path, text));
        } else if std::fs::read(&path).is_ok_and(is_there) {
            found.push(path);
        }
    }
    found
}

#[test]
fn deleted_content_is_in_no_file_after_a_scavenge() {
    let host = Host::start();
    // A fixed seed: compression finds nothing to shorten in these texts.
    let mut random = Rng::with_seed(1);
    let texts: Vec<String> = (0..7).map(|_| marker(&mut random)).collect();
    let [soft, tombstoned, retained, tag, id, snapshot, kept] = texts.as_slice() else { unreachable!() };
    let append = |stream: &str, event: serde_json::Value| {
        host.http.append(stream, "any", &[event]).expect(200);
    };
    append("soft", json!({ "type": "t", "data": { "text": soft } }));
    append("tombstoned", json!({ "type": "t", "data": { "text": tombstoned }, "tags": [tag], "id": id }));
    append("retained", json!({ "type": "t", "data": { "text": retained } }));
    append("retained", json!({ "type": "t", "data": { "text": kept } }));
    let of_snapshot = format!("{}/snapshots/0", host.http.stream("retained"));
    host.http.put(&of_snapshot, &json!({ "data": { "text": snapshot } })).expect(204);
    // Some of it is in tables, all of it is in the journal.
    host.ok(&["compact"]);
    let data = host.data();
    for text in &texts {
        assert!(!having(&data, text).is_empty(), "it is there");
    }
    host.ok(&["delete", "soft"]);
    host.ok(&["delete", "tombstoned", "--tombstone"]);
    host.ok(&["retention", "retained", "--max-count", "1"]);
    host.http.delete(&of_snapshot).expect(204);
    for text in &texts {
        assert!(!having(&data, text).is_empty(), "hiding it leaves it on the disk");
    }
    let said = host.ok(&["scavenge"]);
    assert!(said.contains("nothing of what was deleted is left"), "{said}");
    for text in [soft, tombstoned, retained, tag, id, snapshot] {
        assert_eq!(having(&data, text), [] as [PathBuf; 0]);
    }
    assert!(!having(&data, kept).is_empty());
    // The host continues, and a backup has none of it, either.
    assert_eq!(host.http.read("retained")[0]["data"]["text"], json!(kept));
    host.http.append_one("soft").expect(200);
    let folder = exesdb_tests::folder();
    host.ok(&["backup", &folder.path().join("main.backup").to_string_lossy()]);
    for text in [soft, tombstoned, retained, tag, id, snapshot] {
        assert_eq!(having(folder.path(), text), [] as [PathBuf; 0]);
    }
    assert!(!having(folder.path(), kept).is_empty());
    // It does not return after a crash, which replays the journal.
    let host = host.crash_and_restart();
    assert_eq!(host.http.read_all().len(), 2);
    assert_eq!(having(&host.data(), soft), [] as [PathBuf; 0]);
}
