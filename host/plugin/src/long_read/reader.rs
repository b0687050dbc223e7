//! Reads one page after the other from the store, and waits for the next one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::{RESTART_PATIENCE, WAKE_UP_PATIENCE};
use super::reading::{Page, Reading};
use super::turns::Turns;
use crate::bindings::gateway::requests::Call;
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::problem::code;
use crate::store_calls::{POLL, StoreCalls};

/// A reader of the store on behalf of one request, or of all that follow the same.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) calls: StoreCalls,
    pub(crate) caller: Caller,
    /// How long one read may take.
    pub(crate) wall: Duration,
    pub(crate) turns: Arc<Turns>,
    pub(crate) reading: Reading,
}

impl Reader {
    /// The next page, of at most so many events and up to `until`, exclusive. Once a reader that follows has begun, a restart of
    /// the store or of a component only delays it (the rule P9).
    pub(crate) async fn page(&mut self, most: u32, until: Option<u64>) -> Result<Page, Error> {
        let begun = Instant::now();
        loop {
            let horizon = self.calls.horizon();
            let call = Call::Read(self.reading.query(most, until));
            let outcome = {
                let _turn = self.turns.read().await;
                self.calls.run(self.caller.clone(), call, Instant::now() + self.wall).await
            };
            let error = match self.reading.take(outcome, horizon, until) {
                Ok(page) => return Ok(page),
                Err(error) => error,
            };
            let goes_on = self.reading.follows() && self.reading.has_begun() && passes(&error);
            if !goes_on || begun.elapsed() > RESTART_PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until there may be another page for a reader that has reached the end.
    pub(crate) async fn news(&self) {
        let seen = match self.reading.stream() {
            None => self.reading.next().unwrap_or(0),
            Some(_) => self.reading.horizon().end,
        };
        loop {
            match self.calls.news(self.reading.stream(), seen) {
                Ok(news) => {
                    if tokio::time::timeout(WAKE_UP_PATIENCE, news.woken()).await.is_ok() {
                        return;
                    }
                }
                Err(_) => tokio::time::sleep(POLL).await,
            }
            // There may be events of which nobody was told.
            if self.calls.horizon().is_ok_and(|horizon| horizon.end > seen) {
                return;
            }
        }
    }
}

/// Whether an error passes by itself.
fn passes(error: &Error) -> bool {
    matches!(error, Error::Problem(problem) if [code::RESTARTING, code::UNAVAILABLE, code::OVERLOADED].contains(&problem.code.as_str()))
}
