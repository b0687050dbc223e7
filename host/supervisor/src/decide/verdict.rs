//! The table: restart type times exit reason.

use crate::reason::Reason;
use crate::spec::Restart;

/// What an exit means for the child itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is started again, and the strategy says who with it.
    Restart,
    /// It stays in the list without a process.
    Keep,
    /// It is forgotten.
    Drop,
}

/// What the end of a child means. It is the same for workers and supervisors.
pub(crate) fn verdict(restart: Restart, reason: &Reason) -> Verdict {
    match (restart, reason) {
        (Restart::Permanent, _) => Verdict::Restart,
        (Restart::Transient, Reason::Normal | Reason::Shutdown | Reason::ShutdownWith(_)) => Verdict::Keep,
        (Restart::Transient, Reason::Killed | Reason::Error(_)) => Verdict::Restart,
        (Restart::Temporary, _) => Verdict::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, verdict};
    use crate::reason::Reason;
    use crate::spec::Restart::{Permanent, Temporary, Transient};

    #[test]
    fn restart_type_times_exit_reason() {
        use Verdict::{Drop, Keep, Restart};
        let table = [
            // reason            permanent  transient  temporary
            ("normal", Restart, Keep, Drop),
            ("shutdown", Restart, Keep, Drop),
            ("shutdown:late", Restart, Keep, Drop),
            ("killed", Restart, Restart, Drop),
            ("error:boom", Restart, Restart, Drop),
        ];
        for (reason, permanent, transient, temporary) in table {
            let exit: Reason = reason.parse().unwrap();
            assert_eq!(verdict(Permanent, &exit), permanent, "permanent, {reason}");
            assert_eq!(verdict(Transient, &exit), transient, "transient, {reason}");
            assert_eq!(verdict(Temporary, &exit), temporary, "temporary, {reason}");
        }
    }
}
