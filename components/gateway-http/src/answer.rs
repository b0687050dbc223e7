//! What the store answered, by the kind of the call.

use exesdb_sdk::steps::{Answer, Horizon, Reply};

use crate::problem::{Kind, Problem};

/// The problem of an answer to another call than the one that was made.
pub(crate) fn unexpected(reply: &Reply) -> Problem {
    let kind = match reply {
        Reply::Changed(_) => "changed",
        Reply::Page(_) => "page",
        Reply::ImportStates(_) => "import-states",
        Reply::Streams(_) => "streams",
        Reply::StreamInfo(_) => "stream-info",
        Reply::Snapshot(_) => "snapshot",
        Reply::Snapshots(_) => "snapshots",
        Reply::LogEnd(_) => "log-end",
        Reply::Named(_) => "named",
    };
    Problem::new(Kind::Internal, format!("the host gave a reply of the kind `{kind}` to another call"))
}

/// Takes the reply of one kind out of an answer, with the horizon.
macro_rules! expect {
    ($name:ident, $variant:ident, $type:ty) => {
        pub(crate) fn $name(answer: Answer) -> Result<($type, Horizon), Problem> {
            match answer.reply {
                Reply::$variant(reply) => Ok((reply, answer.horizon)),
                other => Err(unexpected(&other)),
            }
        }
    };
}

expect!(changed, Changed, exesdb_sdk::types::ChangeResult);
expect!(page, Page, exesdb_sdk::types::PackedPage);
expect!(import_states, ImportStates, Vec<exesdb_sdk::types::ImportState>);
expect!(streams, Streams, exesdb_sdk::types::StreamPage);
expect!(stream_info, StreamInfo, exesdb_sdk::types::StreamInfo);
expect!(snapshot, Snapshot, exesdb_sdk::steps::snapshots::RecordedSnapshot);
expect!(snapshots, Snapshots, exesdb_sdk::steps::snapshots::SnapshotPage);
