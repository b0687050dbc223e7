//! Starts children. A start is awaited, and dropped at once if the supervisor itself has to end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::cell::{Live, SupervisorCell};
use super::record::Record;
use super::stop::stop_child;
use super::worker::{Body, WorkerCell};
use super::{Driver, Interrupt, ParentLink};
use crate::context::Context;
use crate::decide::Event;
use crate::pid::{Key, Pid};
use crate::reason::Reason;
use crate::spec::{Role, Shutdown, Start, StartFn, SupervisorSpec};
use crate::telemetry::{Fact, unix_micros};

/// The outcome of a start.
pub(super) enum Outcome {
    Event(Event),
    /// The supervisor has to end; the start was dropped.
    Interrupted(Interrupt),
}

/// A child that is about to be started.
struct Candidate {
    key: Key,
    path: Arc<str>,
    record: Arc<Record>,
    shutdown: Shutdown,
}

impl Driver {
    pub(super) async fn start(&mut self, key: Key) -> Outcome {
        let (candidate, role) = {
            let mut board = self.cell.board.lock();
            let entry = board.entries.get_mut(&key).expect("a child that is to start is listed");
            entry.starting = true;
            let candidate = Candidate {
                key,
                path: Arc::clone(&entry.path),
                record: Arc::clone(&entry.record),
                shutdown: entry.spec.shutdown,
            };
            (candidate, entry.spec.role.clone())
        };
        let outcome = match role {
            Role::Worker(start) => self.start_worker(candidate, start).await,
            Role::Supervisor(spec) => self.start_supervisor(candidate, spec).await,
        };
        if let Some(entry) = self.cell.board.lock().entries.get_mut(&key) {
            entry.starting = false;
        }
        outcome
    }

    async fn start_worker(&mut self, candidate: Candidate, start: StartFn) -> Outcome {
        let env = Arc::clone(&self.cell.env);
        let Candidate { key, path, record, .. } = candidate;
        let pid = env.next_pid(key);
        let incarnation = record.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let cell =
            Arc::new(WorkerCell::new(pid, path, incarnation, self.cell.pid, record, env.telemetry.clone()));
        let context = Context {
            path: Arc::clone(&cell.path),
            pid,
            incarnation,
            shutdown: cell.shutdown.clone(),
            registry: env.registry.clone(),
            telemetry: env.telemetry.clone(),
        };
        // Covers the call of the start function, too: both it and its future may panic.
        let mut starting = Box::pin(AssertUnwindSafe(async move { start(context).await }).catch_unwind());
        let started = tokio::select! {
            biased;
            interrupt = self.interrupted() => Err(interrupt),
            started = starting.as_mut() => Ok(started),
        };
        // A panic in a destructor does not change the outcome.
        let _ = catch_unwind(AssertUnwindSafe(move || drop(starting)));
        let reason = match started {
            Ok(Ok(Ok(Start::Running(body)))) => {
                cell.report(Fact::Started);
                cell.record.starts.fetch_add(1, Ordering::Relaxed);
                self.set_live(key, Live::Worker(Arc::clone(&cell)));
                let body = Body::new(body, Arc::clone(&cell), Arc::clone(&self.cell.mailbox));
                tokio::spawn(body);
                return Outcome::Event(Event::Started { key, pid });
            }
            Ok(Ok(Ok(Start::Ignore))) => {
                cell.report(Fact::Ignored);
                return Outcome::Event(Event::Ignored { key });
            }
            Ok(Ok(Err(reason))) => reason,
            Ok(Err(payload)) => Reason::from_panic(&*payload),
            Err(interrupt) => {
                cell.report(Fact::StartFailed(Reason::Shutdown));
                return Outcome::Interrupted(interrupt);
            }
        };
        cell.report(Fact::StartFailed(reason.clone()));
        Outcome::Event(Event::StartFailed { key, reason })
    }

    async fn start_supervisor(&mut self, candidate: Candidate, spec: Arc<SupervisorSpec>) -> Outcome {
        let Candidate { key, path, record, shutdown } = candidate;
        let env = Arc::clone(&self.cell.env);
        let pid = env.next_pid(key);
        let cell = Arc::new(SupervisorCell::new(pid, path, Some(self.cell.pid), spec, env, record));
        let live = Live::Supervisor(Arc::clone(&cell));
        // Set before it is up, so that a kill of this supervisor reaches it.
        self.set_live(key, live.clone());
        let (up, is_up) = oneshot::channel();
        let link = ParentLink { mailbox: Arc::clone(&self.cell.mailbox) };
        Driver::spawn(cell, up, Some(link));
        let started = tokio::select! {
            biased;
            interrupt = self.interrupted() => Err(interrupt),
            started = is_up => Ok(started),
        };
        match started {
            Ok(Ok(Ok(()))) => Outcome::Event(Event::Started { key, pid }),
            Ok(Ok(Err(reason))) => {
                self.clear_child(key);
                Outcome::Event(Event::StartFailed { key, reason })
            }
            Ok(Err(_)) => {
                self.clear_child(key);
                let reason = Reason::Error("the supervisor's task was dropped".to_owned());
                Outcome::Event(Event::StartFailed { key, reason })
            }
            Err(Interrupt::Kill) => Outcome::Interrupted(Interrupt::Kill),
            Err(Interrupt::Shutdown(reason)) => {
                let stopping = stop_child(Arc::clone(&self.cell), live, shutdown);
                match self.unless_killed(stopping).await {
                    None => Outcome::Interrupted(Interrupt::Kill),
                    Some(()) => {
                        self.clear_child(key);
                        Outcome::Interrupted(Interrupt::Shutdown(reason))
                    }
                }
            }
        }
    }

    /// Sets a child's process.
    fn set_live(&self, key: Key, live: Live) {
        if let Some(entry) = self.cell.board.lock().entries.get_mut(&key) {
            entry.live = Some(live);
            entry.started_at_micros = unix_micros();
        }
    }

    /// Clears a child's process after its end, unless a successor was set.
    pub(super) fn clear_process(&self, pid: Pid) {
        if let Some(entry) = self.cell.board.lock().entries.get_mut(&pid.key)
            && entry.live.as_ref().is_some_and(|live| live.pid() == pid)
        {
            entry.live = None;
        }
    }

    pub(super) fn clear_child(&self, key: Key) {
        if let Some(entry) = self.cell.board.lock().entries.get_mut(&key) {
            entry.live = None;
            entry.stopping = false;
        }
    }
}
