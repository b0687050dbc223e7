//! Deletes streams, softly or with a tombstone. Their events are hidden at once; scavenging removes them later.

use exesdb_sdk::arguments::check_stream_id;
use exesdb_sdk::types::{
    Decision, Deletion, DeletionRequest, Error, ExpectedVersion, StreamState, check_options,
};
use exesdb_sdk::view::View;

use crate::decide::{conflict, holds};
use crate::head_change;
use crate::layout::Head;

/// Decides about deletions. Returns one decision for each, in their order.
pub fn decide(view: &impl View, requests: &[DeletionRequest]) -> Vec<Decision> {
    head_change::decide(
        view,
        requests,
        |request| request.stream_id.as_str(),
        |DeletionRequest { stream_id, options, .. }| {
            check_stream_id("stream-id", stream_id)?;
            check_options(options)
        },
        |DeletionRequest { stream_id, expected, deletion, .. }, head| {
            next(stream_id, head, *expected, *deletion)
        },
    )
}

/// The head of the stream after the deletion.
fn next(
    stream_id: &str,
    head: Option<&Head>,
    expected: ExpectedVersion,
    deletion: Deletion,
) -> Result<Head, Error> {
    let Some(current) = head else { return Err(Error::NotFound) };
    if current.state != StreamState::Live && deletion == Deletion::Soft {
        return Err(Error::NotFound);
    }
    if !holds(expected, head) {
        return Err(conflict(stream_id, expected, head));
    }
    let state = match deletion {
        Deletion::Soft => StreamState::Deleted,
        Deletion::Tombstone => StreamState::Tombstoned,
    };
    // The deleted events stay hidden when the stream begins again.
    Ok(Head { state, truncate_before: current.next_version(), ..*current })
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::Deletion::{Soft, Tombstone};
    use exesdb_sdk::types::{Error, ExpectedVersion, StreamState};

    use super::next;
    use crate::decide::conflict;
    use crate::layout::Head;

    #[test]
    fn a_deletion_depends_on_the_state_and_the_expected_version() {
        use ExpectedVersion::{Any, Exact, NoStream, StreamExists};
        let live = Head { max_count: 3, ..Head::new(1, 4, 2, 3) };
        let deleted = Head { state: StreamState::Deleted, truncate_before: 5, ..live };
        let tombstoned = Head { state: StreamState::Tombstoned, truncate_before: 5, ..live };
        // A head written by an earlier version.
        let cut = Head { truncate_before: 9, ..live };
        let wrong = |expected, head: &Head| Err(conflict("s", expected, Some(head)));
        let table = [
            (None, Any, Soft, Err(Error::NotFound)),
            (None, NoStream, Tombstone, Err(Error::NotFound)),
            (Some(live), Any, Soft, Ok(deleted)),
            (Some(live), StreamExists, Soft, Ok(deleted)),
            (Some(live), Exact(4), Soft, Ok(deleted)),
            (Some(live), Exact(3), Soft, wrong(Exact(3), &live)),
            (Some(live), NoStream, Tombstone, wrong(NoStream, &live)),
            (Some(live), Any, Tombstone, Ok(tombstoned)),
            (Some(cut), Any, Tombstone, Ok(tombstoned)),
            (Some(deleted), Any, Soft, Err(Error::NotFound)),
            (Some(deleted), Exact(4), Tombstone, Ok(tombstoned)),
            (Some(deleted), StreamExists, Tombstone, wrong(StreamExists, &deleted)),
            (Some(tombstoned), Any, Soft, Err(Error::NotFound)),
            (Some(tombstoned), Exact(4), Tombstone, Ok(tombstoned)),
        ];
        for (head, expected, deletion, after) in table {
            let decided = next("s", head.as_ref(), expected, deletion);
            assert_eq!(decided, after, "{deletion:?} with {expected:?} of {head:?}");
        }
        let full = Head::new(0, u64::MAX, 0, 0);
        assert_eq!(next("s", Some(&full), Any, Soft).unwrap().truncate_before, u64::MAX);
    }
}
