//! Which of the waiting requests make the next list. Pure.

/// A request is decided alone, with nothing else in flight, from this attempt on: then nothing can come between its decision
/// and its batch. It is the eighth of the rule W2.
const ALONE_FROM: u32 = 8;

/// A request is given up after so many attempts. From the eighth on nothing comes between, so a guard that goes on failing
/// contradicts what the component reads.
const ATTEMPTS_MAX: u32 = 16;

/// A list that ended an instance is tried again in so many parts: a bad request among a thousand then costs three instances
/// until it is alone, and the others need not be decided one by one.
const CRASH_DIVISOR: usize = 8;

/// Limits of a list: see the rule W5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListLimits {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

/// What happened to a request so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How often a guard of its batch has failed.
    failures: u32,
    /// Most requests of a list that it may be in. An instance that ends divides it, so that a request which ends instances is
    /// alone in the end, and the others are served.
    company_max: usize,
}

impl Standing {
    /// Of a request that just came.
    pub(crate) const NEW: Self = Self { failures: 0, company_max: usize::MAX };

    /// After a guard of its batch failed.
    pub(crate) fn after_failed_guard(self) -> Self {
        Self { failures: self.failures.saturating_add(1), ..self }
    }

    /// After an instance ended that was deciding about it and others, so many in all.
    pub(crate) fn after_crash(self, together: usize) -> Self {
        Self { company_max: (together / CRASH_DIVISOR).max(1), ..self }
    }

    /// Whether the request is not tried again.
    pub(crate) fn is_given_up(self) -> bool {
        self.failures >= ATTEMPTS_MAX
    }

    /// Whether the request must be decided with nothing else in flight.
    pub(crate) fn is_alone(self) -> bool {
        self.failures + 1 >= ALONE_FROM
    }
}

/// How many of the waiting requests, which are given in order with their bytes, the next list has.
pub(crate) fn list_len(waiting: impl IntoIterator<Item = (Standing, usize)>, limits: ListLimits) -> usize {
    let (mut count, mut bytes, mut requests_max) = (0, 0_usize, limits.requests);
    for (standing, more) in waiting {
        if standing.is_alone() {
            // It waits until it is the first, and nothing joins it then.
            return count.max(1);
        }
        bytes = bytes.saturating_add(more);
        requests_max = requests_max.min(standing.company_max);
        if count > 0 && (count >= requests_max || bytes > limits.bytes) {
            break;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{ALONE_FROM, ATTEMPTS_MAX, ListLimits, Standing, list_len};

    fn failed(times: u32) -> Standing {
        (0..times).fold(Standing::NEW, |standing, _| standing.after_failed_guard())
    }

    #[test]
    fn the_eighth_attempt_is_alone() {
        assert!(!failed(ALONE_FROM - 2).is_alone());
        assert!(failed(ALONE_FROM - 1).is_alone());
        assert!(failed(100).is_alone());
    }

    #[test]
    fn there_is_a_last_attempt() {
        assert!(!failed(ATTEMPTS_MAX - 1).is_given_up());
        assert!(failed(ATTEMPTS_MAX).is_given_up());
    }

    #[test]
    fn a_list_is_bounded_and_suspects_are_in_small_company() {
        let new = Standing::NEW;
        let alone = failed(ALONE_FROM);
        let suspect = |together| new.after_crash(together);
        for (case, waiting, expected) in [
            ("nothing waits", vec![], 0),
            ("all fit", vec![(new, 3), (new, 3), (new, 3)], 3),
            ("too many", vec![(new, 0); 5], 4),
            ("too many bytes", vec![(new, 6), (new, 4), (new, 1)], 2),
            ("the first is as large as it likes", vec![(new, 99), (new, 0)], 1),
            ("it waits until those before it are through", vec![(new, 1), (alone, 1), (new, 1)], 1),
            ("nothing joins it", vec![(alone, 1), (new, 1)], 1),
            ("two of them", vec![(alone, 1), (alone, 1)], 1),
            ("sizes that overflow", vec![(new, usize::MAX), (new, usize::MAX)], 1),
            ("a part of a list that ended an instance", vec![(suspect(16), 1); 4], 2),
            ("a part of three", vec![(suspect(3), 1); 3], 1),
            ("one that did it alone", vec![(suspect(1), 1), (new, 1)], 1),
            (
                "a suspect does not join those who came before it",
                vec![(new, 1), (new, 1), (suspect(16), 1)],
                2,
            ),
        ] {
            assert_eq!(list_len(waiting, ListLimits { requests: 4, bytes: 10 }), expected, "{case}");
        }
    }
}
