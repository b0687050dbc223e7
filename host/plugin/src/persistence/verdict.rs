//! What becomes of a call whose instance ended with it. Pure.

/// Times that the same call may end an instance before it is put in quarantine.
pub(crate) const STRIKES_MAX: u32 = 2;

/// What to do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Hand it to the next instance, alone. Safe, because appends are idempotent by event id.
    TryAlone,
    /// Answer that the component is being restarted and the outcome is unknown.
    Restarting,
    /// Answer that it is not tried again, now and when it is sent again.
    Quarantine,
}

/// Decides over a call that was in the instance's hands when it ended.
///
/// - `together`: how many calls were; only a call that was alone is to blame.
/// - `committed`: something was committed during the call, so trying again finds the result.
/// - `strikes`: how often this same call, alone, ended an instance, this time included.
pub(crate) fn verdict(together: usize, committed: bool, strikes: u32) -> Verdict {
    match (together, committed, strikes) {
        (2.., _, _) => Verdict::TryAlone,
        (_, _, STRIKES_MAX..) => Verdict::Quarantine,
        (_, true, _) => Verdict::TryAlone,
        (_, false, _) => Verdict::Restarting,
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, verdict};

    #[test]
    fn each_case() {
        let table = [
            // together, committed, strikes
            ((1, false, 1), Verdict::Restarting),
            ((1, true, 1), Verdict::TryAlone),
            ((1, false, 2), Verdict::Quarantine),
            ((1, true, 2), Verdict::Quarantine),
            ((1, false, 3), Verdict::Quarantine),
            ((2, false, 0), Verdict::TryAlone),
            ((2, true, 0), Verdict::TryAlone),
            ((256, true, 1), Verdict::TryAlone),
        ];
        for ((together, committed, strikes), expected) in table {
            assert_eq!(verdict(together, committed, strikes), expected, "{together} {committed} {strikes}");
        }
    }
}
