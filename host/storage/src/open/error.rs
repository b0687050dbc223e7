//! Why a store could not be opened.

use std::io;
use std::path::{Path, PathBuf};

use crate::advice::advice;
use crate::engine_failure::EngineFailure;
use crate::format;
use crate::head::LogHead;
use crate::options::InvalidOption;

/// Why a store could not be opened. Nothing that was acknowledged has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option is out of its range.
    #[error("option {option} is {actual}; it must be {range}")]
    Options {
        /// Name of the field of [`Options`](crate::Options).
        option: &'static str,
        /// Value of the field.
        actual: u64,
        /// The values that are allowed.
        range: String,
    },
    /// Another process, or another `Store` of this process, has the store open.
    #[error("{} is open elsewhere (its lock file is held); stop the other process, or choose another folder", path.display())]
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// The store was written by a version of this software that uses another format, or is a replica of a cluster, whose format
    /// is [`REPLICA_FORMAT_VERSION`](crate::REPLICA_FORMAT_VERSION).
    #[error("{}", unknown_format(path, *found))]
    UnknownFormat {
        /// The store's folder.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// A restore into the folder was begun and not finished. There is no store, and a new one would be taken for the
    /// restored one.
    #[error(
        "a restore into {} was not finished, so there is no store in it: repeat it (`exesdb restore FILE`), or give it up (`exesdb restore --give-up`), with the same --store and --data, which leaves room for a new store",
        path.display()
    )]
    RestoreUnfinished {
        /// The store's folder.
        path: PathBuf,
    },
    /// The files are not as this crate wrote them.
    #[error("{} is damaged: {reason}; keep it as it is, and restore a backup, or let `exesdb doctor` look at a copy", path.display())]
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What was found, and where.
        reason: String,
    },
    /// Data that was acknowledged is missing.
    #[error(
        "acknowledged data is missing in {}: batches up to {} and positions below {} were acknowledged, and {found}; \
         keep it as it is, and restore a backup, or let `exesdb doctor` look at a copy",
        path.display(), acknowledged.sequence, acknowledged.next_position
    )]
    AcknowledgedMissing {
        /// The store's folder.
        path: PathBuf,
        /// The head that was acknowledged, according to the durable mark. All zeros if the mark is being rebuilt.
        acknowledged: LogHead,
        /// What is there instead: in which file, and up to which byte and batch.
        found: String,
    },
    /// The operating system refused.
    #[error("{action} {} failed: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// Path that it was tried on.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The engine refused.
    #[error("the database in {} could not be opened: {failure}{}", path.display(), engine_advice(failure, found))]
    Engine {
        /// The store's folder.
        path: PathBuf,
        /// Why. It names no file.
        failure: EngineFailure,
        /// The damaged files, or where none was found.
        found: String,
    },
}

fn unknown_format(path: &Path, found: u32) -> String {
    let path = path.display();
    if found == format::REPLICA_FORMAT_VERSION {
        return format!(
            "{path} belongs to a cluster (it is a replica, storage format {found}), and is not opened as a store of its own; \
             start the host with the cluster's configuration"
        );
    }
    let (old, new) = (format::FORMAT_WITHOUT_LOG, format::FORMAT_VERSION);
    format!(
        "{path} has storage format {found}, this version knows {old} and {new}; use the version that wrote it"
    )
}

/// What was found in the database's files, and what to do. If the system refused a file, the files are as they were left.
fn engine_advice(failure: &EngineFailure, found: &str) -> String {
    if failure.is_damage {
        format!(
            "; {found}; if that is damage, keep it as it is, and restore a backup, or let `exesdb doctor` look at a copy"
        )
    } else {
        failure.advice.to_owned()
    }
}

impl OpenError {
    pub(super) fn damaged(dir: &Path, reason: String) -> Self {
        Self::Damaged { path: dir.to_owned(), reason }
    }

    /// Converts an I/O error of trying `action` on a path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<InvalidOption> for OpenError {
    fn from(InvalidOption { option, actual, range }: InvalidOption) -> Self {
        Self::Options { option, actual, range }
    }
}
