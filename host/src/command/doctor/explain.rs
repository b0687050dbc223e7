//! Explanations for people: what an error of opening means, and what can be done.

use std::path::Path;

use exesdb_storage::verify::{Finding, Gap};
use exesdb_storage::{LogHead, OpenError, REPLICA_FORMAT_VERSION};

use crate::config::DEFAULT_STORE;

/// Explains an error of opening, and what can be done.
pub(super) fn explain(error: &OpenError, folder: &Path, repair: bool) -> Vec<String> {
    let folder = folder.display();
    let restore = "If there is a backup: move the folder away, and `exesdb restore FILE`.".to_owned();
    let copy = format!(
        "First of all copy the folder {folder} as it is: nothing that is tried can make the copy worse."
    );
    match error {
        OpenError::Locked { .. } => vec![
            "Another process has the store open, which is no damage. Only one may.".to_owned(),
            "Stop the host (or wait for the other command), and start the doctor again.".to_owned(),
        ],
        OpenError::RestoreUnfinished { .. } => vec![
            "A restore was killed or failed before its store was complete. Nothing is damaged: there was no store before it, and there is none now.".to_owned(),
            "Repeat it (`exesdb restore FILE`), or give it up (`exesdb restore --give-up`), with the same --store and --data.".to_owned(),
        ],
        OpenError::UnknownFormat { found: REPLICA_FORMAT_VERSION, .. } => vec![
            "The folder is a replica of a store of a cluster; nothing says that it is damaged.".to_owned(),
            "Only a node of that cluster serves it. Give this host another data directory.".to_owned(),
        ],
        OpenError::UnknownFormat { .. } => vec![
            "The store was written by another version of exesdb; nothing says that it is damaged.".to_owned(),
            "Use that version. To change versions, export with the one and import with the other.".to_owned(),
        ],
        OpenError::AcknowledgedMissing { acknowledged, .. } if *acknowledged != LogHead::default() => vec![
            "Events that were acknowledged are not on the disk any more. The store refuses to go on, because new events would take the missing ones' positions.".to_owned(),
            copy,
            restore,
            format!(
                "Without a backup, and on a copy alone: once the file durable.mark is removed from {folder}, `exesdb doctor --repair` opens the store with what is there, provided that the journals are whole as far as they go. The missing events stay lost, and their positions are given away again."
            ),
        ],
        OpenError::AcknowledgedMissing { .. } | OpenError::Damaged { .. } => {
            let mut lines = vec![
                "Something on the disk is not as it was written. The store does not open, so that it does not serve a part as if it were all.".to_owned(),
                copy,
                restore,
            ];
            if !repair {
                lines.push("If it is the durable mark that is missing or damaged: `exesdb doctor --repair` makes it anew from what is there. Whether something acknowledged is missing cannot be told then.".to_owned());
            }
            lines
        }
        OpenError::Engine { failure, .. } if failure.is_damage => vec![
            "The database engine refuses its own files: one of them is missing or damaged.".to_owned(),
            copy,
            restore,
        ],
        OpenError::Engine { .. } | OpenError::Io { .. } => vec![
            "The system refuses a file, which need not be damaged: look at permissions, at free space, and at the system's log for errors of the disk.".to_owned(),
            "Then start the doctor again.".to_owned(),
        ],
        OpenError::Options { .. } => vec!["The store was not looked at.".to_owned()],
    }
}

/// Says what can be done if a part of a store cannot be read: restore a backup, or export the rest. The keys of the log are
/// positions. `has_positions` says that those of old events are, too, which the streams component kept in stores of format 2.
pub(super) fn salvage(findings: &[Finding], store: &str, has_positions: bool) -> Vec<String> {
    let mut lines = vec![
        "These blocks cannot be made whole from other data, with --repair or without.".to_owned(),
        "If there is a backup: move the folder away, and `exesdb restore FILE`.".to_owned(),
    ];
    let of_store = if store == DEFAULT_STORE { String::new() } else { format!(" --store {store}") };
    let is_log = |finding: &Finding| (&*finding.owner, &*finding.keyspace) == ("storage", "log");
    let is_old = |finding: &Finding| (&*finding.owner, &*finding.keyspace) == ("streams", "events");
    let of_events = findings.iter().find(|finding| is_log(finding) || is_old(finding));
    let gap = of_events.map(|finding| finding.gap.as_ref());
    let has_positions = has_positions || of_events.is_some_and(is_log);
    let position = |key: &Option<Vec<u8>>| {
        let key = key.as_deref().filter(|_| has_positions)?;
        key.try_into().ok().map(u64::from_be_bytes)
    };
    let ends = |gap: &Gap| (position(&gap.after), position(&gap.before));
    match gap.flatten().map(ends) {
        None | Some((None, None)) => {
            lines.push("Without one, start the host, and export what can be read, in parts if need be (--from, --to):".to_owned());
            lines.push(format!("  exesdb export {store}.ndjson{of_store}"));
        }
        Some((last, next)) => {
            let lost = match (last, next) {
                (Some(last), Some(next)) if next - last > 2 => {
                    format!("from position {} to {}", last + 1, next - 1)
                }
                (Some(last), Some(_)) => format!("at position {}", last + 1),
                (Some(last), None) => format!("from position {} on", last + 1),
                (None, next) => format!("before position {}", next.unwrap_or_default()),
            };
            lines.push(format!(
                "Without one, start the host, and export the rest. Not all events {lost} can be read:"
            ));
            if let Some(last) = last {
                lines.push(format!("  exesdb export {store}-before.ndjson --to {last}{of_store}"));
            }
            if let Some(next) = next {
                lines.push(format!("  exesdb export {store}-after.ndjson --from {next}{of_store}"));
            }
        }
    }
    lines
}

/// Whether a new durable mark may help.
pub(super) fn may_lack_only_its_mark(error: &OpenError) -> bool {
    match error {
        OpenError::Damaged { .. } => true,
        OpenError::AcknowledgedMissing { acknowledged, .. } => *acknowledged == LogHead::default(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{explain, may_lack_only_its_mark, salvage};
    use exesdb_storage::verify::{Finding, Gap};
    use exesdb_storage::{LogHead, OpenError, REPLICA_FORMAT_VERSION};

    #[test]
    fn the_advice_exports_what_is_before_and_after_a_gap() {
        let key = |position: u64| Some(position.to_be_bytes().to_vec());
        let finding = |keyspace: &str, gap| Finding {
            owner: "streams".to_owned(),
            keyspace: keyspace.to_owned(),
            key: None,
            gap,
            what: "w".to_owned(),
        };
        let gap = |after, before| finding("events", Some(Gap { after, before }));
        let of_log =
            |found: Finding| Finding { owner: "storage".to_owned(), keyspace: "log".to_owned(), ..found };
        let (before, after) = ("export main-before.ndjson --to 7", "export main-after.ndjson --from 11");
        let table: [(Finding, bool, &[&str], &[&str]); 9] = [
            (gap(key(7), key(11)), true, &["from position 8 to 10 ", before, after], &["main.ndjson"]),
            (gap(key(9), key(11)), true, &["at position 10 ", "--to 9", after], &[]),
            (gap(key(7), None), true, &["from position 8 on ", before], &["--from 1"]),
            (gap(None, key(11)), true, &["before position 11 ", after], &["--to 7"]),
            (gap(None, None), true, &["export main.ndjson"], &["-before", "-after"]),
            (gap(key(7), key(11)), false, &["export main.ndjson"], &["-before", "-after"]),
            (
                finding("index", Some(Gap { after: key(7), before: key(11) })),
                true,
                &["export main.ndjson"],
                &["-before"],
            ),
            (finding("events", None), true, &["export main.ndjson"], &["-before"]),
            (
                of_log(gap(key(7), key(11))),
                false,
                &["from position 8 to 10 ", before, after],
                &["main.ndjson"],
            ),
        ];
        for (finding, has_positions, present, absent) in table {
            let lines = salvage(std::slice::from_ref(&finding), "main", has_positions).join("\n");
            assert!(lines.contains("exesdb restore FILE"), "{lines}");
            for text in present {
                assert!(lines.contains(text), "{text}: {lines}");
            }
            for text in absent {
                assert!(!lines.contains(text), "{text}: {lines}");
            }
        }
        let lines = salvage(&[gap(key(7), key(11))], "copy", true);
        assert!(
            lines.iter().any(|line| line.ends_with("copy-after.ndjson --from 11 --store copy")),
            "{lines:?}"
        );
    }

    #[test]
    fn every_error_of_opening_is_explained() {
        let path = || PathBuf::from("d/main");
        let missing = |sequence| OpenError::AcknowledgedMissing {
            path: path(),
            acknowledged: LogHead { sequence, ..LogHead::default() },
            found: "less".to_owned(),
        };
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let cases = [
            (OpenError::Locked { path: path() }, "Stop the host", false),
            (OpenError::RestoreUnfinished { path: path() }, "--give-up", false),
            (OpenError::UnknownFormat { path: path(), found: 9 }, "Use that version", false),
            (
                OpenError::UnknownFormat { path: path(), found: REPLICA_FORMAT_VERSION },
                "a node of that cluster",
                false,
            ),
            (OpenError::Damaged { path: path(), reason: "r".to_owned() }, "--repair", true),
            (missing(0), "exesdb restore", true),
            (missing(4), "durable.mark is removed", false),
            (OpenError::Io { action: "a", path: path(), source: io }, "permissions", false),
        ];
        for (error, expected, mark) in cases {
            let lines = explain(&error, Path::new("d/main"), false).join("\n");
            assert!(lines.contains(expected), "{error}: {lines}");
            assert_eq!(may_lack_only_its_mark(&error), mark, "{error}");
        }
    }
}
