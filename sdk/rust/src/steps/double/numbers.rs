//! The numbers of what a request has open: one series for calls, holds, subscriptions and timers (the rules P2 and P6).

use std::collections::{BTreeMap, BTreeSet};

/// Calls that may be open.
const CALLS_MAX: usize = 1_024;

/// Subscriptions that may be open.
const SUBSCRIPTIONS_MAX: usize = 16;

/// Holds and timers that may be open, together.
const OTHERS_MAX: usize = 256;

/// What a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Hold,
    Subscription,
    Timer,
}

#[derive(Default)]
pub(super) struct Numbers {
    open: BTreeMap<u32, Kind>,
    /// Those that the actions of this step took.
    taken: BTreeSet<u32>,
}

impl Numbers {
    /// The actions of another step follow.
    pub(super) fn begin_step(&mut self) {
        self.taken.clear();
    }

    pub(super) fn get(&self, id: u32) -> Option<Kind> {
        self.open.get(&id).copied()
    }

    pub(super) fn take(&mut self, id: u32, kind: Kind) {
        assert!(self.taken.insert(id), "the number {id} is taken twice in one step (P2)");
        let before = self.open.insert(id, kind);
        assert!(before.is_none(), "the number {id} is in use (P2)");
    }

    /// The number is open for this action.
    pub(super) fn expect(&self, id: u32, kind: Kind, action: &str) {
        assert!(self.get(id) == Some(kind), "`{action}` of {id}, which is not open for it (P2)");
    }

    pub(super) fn free(&mut self, id: u32) -> Option<Kind> {
        self.open.remove(&id)
    }

    /// Checks how many are open, after the actions of a step.
    pub(super) fn end_step(&self) {
        let count = |of: &[Kind]| self.open.values().filter(|kind| of.contains(kind)).count();
        for (kinds, most, what) in [
            (&[Kind::Call][..], CALLS_MAX, "calls"),
            (&[Kind::Subscription], SUBSCRIPTIONS_MAX, "subscriptions"),
            (&[Kind::Hold, Kind::Timer], OTHERS_MAX, "holds and timers"),
        ] {
            assert!(count(kinds) <= most, "more than {most} {what} are open (P6)");
        }
    }

    /// Whether something is open that can bring an event: a hold cannot.
    pub(super) fn bring_event(&self) -> bool {
        self.open.values().any(|kind| *kind != Kind::Hold)
    }
}
