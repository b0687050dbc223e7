//! The lines that go over the control socket after the hellos.

use exesdb_plugin::StateOwner;
use exesdb_storage::Snapshot;
use exesdb_storage::dump::Summary;
use exesdb_supervisor::{Event, Node, Reason};
use serde::{Deserialize, Serialize};

/// Connections at a time: a few people and dashboards. Each costs a task and, while it follows, a reader of telemetry.
pub(super) const CONNECTIONS_MAX: usize = 16;

/// The longest request, with its line end: real ones are far smaller.
pub(super) const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Bytes of one piece of a backup: many enough that the lines between pieces do not count, few enough to be held a few
/// times.
pub(super) const DATA_BYTES_MAX: usize = 256 << 10;

/// Names of children that a response lists.
pub(super) const CHILDREN_LISTED_MAX: usize = 50;

/// What can be asked for: one JSON object a line, such as `{"request":"tree"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The supervision tree as it is now.
    Tree {},
    /// An exit signal to a child.
    Kill {
        /// Ids from the root, joined by `/`; the root's own may be omitted.
        path: String,
        /// The reason of the signal: `killed`, `normal`, `shutdown`, `shutdown:WHY`, `error:WHY`.
        reason: Reason,
    },
    /// A start of a child that is parked, or that ended and was not restarted.
    Restart {
        /// As for `kill`.
        path: String,
    },
    /// The telemetry that is still kept, oldest first, each event a response of its own.
    Events {
        /// Then also new events, until the client leaves. False by default.
        #[serde(default)]
        follow: bool,
        /// Only events of these kinds, and how many were missed. Empty, the default: all.
        #[serde(default)]
        kinds: Vec<String>,
    },
    /// Removal of what retention and deletion hide, and then what `compact` does. Each step has a response of its own.
    Scavenge {
        /// The store's name.
        store: String,
    },
    /// Files rewritten without what was deleted and overwritten. Each keyspace has a response of its own.
    Compact {
        /// The store's name.
        store: String,
    },
    /// All that a store has as of now, in pieces.
    Backup {
        /// The store's name.
        store: String,
    },
    /// A token with which another node joins the cluster.
    Invite {},
}

/// What a backup contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Batches that the store had applied.
    pub sequence: u64,
    /// The position that its next event gets.
    pub next_position: u64,
    /// When it was taken: microseconds since 1970-01-01T00:00:00 UTC.
    pub taken_at: u64,
    /// Entries of all keyspaces.
    pub entries: u64,
    /// Bytes of the backup itself.
    pub dump_bytes: u64,
    /// Digest of its content, in hexadecimal.
    pub digest: String,
}

/// A component that keeps the state of a role in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeper {
    /// `streams` or `snapshots`.
    pub role: String,
    /// The component.
    pub component: StateOwner,
}

impl Keeper {
    /// The components that keep a store's state.
    ///
    /// # Errors
    ///
    /// What could not be read of the store.
    pub fn all(snapshot: &Snapshot) -> Result<Vec<Keeper>, String> {
        let owners = exesdb_plugin::owners(snapshot)?;
        Ok(owners.into_iter().map(|(role, component)| Keeper { role: role.to_owned(), component }).collect())
    }

    /// A sentence for people.
    pub fn sentence(&self) -> String {
        format!("its {} are kept by the component {}", self.role, self.component)
    }
}

impl From<Summary> for BackupSummary {
    fn from(summary: Summary) -> BackupSummary {
        BackupSummary {
            sequence: summary.head.sequence,
            next_position: summary.head.next_position,
            taken_at: summary.taken_at,
            entries: summary.entries(),
            dump_bytes: summary.dump_bytes,
            digest: format!("{:032x}", summary.digest),
        }
    }
}

/// What the host sends: one JSON object a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "snake_case")]
pub enum Response {
    /// To `tree`.
    Tree {
        /// The root.
        tree: Node,
    },
    /// To `kill`: the signal was sent. The tree and the events show its effect.
    Killed {
        /// The full path.
        path: String,
    },
    /// To `restart`: the child was started.
    Restarted {
        /// The full path.
        path: String,
    },
    /// To `events`, many times.
    Event {
        /// What happened.
        event: Event,
    },
    /// To `events`, `scavenge` and `compact`, last.
    End,
    /// To `scavenge`, after each step.
    Scavenged {
        /// The component whose data it is: `streams` or `snapshots`.
        component: String,
        /// Streams (or snapshots) looked at so far.
        examined: u64,
        /// Events (or snapshots) removed so far.
        removed: u64,
        /// Bytes removed so far.
        bytes: u64,
    },
    /// To `scavenge`, if a component cannot be asked for it. The others are.
    NotScavenged {
        /// The component.
        component: String,
        /// What it lacks.
        reason: String,
    },
    /// To `scavenge` and `compact`, after each keyspace.
    Compacted {
        /// The component and the keyspace, with a dot between.
        keyspace: String,
        /// Bytes of its files before.
        bytes_before: u64,
        /// Bytes of its files after.
        bytes_after: u64,
        /// Keyspaces that are done.
        done: u64,
        /// Keyspaces to do.
        total: u64,
    },
    /// To `backup`: a piece of it follows the line.
    Data {
        /// Length of the piece, at most [`DATA_BYTES_MAX`].
        bytes: u64,
    },
    /// To `backup`, last.
    BackedUp {
        /// What the pieces contain.
        summary: BackupSummary,
        /// The components that keep the store's state, by role: whoever restores the backup needs them.
        #[serde(default)]
        keepers: Vec<Keeper>,
    },
    /// To `invite`: a token, which is a password.
    Invited {
        /// One line.
        token: String,
    },
    /// The request was not carried out.
    Error {
        /// Why.
        error: Refusal,
    },
}

impl Response {
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("responses are JSON");
        line.push(b'\n');
        line
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Refusal {
    /// The line is not a request.
    #[error("the request is malformed: {detail}; is the client of another version?")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The line is longer than [`REQUEST_BYTES_MAX`]. The connection is closed.
    #[error("the request is longer than {} bytes", REQUEST_BYTES_MAX)]
    TooLong,
    /// There are [`CONNECTIONS_MAX`] connections already. The connection is closed.
    #[error("{} control connections are open already; end one, or try again later", CONNECTIONS_MAX)]
    Busy,
    /// The tree has no such child.
    #[error("there is no `{path}` in the tree; {}", nearest_text(.nearest, .children))]
    UnknownPath {
        /// The path as the client wrote it.
        path: String,
        /// The longest prefix of it that exists.
        nearest: String,
        /// The ids of the children there, the first 50.
        children: Vec<String>,
    },
    /// The host has no such store.
    #[error("there is no store {store}; there are: {}", stores.join(", "))]
    UnknownStore {
        /// The name as the client wrote it.
        store: String,
        /// The names of the stores of the host.
        stores: Vec<String>,
    },
    /// The request was begun and could not be finished.
    #[error("{detail}")]
    Failed {
        /// What went wrong, and what to do.
        detail: String,
    },
    /// The state of the child does not allow it.
    #[error("{detail}")]
    Declined {
        /// The supervisor's reason.
        detail: String,
    },
}

fn nearest_text(nearest: &str, children: &[String]) -> String {
    if children.is_empty() {
        return format!("`{nearest}` is there, and has no children");
    }
    let more = if children.len() == CHILDREN_LISTED_MAX { ", .." } else { "" };
    format!("below `{nearest}` there are: {}{more}", children.join(", "))
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Request};

    #[test]
    fn requests_with_unknown_or_missing_fields_are_rejected() {
        let cases = [
            (r#"{"request":"tree"}"#, true),
            (r#"{"request":"kill","path":"a","reason":"error:x"}"#, true),
            (r#"{"request":"restart","path":"a"}"#, true),
            (r#"{"request":"restart"}"#, false),
            (r#"{"request":"events"}"#, true),
            (r#"{"request":"events","follow":true,"kinds":["exit"]}"#, true),
            (r#"{"request":"scavenge","store":"main"}"#, true),
            (r#"{"request":"compact","store":"main"}"#, true),
            (r#"{"request":"backup","store":"main"}"#, true),
            (r#"{"request":"backup"}"#, false),
            (r#"{"request":"invite"}"#, true),
            (r#"{"request":"invite","store":"main"}"#, false),
            (r#"{"request":"backup","store":"main","file":"f"}"#, false),
            (r#"{"request":"tree","deep":true}"#, false),
            (r#"{"request":"kill","path":"a"}"#, false),
            (r#"{"request":"kill","path":"a","reason":"angry"}"#, false),
            (r#"{"request":"events","follow":1}"#, false),
            (r#"{"request":"format_disk"}"#, false),
            (r#"{}"#, false),
            (r#"[]"#, false),
            ("", false),
        ];
        for (text, good) in cases {
            assert_eq!(serde_json::from_str::<Request>(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let unknown = |children: &[&str]| Refusal::UnknownPath {
            path: "a/x".to_owned(),
            nearest: "host/a".to_owned(),
            children: children.iter().map(|&child| child.to_owned()).collect(),
        };
        assert_eq!(
            unknown(&["b", "c"]).to_string(),
            "there is no `a/x` in the tree; below `host/a` there are: b, c"
        );
        assert!(unknown(&[]).to_string().ends_with("`host/a` is there, and has no children"));
        assert!(Refusal::TooLong.to_string().contains("1048576 bytes"));
    }
}
