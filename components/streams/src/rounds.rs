//! Resolves a list of requests in rounds. Each round commits what it can; requests that other writers overtook stay open
//! for the next round.

use exesdb_sdk::keyspaces::{Batch, BatchError, Committed, Keyspaces};
use exesdb_sdk::types::Error;

/// Maximum number of consecutive rounds in which other writers overtake every open request. There is one component per
/// store unless an operator or a restart doubled it, so one round is usual and two are rare.
pub const OVERTAKEN_ROUNDS_MAX: u32 = 8;

/// Maximum bytes of keys and values in the commit of one round, unless a single request is larger. It is half of what the
/// host accepts, and bounds the memory of a round.
pub const ROUND_BYTES_MAX: usize = 8 << 20;

/// The outcome of a round.
pub(crate) struct Round<A> {
    /// The results by index of the request.
    pub(crate) resolved: Vec<(usize, Result<A, Error>)>,
    /// The error of all other requests, if any.
    pub(crate) failure: Option<Error>,
}

/// Resolves all requests. `results` holds those of requests that are refused at once; `round` gets the indices of the open
/// ones.
pub(crate) fn resolve_all<A>(
    mut results: Vec<Option<Result<A, Error>>>,
    mut round: impl FnMut(&[usize]) -> Round<A>,
) -> Vec<Result<A, Error>> {
    let mut overtaken = 0;
    loop {
        let open: Vec<usize> = (0..results.len()).filter(|index| results[*index].is_none()).collect();
        if open.is_empty() {
            break;
        }
        if overtaken == OVERTAKEN_ROUNDS_MAX {
            for index in open {
                results[index] = Some(Err(overtaken_too_often()));
            }
            break;
        }
        let Round { resolved, failure } = round(&open);
        overtaken = if resolved.is_empty() { overtaken + 1 } else { 0 };
        for (index, result) in resolved {
            results[index] = Some(result);
        }
        if let Some(error) = failure {
            // The caller decides whether to retry.
            for result in results.iter_mut().filter(|result| result.is_none()) {
                *result = Some(Err(error.clone()));
            }
        }
    }
    results.into_iter().map(|result| result.expect("the loop ends when every request has a result")).collect()
}

/// Applies one change. `attempt` reads, decides, and returns the batches that apply the change, of which the last one
/// decides whether it succeeded; no batches if there is nothing to change. It is called again if another writer was faster.
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
            Some(Err(error)) => return Err(batch_refused(error)),
            Some(Ok(_)) | None => return Ok(result),
        }
    }
    Err(overtaken_too_often())
}

/// Commits, and checks that there is one result for each batch.
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

/// The error for a batch that another round would not get accepted either.
pub(crate) fn batch_refused(error: &BatchError) -> Error {
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
