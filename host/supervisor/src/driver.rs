//! The driver: one task for each supervisor, which carries out what [`decide`](crate::decide) decides.
//!
//! It does one thing at a time, as OTP's supervisor does. What it waits for (a start, an end, a message) it
//! waits for together with the signal that ends it, so that it is never deaf: a hanging start is dropped, a
//! retry is a message, and nothing here loops without an await.

pub(crate) mod cell;
pub(crate) mod mailbox;
mod pauses;
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

use self::cell::{Entry, Live, Signal, Stage, SupervisorCell, Weight};
use self::mailbox::{Answer, ExitNotice, Mailbox, Message};
use self::pauses::Pauses;
use self::start::Outcome;
use crate::decide::{Effect, End, Event, Key, Limit, Note};
use crate::reason::Reason;
use crate::spec::{ChildSpec, Shutdown};
use crate::telemetry::{Fact, Who};

/// Told once, when all children are up for the first time or when that failed.
pub(crate) type Up = oneshot::Sender<Result<(), Reason>>;

/// Where a supervisor's end is told.
pub(crate) struct ParentLink {
    mailbox: Arc<Mailbox>,
}

/// What the driver was told from outside its mailbox.
enum Heard {
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
    /// The weight of the signal that was heeded last.
    heeded: Weight,
    parent: Option<ParentLink>,
    /// Taken when the start phase is over.
    up: Option<Up>,
    /// The call being handled.
    answer: Option<Answer>,
    /// What start_child is to start.
    incoming: Option<ChildSpec>,
    pauses: Pauses,
    /// Children were added by call.
    grown: bool,
    finished: bool,
}

impl Driver {
    /// Starts a supervisor's task. `up` is told when its children are up.
    pub(crate) fn spawn(cell: Arc<SupervisorCell>, up: Up, parent: Option<ParentLink>) {
        cell.env.directory.write().insert(Arc::clone(&cell.path), Arc::clone(&cell));
        let driver = Driver {
            cell,
            heeded: Weight::NONE,
            parent,
            up: Some(up),
            answer: None,
            incoming: None,
            pauses: Pauses::default(),
            grown: false,
            finished: false,
        };
        // In a box, for it is large and would be copied on each of the calls that a spawn goes through.
        tokio::spawn(Box::pin(driver.run()));
    }

    async fn run(mut self) {
        let ended = self.supervise().await;
        self.finish(ended);
    }

    async fn supervise(&mut self) -> Ended {
        if let Err(refusal) = self.cell.spec.check() {
            tracing::error!(path = &*self.cell.path, "{refusal}");
            return Ended { reason: refusal.reason(), gave_up: false, killed_at: None };
        }
        let mut effects = VecDeque::from(self.decide(self.cell.env.now(), Event::Init));
        loop {
            let event = match effects.pop_front() {
                None => match self.next_event().await {
                    Ok((now, event)) => {
                        effects.extend(self.decide(now, event));
                        continue;
                    }
                    Err(heard) => Err(heard),
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
                Err(Heard::Kill) => return self.killed().await,
                Err(Heard::Shutdown(reason)) => {
                    // Whoever waits for the outcome of what was interrupted gets none.
                    self.answer = None;
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

    // ---- what there is to hear

    /// A signal that has not been heeded yet and changes what is to be done.
    fn heed(&mut self) -> Option<Heard> {
        if self.cell.told() <= self.heeded {
            return None;
        }
        let signal = self.cell.signal();
        self.heeded = Weight::of(&signal);
        let reason = match signal {
            Signal::None => return None,
            Signal::Kill => return Some(Heard::Kill),
            Signal::Exit(reason) => reason,
            Signal::Orphaned => Reason::Killed,
        };
        // One that is ending already keeps its reason, as in OTP, where the signal would not be read.
        let ending = self.cell.board.lock().state.is_ending();
        (!ending).then_some(Heard::Shutdown(reason))
    }

    /// Waits for such a signal. Cancel safe.
    async fn heard(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.heed() {
                return heard;
            }
            self.cell.told_at_least(self.heeded.next()).await;
        }
    }

    /// The outcome of `work`, unless the supervisor is killed first.
    async fn unless_killed<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.cell.told_at_least(Weight::KILL) => None,
            outcome = work => Some(outcome),
        }
    }

    /// The next message, and the time at which it counts.
    async fn next_event(&mut self) -> Result<(Duration, Event), Heard> {
        loop {
            // A long queue must not keep the thread from other tasks.
            tokio::task::coop::consume_budget().await;
            let due = self.pauses.next();
            let cell = Arc::clone(&self.cell);
            let message = tokio::select! {
                biased;
                heard = self.heard() => return Err(heard),
                message = cell.mailbox.recv() => message,
                () = until(due) => {
                    match self.pauses.take_due(Instant::now()) {
                        Some(key) => Message::Retry(key),
                        None => continue,
                    }
                }
            };
            let now = cell.env.now();
            return Ok(match message {
                Message::Retry(key) => (now, Event::Retry { key }),
                Message::Exited(ExitNotice { pid, reason, gave_up, at }) => {
                    self.unseat_process(pid);
                    (at.unwrap_or(now), Event::Exited { pid, reason, gave_up })
                }
                Message::Call(message) => {
                    self.answer = Some(message.answer);
                    self.incoming = message.spec;
                    (now, Event::Call(message.call))
                }
            });
        }
    }

    // ---- what there is to do

    /// Carries out an effect that has an outcome.
    async fn perform(&mut self, effect: Effect) -> Result<Event, Heard> {
        if let Some(heard) = self.heed() {
            return Err(heard);
        }
        match effect {
            Effect::Start(key) => match self.start(key).await {
                Outcome::Event(event) => Ok(event),
                Outcome::Interrupted(heard) => Err(heard),
            },
            Effect::Stop(keys) => self.stop(keys).await,
            _ => unreachable!("only starting and stopping have an outcome"),
        }
    }

    async fn stop(&mut self, keys: Vec<Key>) -> Result<Event, Heard> {
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
            // The usual case: one after the other.
            Ok([(live, shutdown)]) => {
                self.unless_killed(stop::stop_child(Arc::clone(&self.cell), live, shutdown)).await
            }
            Err(living) => {
                self.tell(Fact::SupStoppingChildren(living.len()));
                let stopping = living
                    .into_iter()
                    .map(|(live, shutdown)| stop::stop_child(Arc::clone(&self.cell), live, shutdown));
                let mut stopping: FuturesUnordered<_> = stopping.collect();
                self.unless_killed(async { while stopping.next().await.is_some() {} }).await
            }
        };
        if done.is_none() {
            return Err(Heard::Kill);
        }
        for key in &keys {
            self.unseat(*key);
        }
        Ok(Event::Stopped { keys })
    }

    /// Carries out an effect that is done at once.
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Retry { key, after } if after.is_zero() => self.cell.mailbox.post(Message::Retry(key)),
            Effect::Retry { key, after } => self.pauses.insert(key, Instant::now() + after),
            Effect::Added(key) => {
                self.grown = true;
                let spec = self.incoming.take().expect("start_child comes with a specification");
                let entry = self.cell.entry(spec);
                self.cell.board.lock().entries.insert(key, entry);
            }
            Effect::Removed(key) => {
                self.pauses.remove(key);
                let removed = self.cell.board.lock().entries.remove(&key);
                if let Some(Entry { spec, record, .. }) = removed {
                    self.cell.record.forget(&spec.id, &record);
                }
            }
            Effect::Reply(reply) => {
                if let Some(answer) = self.answer.take() {
                    let _ = answer.send(reply); // a caller that went away needs no answer
                }
            }
            Effect::Up => {
                self.cell.set_stage(Stage::Running);
                self.cell.record.starts.fetch_add(1, Ordering::Relaxed);
                self.tell(Fact::SupStarted);
                if let Some(up) = self.up.take() {
                    let _ = up.send(Ok(())); // a parent that went away has left a signal
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
                self.tell(Fact::Restarting { child: child(key), strategy, limit, used, left });
            }
            Note::GaveUp { key, used } => {
                let child = child(key);
                tracing::error!(
                    path = &*self.cell.path,
                    child = child.as_deref(),
                    "too many restarts, giving up"
                );
                self.tell(Fact::GaveUp { child, limit, used });
            }
            Note::Parked { key, reason } => {
                let path = self.cell.board.lock().entries.get(&key).map(|entry| {
                    // A start that failed left no end behind.
                    *entry.record.last_exit.lock() = Some(reason.clone());
                    Arc::clone(&entry.path)
                });
                let Some(path) = path else { return };
                tracing::error!(
                    path = &*path,
                    reason = reason.message(),
                    "parked: the child stays down until it is restarted by call"
                );
                self.cell.env.telemetry.tell(&path, Fact::Parked(reason), Who::ChildOf(self.cell.pid));
            }
            Note::Pausing { key, after } => self.tell(Fact::Pausing { child: child(key), after }),
            Note::AutoShutdown { key } => self.tell(Fact::AutoShutdown { child: child(key) }),
        }
    }

    /// Tells the world something about this supervisor.
    fn tell(&self, fact: Fact) {
        let SupervisorCell { pid, parent, incarnation, .. } = *self.cell;
        self.cell.env.telemetry.tell(&self.cell.path, fact, Who::Process { pid, parent, incarnation });
    }

    // ---- the end

    /// Killed: the workers end at once; supervisors below stop their children in order and end as killed. The
    /// end is told to the parent when nothing of the subtree is left, so that no successor meets a survivor.
    async fn killed(&mut self) -> Ended {
        let killed_at = Some(self.cell.env.now());
        self.cell.set_stage(Stage::Stopping);
        self.cell.mailbox.close();
        self.answer = None;
        if self.up.is_none() {
            self.tell(Fact::SupTerminated(Reason::Killed));
        }
        let children = self.living();
        for live in &children {
            live.orphan();
        }
        let telemetry = self.cell.env.telemetry.clone();
        for live in &children {
            stop::killed(live, &telemetry).await;
        }
        Ended { reason: Reason::Killed, gave_up: false, killed_at }
    }

    fn living(&self) -> Vec<Live> {
        self.cell.board.lock().entries.values().filter_map(|entry| entry.live.clone()).collect()
    }

    /// Tells the end: nothing of the children runs any more.
    fn finish(&mut self, ended: Ended) {
        self.finished = true;
        let Ended { reason, gave_up, killed_at } = ended;
        self.vanish();
        let cell = &self.cell;
        match self.up.take() {
            Some(up) => {
                self.tell(Fact::SupStartFailed(reason.clone()));
                let _ = up.send(Err(reason.clone())); // a parent that went away has left a signal
            }
            None => {
                *cell.record.last_exit.lock() = Some(reason.clone());
                if killed_at.is_none() {
                    self.tell(Fact::SupTerminated(reason.clone()));
                }
                if let Some(parent) = &self.parent {
                    let notice = ExitNotice { pid: cell.pid, reason: reason.clone(), gave_up, at: killed_at };
                    parent.mailbox.post(Message::Exited(notice));
                }
            }
        }
        let _ = cell.done.set(reason); // set here and in `drop`, of which only one comes to it
    }

    /// Out of sight: no call reaches it, no path leads to it.
    fn vanish(&self) {
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

/// Sleeps until then; for ever if that is never.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
