//! What follows from crashes of the instances that get a subscription's events: those of its emitters, or of a sink. Pure.
//!
//! After an instance that ends while it takes events, the next one is given the same events one at a time. An event that ends
//! two instances alone is poison. If one event after the other is, or crashes that no event explains go on without progress, the
//! component is to blame, and the subscription halts.

use crate::bindings::store::subscription_types::PoisonPolicy;

/// Crashes with one event alone that make it poison.
const STRIKES_MAX: u32 = 2;

/// Events in a row that are parked as poison. If there are more, and no event was taken in between, it is not they who are to blame.
const POISON_MAX: u32 = 3;

/// Crashes in a row without progress that no event explains, until the subscription halts.
const UNEXPLAINED_MAX: u32 = 5;

/// Bytes of the reason for which something is parked or halted, as the interface says.
pub(crate) const REASON_BYTES_MAX: usize = 1_024;

/// Events that an instance was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The place of the first one.
    pub(crate) first: u64,
    /// The place of the last one.
    pub(crate) last: u64,
}

/// What is suspected of the events of one subscription. It outlives what ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspicion {
    /// The last place up to which events are given one at a time.
    until: Option<u64>,
    /// The event that ended instances alone, and how many.
    alone: Option<(u64, u32)>,
    /// Events that were parked as poison since one after them was taken.
    poison: u32,
    /// The place of the last one of these. What is parked is given to later instances, too, and says nothing when it is taken.
    poison_at: u64,
    unexplained: u32,
    /// The last crash, in words.
    crash: String,
}

/// Whose instances end, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    /// What ended.
    pub(crate) child: &'static str,
    /// What its instances are made of.
    pub(crate) component: &'static str,
}

/// What an emitter, or a sink, does before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It serves.
    Serve,
    /// It parks this event first, for this reason.
    Park(u64, String),
    /// It halts the subscription, for this reason.
    Halt(String),
}

impl Suspicion {
    /// Records that an instance ended. `given` are the events that it was given in its last call.
    pub(crate) fn crashed(&mut self, given: Option<Given>, crash: &str) {
        self.crash = crash.to_owned();
        match given {
            None => self.unexplained += 1,
            Some(Given { first, last }) if first == last => {
                let before = self.alone.filter(|(place, _)| *place == first);
                self.alone = Some((first, before.map_or(1, |(_, strikes)| strikes + 1)));
                self.until = self.until.max(Some(last));
            }
            Some(Given { last, .. }) => self.until = self.until.max(Some(last)),
        }
    }

    /// Records that an instance took events.
    pub(crate) fn took(&mut self, Given { first, last }: Given) {
        if last > self.poison_at {
            (self.poison, self.poison_at) = (0, 0);
        }
        self.alone = self.alone.filter(|(place, _)| !(first..=last).contains(place));
        self.until = self.until.filter(|until| *until > last);
    }

    /// Records that progress was stored.
    pub(crate) fn progressed(&mut self) {
        self.unexplained = 0;
    }

    /// Whether events from this place on are given one at a time.
    pub(crate) fn is_about(&self, place: u64) -> bool {
        self.until.is_some_and(|until| place <= until)
    }

    /// What the next one does. What it parks is not suspected any more.
    pub(crate) fn beginning(&mut self, policy: PoisonPolicy, whose: Whose) -> Beginning {
        let Whose { child, component } = whose;
        if self.unexplained >= UNEXPLAINED_MAX {
            self.unexplained = 0;
            let what = format!("{child} ended {UNEXPLAINED_MAX} times in a row: {}", self.crash);
            return Beginning::Halt(shortened(what));
        }
        match self.alone {
            Some((place, STRIKES_MAX..)) => {
                self.alone = None;
                let ended = format!("ended {STRIKES_MAX} instances of {component}");
                match policy {
                    PoisonPolicy::Park if self.poison >= POISON_MAX => {
                        (self.poison, self.poison_at) = (0, 0);
                        let what = format!(
                            "the event at place {place}, like the {POISON_MAX} before it, {ended}: {}",
                            self.crash
                        );
                        Beginning::Halt(shortened(what))
                    }
                    PoisonPolicy::Park => {
                        (self.poison, self.poison_at) = (self.poison + 1, self.poison_at.max(place));
                        Beginning::Park(place, shortened(format!("it {ended}: {}", self.crash)))
                    }
                    PoisonPolicy::Halt => {
                        let what = format!("the event at place {place} {ended}: {}", self.crash);
                        Beginning::Halt(shortened(what))
                    }
                }
            }
            _ => Beginning::Serve,
        }
    }
}

fn shortened(reason: String) -> String {
    crate::text::truncated(&reason, REASON_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::{Beginning, Given, REASON_BYTES_MAX, Suspicion, UNEXPLAINED_MAX, Whose};
    use crate::bindings::store::subscription_types::PoisonPolicy::{Halt, Park};

    const PAGE: Option<Given> = Some(Given { first: 3, last: 9 });
    const ONE: Option<Given> = Some(Given { first: 5, last: 5 });

    const WHOSE: Whose = Whose { child: "its emitter", component: "the subscriptions component" };

    #[test]
    fn an_event_that_ends_two_instances_alone_is_parked_or_halts() {
        for policy in [Park, Halt] {
            let mut suspicion = Suspicion::default();
            suspicion.crashed(PAGE, "trap");
            assert!(suspicion.is_about(3) && suspicion.is_about(9) && !suspicion.is_about(10));
            assert_eq!(suspicion.beginning(policy, WHOSE), Beginning::Serve);
            suspicion.crashed(ONE, "trap one");
            assert_eq!(suspicion.beginning(policy, WHOSE), Beginning::Serve);
            suspicion.crashed(ONE, "trap two");
            match (policy, suspicion.beginning(policy, WHOSE)) {
                (Park, Beginning::Park(5, why)) => assert!(why.contains("trap two"), "{why}"),
                (Halt, Beginning::Halt(why)) => assert!(why.contains("place 5") && why.contains("trap two")),
                (_, other) => panic!("{other:?}"),
            }
            assert_eq!(suspicion.beginning(policy, WHOSE), Beginning::Serve, "it is dealt with");
        }
    }

    #[test]
    fn one_event_after_the_other_is_not_parked_without_end() {
        let mut suspicion = Suspicion::default();
        let poison = |suspicion: &mut Suspicion, place| {
            for _ in 0..2 {
                suspicion.crashed(Some(Given { first: place, last: place }), "trap");
            }
            suspicion.beginning(Park, WHOSE)
        };
        for place in 0..3 {
            assert!(matches!(poison(&mut suspicion, place), Beginning::Park(..)), "{place}");
        }
        // What is parked is given to the next instance, and taken.
        suspicion.took(Given { first: 0, last: 2 });
        assert!(matches!(poison(&mut suspicion.clone(), 3), Beginning::Halt(_)));
        suspicion.took(Given { first: 3, last: 3 });
        for place in 4..7 {
            assert!(matches!(poison(&mut suspicion, place), Beginning::Park(..)), "{place}");
        }
        match poison(&mut suspicion, 7) {
            Beginning::Halt(why) => assert!(why.contains("place 7") && why.contains("trap"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(
            matches!(poison(&mut suspicion, 7), Beginning::Park(..)),
            "it begins anew when it is resumed"
        );
    }

    #[test]
    fn what_was_taken_is_not_suspected_any_more() {
        let mut suspicion = Suspicion::default();
        suspicion.crashed(PAGE, "");
        suspicion.crashed(ONE, "");
        suspicion.took(Given { first: 5, last: 5 });
        suspicion.crashed(ONE, "");
        assert_eq!(suspicion.beginning(Park, WHOSE), Beginning::Serve, "it was taken once in between");
        assert!(suspicion.is_about(6));
        suspicion.took(Given { first: 9, last: 9 });
        assert!(!suspicion.is_about(6));
    }

    #[test]
    fn crashes_without_an_event_halt_if_there_is_no_progress() {
        let mut suspicion = Suspicion::default();
        for _ in 1..UNEXPLAINED_MAX {
            suspicion.crashed(None, "");
            assert_eq!(suspicion.beginning(Park, WHOSE), Beginning::Serve);
        }
        suspicion.progressed();
        for _ in 0..UNEXPLAINED_MAX {
            assert_eq!(suspicion.beginning(Park, WHOSE), Beginning::Serve);
            suspicion.crashed(None, &"x".repeat(9_999));
        }
        match suspicion.beginning(Park, WHOSE) {
            Beginning::Halt(why) => assert!(why.len() <= REASON_BYTES_MAX, "{}", why.len()),
            other => panic!("{other:?}"),
        }
    }
}
