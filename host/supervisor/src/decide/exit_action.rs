//! What follows an exit, by restart type and exit reason.

use crate::reason::Reason;
use crate::spec::Restart;

/// What happens to a child that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitAction {
    /// It is restarted; the strategy decides which siblings are restarted with it.
    Restart,
    /// It stays in the list without a process.
    Keep,
    /// It is forgotten.
    Drop,
}

/// What happens to a child that has ended. The same for workers and supervisors.
pub(crate) fn exit_action(restart: Restart, reason: &Reason) -> ExitAction {
    match (restart, reason) {
        (Restart::Permanent, _) => ExitAction::Restart,
        (Restart::Transient, Reason::Normal | Reason::Shutdown | Reason::ShutdownWith(_)) => ExitAction::Keep,
        (Restart::Transient, Reason::Killed | Reason::Error(_)) => ExitAction::Restart,
        (Restart::Temporary, _) => ExitAction::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitAction, exit_action};
    use crate::reason::Reason;
    use crate::spec::Restart::{Permanent, Temporary, Transient};

    #[test]
    fn restart_type_and_exit_reason_determine_the_action() {
        use ExitAction::{Drop, Keep, Restart};
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
            assert_eq!(exit_action(Permanent, &exit), permanent, "permanent, {reason}");
            assert_eq!(exit_action(Transient, &exit), transient, "transient, {reason}");
            assert_eq!(exit_action(Temporary, &exit), temporary, "temporary, {reason}");
        }
    }
}
