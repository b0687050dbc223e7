//! The plan of one list: the batches to commit, and what each request waits for.

use exesdb_storage::limits::COMMIT_BYTES_MAX;
use exesdb_storage::{Batch, BatchError, Committed};

/// What a component decided about one request. `R` is the result of a request, `P` what it will be but for its positions.
#[derive(Debug)]
pub(crate) enum Decision<R, P> {
    /// Nothing is to be written.
    Done(R),
    /// The batch is to be applied.
    Commit(Batch, P),
    /// It depends on an earlier `Commit` of the list.
    Later,
}

/// Decisions that break the contract: the component is at fault, as if it had trapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokenContract {
    #[error("it made {found} decisions about {requests} requests")]
    Count { found: usize, requests: usize },
    #[error("it put off the first request of a list, which depends on nothing (rule W3)")]
    FirstIsLater,
    #[error("decision {decision}: {what}")]
    Decision { decision: usize, what: String },
}

/// What a request waits for.
#[derive(Debug, PartialEq, Eq)]
enum Waits<R, P> {
    /// Until what it was decided on is durable.
    Done(R),
    /// For its batch.
    Commit(P),
    /// For the next list.
    Later,
}

/// The plan of a list.
#[derive(Debug)]
pub(crate) struct Plan<R, P> {
    waits: Vec<Waits<R, P>>,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate<R, P> {
    /// It has this result.
    Done(R),
    /// Its batch was applied.
    Applied(P, Committed),
    /// It is passed again, in its place before all that came later.
    Again {
        /// The index of the guard of its own batch that failed, if one did.
        failed_guard: Option<u32>,
    },
    /// Its batch could not be applied.
    Refused(BatchError),
    /// The list was not committed.
    Failed,
}

impl<R, P> Plan<R, P> {
    /// Checks decisions about so many requests. Returns the plan, and the batches in the order in which they are applied: as
    /// many as one commit takes.
    pub(crate) fn of(
        decisions: Vec<Decision<R, P>>,
        requests: usize,
    ) -> Result<(Self, Vec<Batch>), BrokenContract> {
        if decisions.len() != requests {
            return Err(BrokenContract::Count { found: decisions.len(), requests });
        }
        if matches!(decisions.first(), Some(Decision::Later)) {
            return Err(BrokenContract::FirstIsLater);
        }
        let mut batches = Vec::new();
        let (mut bytes, mut is_full) = (0, false);
        let waits = decisions.into_iter().map(|decision| {
            if let Decision::Commit(batch, _) = &decision {
                bytes += batch.bytes();
                // The storage refuses a first one that is too large by itself.
                is_full |= bytes > COMMIT_BYTES_MAX && !batches.is_empty();
            }
            match decision {
                // What follows may build on the batch that does not fit, so it is decided again as well.
                _ if is_full => Waits::Later,
                Decision::Done(result) => Waits::Done(result),
                Decision::Later => Waits::Later,
                Decision::Commit(batch, planned) => {
                    batches.push(batch);
                    Waits::Commit(planned)
                }
            }
        });
        Ok((Self { waits: waits.collect() }, batches))
    }

    /// What becomes of each request, once the batches were applied; there is an outcome for each.
    ///
    /// A decision may build on earlier batches of the list. So after a batch that was not applied, what needed none is decided
    /// again (rule W7); what needs one has guards of its own.
    pub(crate) fn settle(
        self,
        outcomes: impl IntoIterator<Item = Result<Committed, BatchError>>,
    ) -> Vec<Fate<R, P>> {
        let mut outcomes = outcomes.into_iter();
        let mut has_lost_one = false;
        let settle = |waits| match waits {
            Waits::Later => Fate::Again { failed_guard: None },
            Waits::Done(_) if has_lost_one => Fate::Again { failed_guard: None },
            Waits::Done(result) => Fate::Done(result),
            Waits::Commit(planned) => {
                match outcomes.next().expect("the committer has one outcome for each batch") {
                    Ok(committed) => Fate::Applied(planned, committed),
                    Err(error) => {
                        has_lost_one = true;
                        match error {
                            BatchError::GuardFailed { index } => Fate::Again { failed_guard: Some(index) },
                            error => Fate::Refused(error),
                        }
                    }
                }
            }
        };
        self.waits.into_iter().map(settle).collect()
    }

    /// What becomes of each request if the batches are not applied, because the store takes no commits now. What needs none
    /// and builds on none still has its result.
    pub(crate) fn refuse(self) -> Vec<Fate<R, P>> {
        let mut builds_on_a_batch = false;
        let refuse = |waits| match waits {
            Waits::Later => Fate::Again { failed_guard: None },
            Waits::Done(_) if builds_on_a_batch => Fate::Again { failed_guard: None },
            Waits::Done(result) => Fate::Done(result),
            Waits::Commit(_) => {
                builds_on_a_batch = true;
                Fate::Failed
            }
        };
        self.waits.into_iter().map(refuse).collect()
    }
}

#[cfg(test)]
mod tests {
    use exesdb_storage::{Batch, BatchError, Committed};

    use super::{BrokenContract, Decision, Fate, Plan};

    type Decided = Decision<&'static str, &'static str>;

    const GUARD: BatchError = BatchError::GuardFailed { index: 0 };

    fn done(result: &'static str) -> Decided {
        Decision::Done(result)
    }

    fn commit(planned: &'static str) -> Decided {
        Decision::Commit(Batch::default(), planned)
    }

    fn at(first_position: u64) -> Result<Committed, BatchError> {
        Ok(Committed { first_position })
    }

    fn plan(decisions: Vec<Decided>) -> (Plan<&'static str, &'static str>, Vec<Batch>) {
        let requests = decisions.len();
        Plan::of(decisions, requests).expect("the decisions keep the contract")
    }

    #[test]
    fn each_request_has_its_own_outcome() {
        let applied = |planned, first_position| Fate::Applied(planned, Committed { first_position });
        let again = |failed_guard| Fate::Again { failed_guard };
        for (case, decisions, outcomes, expected) in [
            ("an empty list", vec![], vec![], vec![]),
            ("nothing to write", vec![done("a")], vec![], vec![Fate::Done("a")]),
            (
                "applied in order",
                vec![commit("a"), done("b"), commit("c")],
                vec![at(1), at(5)],
                vec![applied("a", 1), Fate::Done("b"), applied("c", 5)],
            ),
            (
                "put off",
                vec![commit("a"), Decision::Later, commit("c")],
                vec![at(1), at(2)],
                vec![applied("a", 1), again(None), applied("c", 2)],
            ),
            (
                "after a failed guard, what needed no batch is decided again, and batches stand by their own guards",
                vec![done("a"), commit("b"), done("c"), commit("d"), done("e")],
                vec![Err(GUARD), at(7)],
                vec![Fate::Done("a"), again(Some(0)), again(None), applied("d", 7), again(None)],
            ),
            (
                "a batch that is refused for good is no reason to try it again",
                vec![commit("a"), done("b")],
                vec![Err(BatchError::Invalid("x".into()))],
                vec![Fate::Refused(BatchError::Invalid("x".into())), again(None)],
            ),
        ] {
            let (plan, batches) = plan(decisions);
            assert_eq!(batches.len(), outcomes.len(), "a wrong test: {case}");
            assert_eq!(plan.settle(outcomes), expected, "{case}");
        }
    }

    #[test]
    fn a_store_that_takes_no_commits_still_recognizes_repeats() {
        let (plan, _) = plan(vec![done("a"), commit("b"), done("c"), Decision::Later]);
        let again = || Fate::Again { failed_guard: None };
        assert_eq!(plan.refuse(), [Fate::Done("a"), Fate::Failed, again(), again()]);
    }

    /// A list of many events with many labels makes batches that are larger than the events.
    #[test]
    fn what_does_not_fit_into_one_commit_is_decided_again() {
        let large = |planned| Decision::Commit(Batch { log: vec![0; 6 << 20], ..Batch::default() }, planned);
        let (plan, batches) =
            plan(vec![large("a"), done("b"), large("c"), large("d"), done("e"), commit("f")]);
        assert_eq!(batches.len(), 2);
        let again = || Fate::Again { failed_guard: None };
        let applied = |planned| Fate::Applied(planned, Committed { first_position: 7 });
        assert_eq!(
            plan.settle([at(7), at(7)]),
            [applied("a"), Fate::Done("b"), applied("c"), again(), again(), again()]
        );
    }

    /// Deciding the first one again would never end.
    #[test]
    fn the_first_batch_is_left_to_the_storage_even_if_it_fits_into_no_commit() {
        let huge = Decision::Commit(Batch { log: vec![0; 17 << 20], ..Batch::default() }, "a");
        let (plan, batches) = plan(vec![huge, commit("b"), done("c")]);
        assert_eq!(batches.len(), 1);
        let error = BatchError::TooLarge { what: "the commit", actual: 17 << 20, limit: 16 << 20 };
        let again = || Fate::Again { failed_guard: None };
        assert_eq!(plan.settle([Err(error.clone())]), [Fate::Refused(error), again(), again()]);
    }

    #[test]
    fn decisions_that_break_the_contract_are_refused() {
        let of = |decisions: Vec<Decided>, requests| Plan::of(decisions, requests).map(|_| ()).unwrap_err();
        assert_eq!(of(vec![], 1), BrokenContract::Count { found: 0, requests: 1 });
        assert_eq!(of(vec![done("a"), done("b")], 1), BrokenContract::Count { found: 2, requests: 1 });
        assert_eq!(of(vec![Decision::Later, done("b")], 2), BrokenContract::FirstIsLater);
    }
}
