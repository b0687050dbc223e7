//! The answer to one commit: given exactly once, whatever becomes of the group.

use exesdb_storage::{LogId, Outcomes};

use super::{stopped, unknown};
use crate::error::ProposeError;

/// What a commit came to: the outcomes of its batches, and the entry that has it.
type Outcome = Result<(Outcomes, LogId), ProposeError>;

/// Whoever waits for a commit. Dropped without an answer, it gives the one that is true then.
pub(super) struct Reply {
    callback: Option<Box<dyn FnOnce(Outcome) + Send>>,
    is_proposed: bool,
}

impl Reply {
    pub(super) fn new(callback: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self { callback: Some(Box::new(callback)), is_proposed: false }
    }

    /// From now on the commit may be applied.
    pub(super) fn proposed(mut self) -> Self {
        self.is_proposed = true;
        self
    }

    pub(super) fn send(mut self, outcome: Outcome) {
        self.answer(outcome);
    }

    fn answer(&mut self, outcome: Outcome) {
        if let Some(callback) = self.callback.take() {
            callback(outcome);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Err(if self.is_proposed { unknown("the group was stopped") } else { stopped() }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use exesdb_storage::LogId;

    use super::Reply;
    use crate::error::ProposeError;

    #[test]
    fn one_answer_is_given_also_by_a_reply_that_is_dropped() {
        let (tx, rx) = mpsc::channel();
        let reply = || {
            let tx = tx.clone();
            Reply::new(move |outcome| drop(tx.send(outcome)))
        };
        reply().proposed().send(Ok((vec![], LogId::default())));
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [Ok((vec![], LogId::default()))]);
        drop(reply());
        assert!(matches!(rx.try_iter().collect::<Vec<_>>()[..], [Err(ProposeError::Stopped { .. })]));
        drop(reply().proposed());
        assert!(matches!(rx.try_iter().collect::<Vec<_>>()[..], [Err(ProposeError::Unknown { .. })]));
    }
}
