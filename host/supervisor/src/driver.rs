//! The driver: one task for each supervisor, which carries out what [`decide`](crate::decide) decides.
//!
//! It does one thing at a time, as OTP's supervisor does. Whatever it waits for (a start, an end, a message), it also
//! waits for a signal that ends it: a hanging start is dropped, a retry is a message, and nothing here loops without
//! an await.

pub(crate) mod cell;
pub(crate) mod mailbox;
pub(crate) mod record;
mod retries;
mod start;
mod stop;
mod worker;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use self::cell::{Entry, Live, Signal, SignalLevel, Stage, SupervisorCell};
use self::mailbox::{ExitNotice, Mailbox, Message, ReplySender};
use self::retries::Retries;
use self::start::Outcome;
use crate::decide::{Effect, End, Event, Limit, Note};
use crate::pid::Key;
use crate::reason::Reason;
use crate::spec::{ChildSpec, Shutdown};
use crate::telemetry::{Fact, Who};

/// Completed once: when all children are up for the first time, or when that failed.
pub(crate) type Up = oneshot::Sender<Result<(), Reason>>;

/// Where a supervisor reports its end.
pub(crate) struct ParentLink {
    mailbox: Arc<Mailbox>,
}

/// A signal that interrupts the driver.
enum Interrupt {
    Kill,
    Shutdown(Reason),
}

/// How a supervisor ended.
struct Ended {
    reason: Reason,
    gave_up: bool,
    /// When it was killed, if it was.
    killed_at: Option<Duration>,
}

pub(crate) struct Driver {
    cell: Arc<SupervisorCell>,
    /// The level of the signal that was taken last.
    taken: SignalLevel,
    parent: Option<ParentLink>,
    /// Taken when the start phase is over.
    up: Option<Up>,
    /// The call being handled.
    reply: Option<ReplySender>,
    /// The specification of a start_child call.
    incoming: Option<ChildSpec>,
    /// Retries that wait for the end of a pause.
    retries: Retries,
    /// Whether children were added by call.
    grown: bool,
    finished: bool,
}

impl Driver {
    /// Starts a supervisor's task, which completes `up` when its children are up.
    pub(crate) fn spawn(cell: Arc<SupervisorCell>, up: Up, parent: Option<ParentLink>) {
        cell.env.directory.write().insert(Arc::clone(&cell.path), Arc::clone(&cell));
        let driver = Driver {
            cell,
            taken: SignalLevel::NONE,
            parent,
            up: Some(up),
            reply: None,
            incoming: None,
            retries: Retries::default(),
            grown: false,
            finished: false,
        };
        // Boxed, because the future is large and `spawn` would copy it several times.
        tokio::spawn(Box::pin(driver.run()));
    }

    async fn run(mut self) {
        let ended = self.supervise().await;
        self.finish(ended);
    }

    async fn supervise(&mut self) -> Ended {
        if let Err(error) = self.cell.spec.check() {
            tracing::error!(path = &*self.cell.path, "{error}");
            return Ended { reason: error.reason(), gave_up: false, killed_at: None };
        }
        let mut effects = VecDeque::from(self.decide(self.cell.env.now(), Event::Init));
        loop {
            let event = match effects.pop_front() {
                None => match self.next_event().await {
                    Ok((now, event)) => {
                        effects.extend(self.decide(now, event));
                        continue;
                    }
                    Err(interrupt) => Err(interrupt),
                },
                Some(Effect::End { reason, why }) => {
                    return Ended { reason, gave_up: why == End::GaveUp, killed_at: None };
                }
                Some(effect @ (Effect::Start(_) | Effect::Stop(_))) => self.perform(effect).await,
                Some(effect) => {
                    self.apply(effect);
                    continue;
                }
            };
            let event = match event {
                Ok(event) => event,
                Err(Interrupt::Kill) => return self.killed().await,
                Err(Interrupt::Shutdown(reason)) => {
                    // The caller of an interrupted call gets no reply.
                    self.reply = None;
                    effects.clear();
                    Event::Shutdown(reason)
                }
            };
            effects.extend(self.decide(self.cell.env.now(), event));
        }
    }

    fn decide(&self, now: Duration, event: Event) -> Vec<Effect> {
        let mut board = self.cell.board.lock();
        let effects = board.state.decide(now, event);
        if board.state.is_ending() {
            self.cell.set_stage(Stage::Stopping);
        }
        effects
    }

    // ---- signals and messages

    /// The current signal, if it was not taken yet and interrupts the driver.
    fn take_signal(&mut self) -> Option<Interrupt> {
        if self.cell.signal_level() <= self.taken {
            return None;
        }
        let signal = self.cell.signal();
        self.taken = SignalLevel::of(&signal);
        let reason = match signal {
            Signal::None => return None,
            Signal::Kill => return Some(Interrupt::Kill),
            Signal::Exit(reason) => reason,
            Signal::Orphaned => Reason::Killed,
        };
        // A supervisor that is already ending keeps its reason. In OTP it would not read the signal.
        let ending = self.cell.board.lock().state.is_ending();
        (!ending).then_some(Interrupt::Shutdown(reason))
    }

    /// Waits for a signal that interrupts the driver. Cancel safe.
    async fn interrupted(&mut self) -> Interrupt {
        loop {
            if let Some(interrupt) = self.take_signal() {
                return interrupt;
            }
            self.cell.signal_at_least(self.taken.next()).await;
        }
    }

    /// The outcome of `work`, unless the supervisor is killed first.
    async fn unless_killed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.cell.signal_at_least(SignalLevel::KILL) => None,
            outcome = work => Some(outcome),
        }
    }

    /// The next message, and the time at which it counts.
    async fn next_event(&mut self) -> Result<(Duration, Event), Interrupt> {
        loop {
            // A long queue must not keep the thread from other tasks.
            tokio::task::coop::consume_budget().await;
            let deadline = self.retries.next();
            let cell = Arc::clone(&self.cell);
            let message = tokio::select! {
                biased;
                interrupt = self.interrupted() => return Err(interrupt),
                message = cell.mailbox.recv() => message,
                () = until(deadline) => {
                    match self.retries.take_due(Instant::now()) {
                        Some(key) => Message::Retry(key),
                        None => continue,
                    }
                }
            };
            let now = cell.env.now();
            return Ok(match message {
                Message::Retry(key) => (now, Event::Retry { key }),
                Message::Exited(ExitNotice { pid, reason, gave_up, at }) => {
                    self.clear_process(pid);
                    (at.unwrap_or(now), Event::Exited { pid, reason, gave_up })
                }
                Message::Call(message) => {
                    self.reply = Some(message.reply);
                    self.incoming = message.spec;
                    (now, Event::Call(message.call))
                }
            });
        }
    }

    // ---- effects

    /// Carries out an effect that has an outcome.
    async fn perform(&mut self, effect: Effect) -> Result<Event, Interrupt> {
        if let Some(interrupt) = self.take_signal() {
            return Err(interrupt);
        }
        match effect {
            Effect::Start(key) => match self.start(key).await {
                Outcome::Event(event) => Ok(event),
                Outcome::Interrupted(interrupt) => Err(interrupt),
            },
            Effect::Stop(keys) => self.stop(keys).await,
            _ => unreachable!("only starting and stopping have an outcome"),
        }
    }

    async fn stop(&mut self, keys: Vec<Key>) -> Result<Event, Interrupt> {
        let living: Vec<(Live, Shutdown)> = {
            let mut board = self.cell.board.lock();
            let living = keys.iter().filter_map(|key| {
                let entry = board.entries.get_mut(key)?;
                entry.stopping = true;
                Some((entry.live.clone()?, entry.spec.shutdown))
            });
            living.collect()
        };
        let done = match <[(Live, Shutdown); 1]>::try_from(living) {
            // The usual case: children stop one after the other.
            Ok([(live, shutdown)]) => {
                self.unless_killed(stop::stop_child(Arc::clone(&self.cell), live, shutdown)).await
            }
            Err(living) => {
                self.report(Fact::SupStoppingChildren(living.len()));
                let stopping = living
                    .into_iter()
                    .map(|(live, shutdown)| stop::stop_child(Arc::clone(&self.cell), live, shutdown));
                let mut stopping: FuturesUnordered<_> = stopping.collect();
                self.unless_killed(async { while stopping.next().await.is_some() {} }).await
            }
        };
        if done.is_none() {
            return Err(Interrupt::Kill);
        }
        for key in &keys {
            self.clear_child(*key);
        }
        Ok(Event::Stopped { keys })
    }

    /// Carries out an effect that is done at once.
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Retry { key, after } if after.is_zero() => self.cell.mailbox.post(Message::Retry(key)),
            Effect::Retry { key, after } => self.retries.insert(key, Instant::now() + after),
            Effect::Added(key) => {
                self.grown = true;
                let spec = self.incoming.take().expect("start_child comes with a specification");
                let entry = self.cell.entry(spec);
                self.cell.board.lock().entries.insert(key, entry);
            }
            Effect::Removed(key) => {
                self.retries.remove(key);
                let removed = self.cell.board.lock().entries.remove(&key);
                if let Some(Entry { spec, record, .. }) = removed {
                    self.cell.record.forget(&spec.id, &record);
                }
            }
            Effect::Reply(reply) => {
                if let Some(sender) = self.reply.take() {
                    let _ = sender.send(reply); // the caller may be gone
                }
            }
            Effect::Up => {
                self.cell.set_stage(Stage::Running);
                self.cell.record.starts.fetch_add(1, Ordering::Relaxed);
                self.report(Fact::SupStarted);
                if let Some(up) = self.up.take() {
                    let _ = up.send(Ok(())); // a parent that is gone has sent a signal
                }
            }
            Effect::Note(note) => self.note(note),
            Effect::Start(_) | Effect::Stop(_) | Effect::End { .. } => {
                unreachable!("handled by the loop")
            }
        }
    }

    fn note(&self, note: Note) {
        let spec = &self.cell.spec;
        let strategy = spec.strategy;
        let limit = Limit { restarts: spec.restarts, period: spec.period };
        let child = |key| self.cell.board.lock().entries.get(&key).map(|entry| Arc::clone(&entry.spec.id));
        match note {
            Note::Restarting { key, used, left } => {
                self.report(Fact::Restarting { child: child(key), strategy, limit, used, left });
            }
            Note::GaveUp { key, used } => {
                let child = child(key);
                tracing::error!(
                    path = &*self.cell.path,
                    child = child.as_deref(),
                    "too many restarts, giving up"
                );
                self.report(Fact::GaveUp { child, limit, used });
            }
            Note::Parked { key, reason } => {
                let path = self.cell.board.lock().entries.get(&key).map(|entry| {
                    // A failed start has recorded no exit.
                    *entry.record.last_exit.lock() = Some(reason.clone());
                    Arc::clone(&entry.path)
                });
                let Some(path) = path else { return };
                tracing::error!(
                    path = &*path,
                    reason = reason.message(),
                    "parked: the child stays down until it is restarted by call"
                );
                self.cell.env.telemetry.report(&path, Fact::Parked(reason), Who::ChildOf(self.cell.pid));
            }
            Note::Pausing { key, after } => self.report(Fact::Pausing { child: child(key), after }),
            Note::AutoShutdown { key } => self.report(Fact::AutoShutdown { child: child(key) }),
        }
    }

    /// Reports a fact about this supervisor to telemetry.
    fn report(&self, fact: Fact) {
        let SupervisorCell { pid, parent, incarnation, .. } = *self.cell;
        self.cell.env.telemetry.report(&self.cell.path, fact, Who::Process { pid, parent, incarnation });
    }

    // ---- the end

    /// Ends after a kill: workers end at once; supervisors below stop their children in order and end as killed. The
    /// parent is notified when nothing of the subtree is left, so that it never runs beside a successor.
    async fn killed(&mut self) -> Ended {
        let killed_at = Some(self.cell.env.now());
        self.cell.set_stage(Stage::Stopping);
        self.cell.mailbox.close();
        self.reply = None;
        if self.up.is_none() {
            self.report(Fact::SupTerminated(Reason::Killed));
        }
        let children = self.living();
        for live in &children {
            live.orphan();
        }
        let telemetry = self.cell.env.telemetry.clone();
        for live in &children {
            stop::wait_after_kill(live, &telemetry).await;
        }
        Ended { reason: Reason::Killed, gave_up: false, killed_at }
    }

    fn living(&self) -> Vec<Live> {
        self.cell.board.lock().entries.values().filter_map(|entry| entry.live.clone()).collect()
    }

    /// Reports the end; none of the children runs any more.
    fn finish(&mut self, ended: Ended) {
        self.finished = true;
        let Ended { reason, gave_up, killed_at } = ended;
        self.unlist();
        let cell = &self.cell;
        match self.up.take() {
            Some(up) => {
                self.report(Fact::SupStartFailed(reason.clone()));
                let _ = up.send(Err(reason.clone())); // a parent that is gone has sent a signal
            }
            None => {
                *cell.record.last_exit.lock() = Some(reason.clone());
                if killed_at.is_none() {
                    self.report(Fact::SupTerminated(reason.clone()));
                }
                if let Some(parent) = &self.parent {
                    let notice = ExitNotice { pid: cell.pid, reason: reason.clone(), gave_up, at: killed_at };
                    parent.mailbox.post(Message::Exited(notice));
                }
            }
        }
        let _ = cell.done.set(reason); // set by this function only, which runs once
    }

    /// Takes the supervisor out of the directory and closes its mailbox, so that no call reaches it.
    fn unlist(&self) {
        let cell = &self.cell;
        cell.set_stage(Stage::Stopping);
        cell.mailbox.close();
        let mut directory = cell.env.directory.write();
        if directory.get(&cell.path).is_some_and(|current| Arc::ptr_eq(current, cell)) {
            directory.remove(&cell.path);
        }
        drop(directory);
        if self.grown {
            cell.record.forget_all_but(&cell.spec.children);
        }
    }
}

/// The task was dropped with its runtime, or panicked: the children must not outlive it.
impl Drop for Driver {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for live in self.living() {
            live.kill();
        }
        self.finish(Ended { reason: Reason::Killed, gave_up: false, killed_at: None });
    }
}

/// Sleeps until the deadline; forever without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
