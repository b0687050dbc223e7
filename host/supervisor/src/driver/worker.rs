//! A running worker: its body as a task, and the cell through which it is ended and its end is known.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::SetOnce;

use super::cell::Record;
use super::mailbox::{ExitNotice, Mailbox, Message};
use crate::context::ShutdownSignal;
use crate::decide::Pid;
use crate::reason::Reason;
use crate::telemetry::{Fact, Telemetry, Who};

/// What a supervisor, and whoever wants to end it, holds of a worker.
pub(crate) struct WorkerCell {
    pub(crate) pid: Pid,
    pub(crate) path: Arc<str>,
    pub(crate) incarnation: u64,
    pub(crate) parent: Pid,
    pub(crate) shutdown: ShutdownSignal,
    pub(crate) done: SetOnce<Reason>,
    pub(crate) record: Arc<Record>,
    pub(crate) telemetry: Telemetry,
    /// The reason with which it is to end now, without a say.
    order: Mutex<Option<Reason>>,
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
            order: Mutex::new(None),
            waker: AtomicWaker::new(),
        }
    }

    /// Ends the body at its next await point, with this reason. The first order stands.
    pub(crate) fn end_with(&self, reason: Reason) {
        self.order.lock().get_or_insert(reason);
        self.waker.wake();
    }

    /// Tells the world something about this worker.
    pub(super) fn tell(&self, fact: Fact) {
        let WorkerCell { pid, parent, incarnation, .. } = *self;
        self.telemetry.tell(&self.path, fact, Who::Process { pid, parent: Some(parent), incarnation });
    }

    fn ordered(&self) -> Option<Reason> {
        self.order.lock().clone()
    }
}

/// The task of a worker. However it comes to its end (by itself, by panic, by order, because the runtime is
/// dropped), the body is dropped first, then the end is told, once.
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
        // What the body holds (sockets, locks, names) must be free before a successor can start. A panic in a
        // destructor changes nothing about the end.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(future)));
        let cell = &self.cell;
        *cell.record.last_exit.lock() = Some(reason.clone());
        cell.tell(Fact::Terminated(reason.clone()));
        let notice = ExitNotice { pid: cell.pid, reason: reason.clone(), gave_up: false, at: None };
        self.parent.post(Message::Exited(notice));
        // Set by nobody else, and once: `future` was still there.
        let _ = cell.done.set(reason);
    }
}

impl Future for Body {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<()> {
        let body = &mut *self;
        body.cell.waker.register(task.waker());
        let reason = match (body.cell.ordered(), &mut body.future) {
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
