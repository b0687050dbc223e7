//! Rules, without side effects: what becomes of a stream of a backup in a store that has no events after a position.

use exesdb_plugin::contract::types::{Retention, StreamInfo, StreamLife, StreamState};

/// What becomes of a stream.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The stream does not exist, because it began after the position.
    Absent,
    /// The stream has the events that were copied, and this retention.
    Copied(Retention),
    /// The stream exists without any event, because all that it had are hidden.
    Hidden(Hidden),
}

/// A stream without any event that can be read.
#[derive(Debug)]
pub(super) struct Hidden {
    /// The last version that is already used.
    pub(super) last_version: u64,
    /// The time of the stream's last event, in microseconds since 1970.
    pub(super) updated: u64,
    /// The retention, which hides everything up to the last version.
    pub(super) retention: Retention,
    /// Whether the stream was deleted.
    pub(super) state: StreamState,
}

/// Decides what becomes of a stream.
///
/// `info` and `life` describe the stream at the time of the backup, without any event hidden by its age. `copied` is the
/// version of the last event that was copied, which is the last visible one up to the position. The error says how the
/// component contradicts itself.
///
/// Hidden events then precede all visible ones, so a stream with a copied event has all versions from the first visible one
/// up to that event. If nothing was copied of a stream that began before the position, its events up to the position are
/// hidden. Their number is unknown once they are scavenged, but they may be all those before the first visible event, so the
/// stream continues with that event's version.
pub(super) fn outcome(
    info: &StreamInfo,
    life: Option<StreamLife>,
    copied: Option<u64>,
    position: u64,
) -> Result<Outcome, String> {
    if let Some(last_version) = copied {
        let end = last_version.saturating_add(1);
        let truncate_before = info.retention.truncate_before.map(|before| before.min(end));
        return Ok(Outcome::Copied(Retention { truncate_before, ..info.retention }));
    }
    if info.first_position > position {
        return Ok(Outcome::Absent);
    }
    let Some(first_visible) = info.first_version else {
        return Ok(Outcome::Hidden(hidden(info, info.last_version, info.updated, info.state)));
    };
    let Some(last_version) = first_visible.checked_sub(1) else {
        return Err(format!(
            "its first event, at position {}, can be read, and was not among the events up to position {position}",
            info.first_position
        ));
    };
    // If the present life begins with the first visible event, the stream was deleted before that event was appended.
    let began_again = life.is_some_and(|life| life.first_version == first_visible);
    let state = if began_again { StreamState::Deleted } else { info.state };
    Ok(Outcome::Hidden(hidden(info, last_version, info.created, state)))
}

fn hidden(info: &StreamInfo, last_version: u64, updated: u64, state: StreamState) -> Hidden {
    let truncate_before = Some(last_version.saturating_add(1));
    Hidden { last_version, updated, retention: Retention { truncate_before, ..info.retention }, state }
}

#[cfg(test)]
mod tests {
    use exesdb_plugin::contract::types::StreamState::{self, Deleted, Live, Tombstoned};
    use exesdb_plugin::contract::types::{Retention, StreamInfo, StreamLife};

    use super::{Hidden, Outcome, outcome};

    const NONE: Retention = Retention { max_count: None, max_age_seconds: None, truncate_before: None };
    const TRUNCATED: Retention = Retention { truncate_before: Some(3), ..NONE };
    const COUNTED: Retention = Retention { max_count: Some(2), ..NONE };
    const AGED: Retention = Retention { max_age_seconds: Some(9), ..NONE };

    /// A stream whose first event was at position 10, with versions up to 5.
    fn info(state: StreamState, first_version: Option<u64>, retention: Retention) -> StreamInfo {
        StreamInfo {
            stream_id: "s".to_owned(),
            state,
            first_version,
            last_version: 5,
            life_begins: None,
            first_position: 10,
            retention,
            created: 100,
            updated: 500,
        }
    }

    fn hidden(state: StreamState, last_version: u64, updated: u64, limits: Retention) -> Outcome {
        let retention = Retention { truncate_before: Some(last_version + 1), ..limits };
        Outcome::Hidden(Hidden { last_version, updated, retention, state })
    }

    #[test]
    fn outcomes_for_streams_in_each_state() {
        let started_again = Some(StreamLife { first_version: 4, last_version: 5 });
        let never_deleted = Some(StreamLife { first_version: 0, last_version: 5 });
        let started_again_and_truncated = Some(StreamLife { first_version: 2, last_version: 5 });
        let truncated_before = |before| Retention { truncate_before: Some(before), ..NONE };
        let table = [
            // Some events were copied.
            (info(Live, Some(0), NONE), never_deleted, Some(2), Outcome::Copied(NONE)),
            (info(Live, Some(3), TRUNCATED), never_deleted, Some(3), Outcome::Copied(TRUNCATED)),
            (
                info(Live, Some(4), truncated_before(9)),
                never_deleted,
                Some(4),
                Outcome::Copied(truncated_before(5)),
            ),
            (info(Live, Some(4), COUNTED), never_deleted, Some(4), Outcome::Copied(COUNTED)),
            // All visible events came later.
            (info(Live, Some(3), TRUNCATED), never_deleted, None, hidden(Live, 2, 100, NONE)),
            (info(Live, Some(4), COUNTED), never_deleted, None, hidden(Live, 3, 100, COUNTED)),
            (info(Live, Some(3), AGED), never_deleted, None, hidden(Live, 2, 100, AGED)),
            (info(Live, Some(4), truncated_before(4)), started_again, None, hidden(Deleted, 3, 100, NONE)),
            (info(Live, Some(4), COUNTED), started_again, None, hidden(Deleted, 3, 100, COUNTED)),
            (info(Live, Some(4), COUNTED), started_again_and_truncated, None, hidden(Live, 3, 100, COUNTED)),
            // No event is visible.
            (info(Live, None, AGED), never_deleted, None, hidden(Live, 5, 500, AGED)),
            (info(Deleted, None, truncated_before(6)), None, None, hidden(Deleted, 5, 500, NONE)),
            (info(Tombstoned, None, truncated_before(6)), None, None, hidden(Tombstoned, 5, 500, NONE)),
        ];
        for (info, life, copied, expected) in table {
            for position in [10, 11] {
                let outcome = outcome(&info, life, copied, position).unwrap();
                // The types of the contract do not implement `PartialEq`.
                let (outcome, expected) = (format!("{outcome:?}"), format!("{expected:?}"));
                assert_eq!(outcome, expected, "{info:?} {life:?} {copied:?} {position}");
            }
            if copied.is_none() {
                assert!(matches!(outcome(&info, life, copied, 9), Ok(Outcome::Absent)), "{info:?}");
            }
        }
    }

    #[test]
    fn a_visible_first_event_that_was_not_copied_is_a_contradiction() {
        let info = info(Live, Some(0), NONE);
        assert!(outcome(&info, None, None, 10).unwrap_err().contains("position 10"));
        assert!(matches!(outcome(&info, None, None, 9), Ok(Outcome::Absent)));
    }
}
