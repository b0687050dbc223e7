//! Which events of a stream retention and deletion hide, given its head and the time of day. Every read follows this rule,
//! so an event disappears at once, long before scavenging removes it. Pure functions.

use exesdb_sdk::types::{StreamState, Version};

use crate::layout::Head;

/// Microseconds per second.
const MICROSECONDS: u64 = 1_000_000;

/// The first version that is visible by its number; none if no version is. Age may hide it and later ones.
#[must_use]
pub fn first_kept(head: &Head) -> Option<Version> {
    if head.state != StreamState::Live {
        return None;
    }
    let counted = match head.max_count {
        0 => 0,
        // `last + 1 - max_count`, without an addition that could overflow.
        count => head.last_version.saturating_sub(count - 1),
    };
    let first = head.truncated_before().max(head.reclaimed_before).max(counted);
    (first <= head.last_version).then_some(first)
}

/// Whether the stream's retention hides an event of this age. `created` and `now` are microseconds since
/// 1970-01-01T00:00:00 UTC; an event of the future, as after a clock change, is not too old.
#[must_use]
pub fn is_too_old(head: &Head, created: u64, now: u64) -> bool {
    head.max_age_seconds != 0
        && now.saturating_sub(created) > head.max_age_seconds.saturating_mul(MICROSECONDS)
}

/// Whether deletion or retention hides an event of the stream.
#[must_use]
pub fn hides(head: &Head, version: Version, created: u64, now: u64) -> bool {
    first_kept(head).is_none_or(|first| version < first) || is_too_old(head, created, now)
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::StreamState::{Deleted, Live, Tombstoned};

    use super::{first_kept, hides, is_too_old};
    use crate::layout::Head;

    /// A stream of 10 events.
    fn head() -> Head {
        Head::new(4, 9, 0, 0)
    }

    #[test]
    fn state_count_and_truncation_determine_the_first_kept_version() {
        let table = [
            (head(), Some(0)),
            (Head { truncate_before: 9, ..head() }, Some(9)),
            (Head { truncate_before: 10, ..head() }, None),
            (Head { truncate_before: u64::MAX, ..head() }, None),
            (Head { max_count: 1, ..head() }, Some(9)),
            (Head { max_count: 9, ..head() }, Some(1)),
            (Head { max_count: 10, ..head() }, Some(0)),
            (Head { max_count: u64::MAX, ..head() }, Some(0)),
            (Head { max_count: 1, last_version: u64::MAX, ..head() }, Some(u64::MAX)),
            (Head { truncate_before: 3, max_count: 4, ..head() }, Some(6)),
            (Head { truncate_before: 7, max_count: 4, ..head() }, Some(7)),
            (Head { reclaimed_before: 8, truncate_before: 7, max_count: 4, ..head() }, Some(8)),
            (Head { max_age_seconds: 1, ..head() }, Some(0)),
            (Head { state: Deleted, truncate_before: 10, ..head() }, None),
            // A stream that was deleted at version 5 and begun again.
            (Head { state: Live, truncate_before: 6, ..head() }, Some(6)),
            (Head { state: Deleted, ..head() }, None),
            (Head { state: Tombstoned, ..head() }, None),
            (Head { state: Tombstoned, truncate_before: 10, ..head() }, None),
        ];
        for (head, first) in table {
            assert_eq!(first_kept(&head), first, "{head:?}");
            for version in 0..=9 {
                let is_hidden = first.is_none_or(|first| version < first);
                assert_eq!(hides(&head, version, 5, 5), is_hidden, "version {version} of {head:?}");
            }
        }
    }

    #[test]
    fn age_is_compared_in_microseconds() {
        let seconds = |max_age_seconds| Head { max_age_seconds, ..head() };
        let table = [
            (0, 0, u64::MAX, false),
            (2, 7, 7, false),
            (2, 7, 2_000_007, false),
            (2, 7, 2_000_008, true),
            (2, 7, 6, false),
            (2, 0, u64::MAX, true),
            (u64::MAX, 0, u64::MAX, false),
            (1, u64::MAX, 0, false),
        ];
        for (max_age_seconds, created, now, too_old) in table {
            assert_eq!(
                is_too_old(&seconds(max_age_seconds), created, now),
                too_old,
                "{max_age_seconds} {created} {now}"
            );
            assert_eq!(hides(&seconds(max_age_seconds), 9, created, now), too_old);
        }
    }
}
