//! What it means that a store does not open, and what can be done about it.

use std::path::Path;

use exesdb_storage::{Head, OpenError};

/// In plain words: what it means, and what is possible.
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
            "Repeat it (`exesdb restore FILE`), or give it up (`exesdb restore --give-up`).".to_owned(),
        ],
        OpenError::UnknownFormat { .. } => vec![
            "The store was written by another version of exesdb; nothing says that it is damaged.".to_owned(),
            "Use that version. To change versions, export with the one and import with the other.".to_owned(),
        ],
        OpenError::AcknowledgedMissing { acknowledged, .. } if *acknowledged != Head::default() => vec![
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
        OpenError::Engine { .. } => vec![
            "The database engine refuses its own files: one of them is missing or damaged.".to_owned(),
            copy,
            restore,
        ],
        OpenError::Io { .. } => vec![
            "The system refuses a file, which need not be damaged: look at permissions, at free space, and at the system's log for errors of the disk.".to_owned(),
            "Then start the doctor again.".to_owned(),
        ],
        OpenError::Options { .. } => vec!["The store was not looked at.".to_owned()],
    }
}

/// Whether making the durable mark anew may help.
pub(super) fn may_lack_its_mark(error: &OpenError) -> bool {
    match error {
        OpenError::Damaged { .. } => true,
        OpenError::AcknowledgedMissing { acknowledged, .. } => *acknowledged == Head::default(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{explain, may_lack_its_mark};
    use exesdb_storage::{Head, OpenError};

    #[test]
    fn every_refusal_is_explained_with_what_is_possible() {
        let path = || PathBuf::from("d/main");
        let missing = |sequence| OpenError::AcknowledgedMissing {
            path: path(),
            acknowledged: Head { sequence, ..Head::default() },
            found: "less".to_owned(),
        };
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let cases = [
            (OpenError::Locked { path: path() }, "Stop the host", false),
            (OpenError::RestoreUnfinished { path: path() }, "--give-up", false),
            (OpenError::UnknownFormat { path: path(), found: 9 }, "Use that version", false),
            (OpenError::Damaged { path: path(), reason: "r".to_owned() }, "--repair", true),
            (missing(0), "exesdb restore", true),
            (missing(4), "durable.mark is removed", false),
            (OpenError::Io { action: "a", path: path(), source: io }, "permissions", false),
        ];
        for (error, expected, mark) in cases {
            let lines = explain(&error, Path::new("d/main"), false).join("\n");
            assert!(lines.contains(expected), "{error}: {lines}");
            assert_eq!(may_lack_its_mark(&error), mark, "{error}");
        }
    }
}
