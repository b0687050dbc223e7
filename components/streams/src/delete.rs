//! Deletes a stream, softly or with a tombstone. Its events are hidden at once; scavenging removes them later.

use exesdb_sdk::arguments::check_stream_id;
use exesdb_sdk::keyspaces::{Batch, Keyspaces};
use exesdb_sdk::streams::{Deletion, StreamState};
use exesdb_sdk::types::{Error, ExpectedVersion};

use crate::correlation::CorrelationIndex;
use crate::decide::{conflict, holds};
use crate::entries::{Entries, Origin, decode_head};
use crate::layout::{Head, STREAMS};
use crate::rounds::change;

/// Deletes a stream, if it is at the expected version.
///
/// # Errors
///
/// [`Error::Invalid`], [`Error::NotFound`], [`Error::WrongExpectedVersion`], and those of the storage.
pub fn delete_stream(
    store: &impl Keyspaces,
    stream_id: &str,
    expected: ExpectedVersion,
    deletion: Deletion,
) -> Result<(), Error> {
    check_stream_id("stream-id", stream_id)?;
    change(store, || {
        let value = store.get(STREAMS, stream_id.as_bytes())?;
        let head = decode_head(stream_id, value.as_deref())?;
        let next = decide(stream_id, head.as_ref(), expected, deletion)?;
        Ok((head_change(stream_id, head, next), ()))
    })
}

/// The batch that changes a stream's head to `next`; none if the head is the same.
pub(crate) fn head_change(stream_id: &str, head: Option<Head>, next: Head) -> Vec<Batch> {
    if head == Some(next) {
        return Vec::new();
    }
    let mut entries = Entries::new(CorrelationIndex::Off);
    entries.require_head(stream_id, head.as_ref());
    entries.put_head(stream_id, head.as_ref(), &next, Origin::Known(next.origin));
    vec![entries.build()]
}

/// The head of the stream after the deletion.
fn decide(
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
    use exesdb_sdk::streams::Deletion::{Soft, Tombstone};
    use exesdb_sdk::streams::StreamState;
    use exesdb_sdk::types::{Error, ExpectedVersion};

    use super::decide;
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
        for (head, expected, deletion, next) in table {
            let decided = decide("s", head.as_ref(), expected, deletion);
            assert_eq!(decided, next, "{deletion:?} with {expected:?} of {head:?}");
        }
        let full = Head::new(0, u64::MAX, 0, 0);
        assert_eq!(decide("s", Some(&full), Any, Soft).unwrap().truncate_before, u64::MAX);
    }
}
