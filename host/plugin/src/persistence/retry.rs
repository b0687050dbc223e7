//! Decides about a call whose instance ended while it served the call. Pure.

/// A call that has ended this many instances is put in quarantine.
pub(crate) const STRIKES_MAX: u32 = 2;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Pass it to the next instance, alone. Safe, because appends are idempotent by event id.
    RetryAlone,
    /// Fail it: the component is being restarted and the outcome is unknown.
    Fail,
    /// Fail it, now and when it is sent again.
    Quarantine,
}

/// Decides about a call that an instance was serving when it ended.
///
/// - `together`: how many calls it was serving; only a call that was alone is to blame.
/// - `committed`: something was committed during the call, so that a retry finds the result.
/// - `strikes`: how many instances this call has ended while it was alone, this one included.
pub(crate) fn decide(together: usize, committed: bool, strikes: u32) -> Decision {
    match (together, committed, strikes) {
        (2.., _, _) => Decision::RetryAlone,
        (_, _, STRIKES_MAX..) => Decision::Quarantine,
        (_, true, _) => Decision::RetryAlone,
        (_, false, _) => Decision::Fail,
    }
}

#[cfg(test)]
mod tests {
    use super::{Decision, decide};

    #[test]
    fn the_decision_follows_from_company_commit_and_strikes() {
        let table = [
            // together, committed, strikes
            ((1, false, 1), Decision::Fail),
            ((1, true, 1), Decision::RetryAlone),
            ((1, false, 2), Decision::Quarantine),
            ((1, true, 2), Decision::Quarantine),
            ((1, false, 3), Decision::Quarantine),
            ((2, false, 0), Decision::RetryAlone),
            ((2, true, 0), Decision::RetryAlone),
            ((256, true, 1), Decision::RetryAlone),
        ];
        for ((together, committed, strikes), expected) in table {
            assert_eq!(decide(together, committed, strikes), expected, "{together} {committed} {strikes}");
        }
    }
}
