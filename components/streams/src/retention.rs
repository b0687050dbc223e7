//! Sets the retention of streams.

use exesdb_sdk::arguments::check_stream_id;
use exesdb_sdk::types::{
    Decision, Error, Retention, RetentionRequest, StreamState, Version, check_options, invalid,
};
use exesdb_sdk::view::View;

use crate::head_change;
use crate::layout::Head;
use crate::read::first_visible;

/// Decides about retention. Returns one decision for each request, in their order. Events that the old retention hides now
/// stay hidden.
pub fn decide(view: &impl View, requests: &[RetentionRequest]) -> Vec<Decision> {
    head_change::decide(
        view,
        requests,
        |request| request.stream_id.as_str(),
        check,
        |RetentionRequest { stream_id, retention, .. }, head| {
            let head = head.ok_or(Error::NotFound)?;
            if head.state == StreamState::Tombstoned {
                return Err(Error::StreamDeleted(stream_id.clone()));
            }
            Ok(retained(head, retention, first_visible(view, stream_id, head)?))
        },
    )
}

fn check(RetentionRequest { stream_id, retention, options }: &RetentionRequest) -> Result<(), Error> {
    check_stream_id("stream-id", stream_id)?;
    let limits = [
        ("retention.max-count", retention.max_count),
        ("retention.max-age-seconds", retention.max_age_seconds),
    ];
    for (argument, limit) in limits {
        if limit == Some(0) {
            return Err(invalid(argument, "is 0; it must be at least 1, or not given to keep all"));
        }
    }
    check_options(options)
}

/// The head of a stream with a new retention. `first_visible` is the first event that the old retention does not hide. A
/// truncate point beyond the end hides all events, but no future ones.
fn retained(head: &Head, retention: &Retention, first_visible: Option<Version>) -> Head {
    let next = head.next_version();
    let hidden = head.truncated_before().max(first_visible.unwrap_or(next));
    Head {
        truncate_before: hidden.max(retention.truncate_before.unwrap_or(0).min(next)),
        max_count: retention.max_count.unwrap_or(0),
        max_age_seconds: retention.max_age_seconds.unwrap_or(0),
        ..*head
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::Retention;

    use super::retained;
    use crate::layout::Head;

    #[test]
    fn hidden_events_stay_hidden() {
        let none = Retention { max_count: None, max_age_seconds: None, truncate_before: None };
        let plain = Head::new(0, 9, 0, 0);
        let old = Head { truncate_before: 2, max_count: 6, max_age_seconds: 7, ..plain };
        let table = [
            (plain, none, Some(0), plain),
            (
                plain,
                Retention { max_count: Some(1), max_age_seconds: Some(2), truncate_before: Some(3) },
                Some(0),
                Head { max_count: 1, max_age_seconds: 2, truncate_before: 3, ..plain },
            ),
            (old, none, Some(4), Head { truncate_before: 4, ..plain }),
            (old, none, None, Head { truncate_before: 10, ..plain }),
            (
                old,
                Retention { truncate_before: Some(1), ..none },
                Some(2),
                Head { truncate_before: 2, ..plain },
            ),
            (
                old,
                Retention { truncate_before: Some(8), ..none },
                Some(4),
                Head { truncate_before: 8, ..plain },
            ),
            (
                old,
                Retention { truncate_before: Some(u64::MAX), ..none },
                None,
                Head { truncate_before: 10, ..plain },
            ),
            (
                plain,
                Retention { truncate_before: Some(11), ..none },
                Some(0),
                Head { truncate_before: 10, ..plain },
            ),
            (
                plain,
                Retention { truncate_before: Some(10), ..none },
                Some(0),
                Head { truncate_before: 10, ..plain },
            ),
            // A head written by an earlier version.
            (Head { truncate_before: 1_000, ..plain }, none, None, Head { truncate_before: 10, ..plain }),
        ];
        for (head, retention, first_visible, next) in table {
            assert_eq!(retained(&head, &retention, first_visible), next, "{retention:?} of {head:?}");
        }
    }
}
