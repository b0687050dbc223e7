//! A running worker: its body as a task, and the cell that others use to end it and to learn of its end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::SetOnce;

use super::mailbox::{ExitNotice, Mailbox, Message};
use super::record::Record;
use crate::context::ShutdownSignal;
use crate::pid::Pid;
use crate::reason::Reason;
use crate::telemetry::{Fact, Telemetry, Who};

/// A worker as its supervisor and handles see it.
pub(crate) struct WorkerCell {
    pub(crate) pid: Pid,
    pub(crate) path: Arc<str>,
    pub(crate) incarnation: u64,
    pub(crate) parent: Pid,
    pub(crate) shutdown: ShutdownSignal,
    pub(crate) done: SetOnce<Reason>,
    pub(crate) record: Arc<Record>,
    pub(crate) telemetry: Telemetry,
    /// The reason with which the body is ended at its next await point.
    kill_reason: Mutex<Option<Reason>>,
    waker: AtomicWaker,
}

impl WorkerCell {
    pub(crate) fn new(
        pid: Pid,
        path: Arc<str>,
        incarnation: u64,
        parent: Pid,
        record: Arc<Record>,
        telemetry: Telemetry,
    ) -> WorkerCell {
        WorkerCell {
            pid,
            path,
            incarnation,
            parent,
            shutdown: ShutdownSignal::default(),
            done: SetOnce::new(),
            record,
            telemetry,
            kill_reason: Mutex::new(None),
            waker: AtomicWaker::new(),
        }
    }

    /// Ends the body at its next await point. The reason of the first call counts.
    pub(crate) fn end_with(&self, reason: Reason) {
        self.kill_reason.lock().get_or_insert(reason);
        self.waker.wake();
    }

    /// Reports a fact about this worker to telemetry.
    pub(super) fn report(&self, fact: Fact) {
        let WorkerCell { pid, parent, incarnation, .. } = *self;
        self.telemetry.report(&self.path, fact, Who::Process { pid, parent: Some(parent), incarnation });
    }

    fn kill_reason(&self) -> Option<Reason> {
        self.kill_reason.lock().clone()
    }
}

/// The task of a worker. However it ends (by itself, by a panic, by a kill, with its runtime), the body is dropped first,
/// then the end is reported, once.
pub(crate) struct Body {
    future: Option<Pin<Box<dyn Future<Output = Reason> + Send>>>,
    cell: Arc<WorkerCell>,
    parent: Arc<Mailbox>,
}

impl Body {
    pub(crate) fn new(
        future: Pin<Box<dyn Future<Output = Reason> + Send>>,
        cell: Arc<WorkerCell>,
        parent: Arc<Mailbox>,
    ) -> Body {
        Body { future: Some(future), cell, parent }
    }

    fn end(&mut self, reason: Reason) {
        let Some(future) = self.future.take() else { return };
        // The body's sockets, locks and names must be free before a successor starts. A panic in a destructor does not
        // change the outcome.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(future)));
        let cell = &self.cell;
        *cell.record.last_exit.lock() = Some(reason.clone());
        cell.report(Fact::Terminated(reason.clone()));
        let notice = ExitNotice { pid: cell.pid, reason: reason.clone(), gave_up: false, at: None };
        self.parent.post(Message::Exited(notice));
        // Set only here, and only once, because `future` was taken.
        let _ = cell.done.set(reason);
    }
}

impl Future for Body {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let body = &mut *self;
        body.cell.waker.register(task.waker());
        let reason = match (body.cell.kill_reason(), &mut body.future) {
            (_, None) => return Poll::Ready(()),
            (Some(reason), Some(_)) => reason,
            (None, Some(future)) => match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(reason)) => reason,
                Err(payload) => Reason::from_panic(&*payload),
            },
        };
        body.end(reason);
        Poll::Ready(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.end(Reason::Killed);
    }
}
