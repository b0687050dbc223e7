//! Answers a list of requests in rounds: each round commits what it can, and what other writers overtook stays open for
//! the next one.

use exesdb_sdk::keyspaces::{Batch, BatchError, Committed, Keyspaces};
use exesdb_sdk::types::Error;

/// Rounds in a row in which other writers overtook every open request. A stream has one writer unless an operator or
/// a restart doubled it, so that one round is the rule and two are rare.
pub const OVERTAKEN_ROUNDS_MAX: u32 = 8;

/// Bytes of keys and values that one round puts into its commit (one request alone may have more): half of what the
/// host accepts, and a bound on the memory that a round takes.
pub const ROUND_BYTES_MAX: usize = 8 << 20;

/// What a round came to.
pub(crate) struct Round<A> {
    /// The requests that it could answer, by their place in the list.
    pub(crate) answered: Vec<(usize, Result<A, Error>)>,
    /// What went wrong for all the others.
    pub(crate) failure: Option<Error>,
}

/// Answers all requests. `answers` has those that were refused at once; `round` is given the open ones.
pub(crate) fn answer_all<A>(
    mut answers: Vec<Option<Result<A, Error>>>,
    mut round: impl FnMut(&[usize]) -> Round<A>,
) -> Vec<Result<A, Error>> {
    let mut overtaken = 0;
    loop {
        let open: Vec<usize> = (0..answers.len()).filter(|index| answers[*index].is_none()).collect();
        if open.is_empty() {
            break;
        }
        if overtaken == OVERTAKEN_ROUNDS_MAX {
            for index in open {
                answers[index] = Some(Err(overtaken_too_often()));
            }
            break;
        }
        let Round { answered, failure } = round(&open);
        overtaken = if answered.is_empty() { overtaken + 1 } else { 0 };
        for (index, answer) in answered {
            answers[index] = Some(answer);
        }
        if let Some(error) = failure {
            // What failed fails for all that need it, and trying again is the caller's to decide.
            for answer in answers.iter_mut().filter(|answer| answer.is_none()) {
                *answer = Some(Err(error.clone()));
            }
        }
    }
    answers.into_iter().map(|answer| answer.expect("the loop ends when every request is answered")).collect()
}

/// Applies one change. `attempt` reads, decides, and gives the batches that do it, the last of which decides; without
/// any, the change is there already. It is asked again when another writer was faster.
///
/// # Errors
///
/// Those of `attempt` and of the storage.
pub(crate) fn change<T>(
    store: &impl Keyspaces,
    mut attempt: impl FnMut() -> Result<(Vec<Batch>, T), Error>,
) -> Result<T, Error> {
    for _ in 0..OVERTAKEN_ROUNDS_MAX {
        let (batches, result) = attempt()?;
        if batches.is_empty() {
            return Ok(result);
        }
        match commit(store, &batches)?.last() {
            Some(Err(BatchError::GuardFailed(_))) => {}
            Some(Err(error)) => return Err(refused(error)),
            Some(Ok(_)) | None => return Ok(result),
        }
    }
    Err(overtaken_too_often())
}

/// Commits; one result for each batch.
pub(crate) fn commit(
    store: &impl Keyspaces,
    batches: &[Batch],
) -> Result<Vec<Result<Committed, BatchError>>, Error> {
    let outcome = store.commit(batches)?;
    if outcome.len() != batches.len() {
        return Err(Error::Other(format!(
            "the storage gave {} results for {} batches; the outcome of this request is unknown",
            outcome.len(),
            batches.len()
        )));
    }
    Ok(outcome)
}

/// What the client is told about a batch that will not be accepted in the next round either.
pub(crate) fn refused(error: &BatchError) -> Error {
    match error {
        BatchError::TooLarge(reason) => {
            Error::TooLarge(format!("the request as a whole: {reason}; send it in smaller parts"))
        }
        BatchError::GuardFailed(guard) => Error::Other(format!("guard {guard} of the request failed")),
        BatchError::Invalid(reason) => {
            Error::Other(format!("the storage refused the component's batch: {reason}"))
        }
        BatchError::Other(reason) => Error::Other(reason.clone()),
    }
}

fn overtaken_too_often() -> Error {
    Error::Other(format!(
        "other writers were faster {OVERTAKEN_ROUNDS_MAX} times while this was tried; it was not applied; try again"
    ))
}
