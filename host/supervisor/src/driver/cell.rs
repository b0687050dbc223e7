//! The part of a supervisor that its driver shares with handles, with its parent and with the tree view.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, SetOnce};
use tokio::time::Instant;

use super::mailbox::Mailbox;
use super::record::Record;
use super::worker::WorkerCell;
use crate::decide::{Flags, Limit, Rule, Shape, State};
use crate::pid::{Key, Pid};
use crate::reason::Reason;
use crate::registry::Registry;
use crate::spec::{ChildSpec, Growth, SupervisorSpec};
use crate::telemetry::Telemetry;

/// What all supervisors below one root share.
pub(crate) struct Env {
    pub(crate) registry: Registry,
    pub(crate) telemetry: Telemetry,
    /// The supervisors that run, by path.
    pub(crate) directory: RwLock<HashMap<Arc<str>, Arc<SupervisorCell>>>,
    serials: AtomicU64,
    seed: u64,
    epoch: Instant,
}

impl Env {
    pub(crate) fn new(registry: Registry, telemetry: Telemetry, seed: u64) -> Env {
        Env {
            registry,
            telemetry,
            directory: RwLock::default(),
            serials: AtomicU64::new(1),
            seed,
            epoch: Instant::now(),
        }
    }

    pub(crate) fn next_pid(&self, key: Key) -> Pid {
        Pid { key, serial: self.serials.fetch_add(1, Ordering::Relaxed) }
    }

    /// The time since the root was started.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// A signal that ends a supervisor. It does not pass through the mailbox, so that it takes effect at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    None,
    /// Stop the children in order, then exit with this reason.
    Exit(Reason),
    /// The supervisor above was killed: stop the children in order, within bounds, then exit as killed.
    Orphaned,
    /// End at once, with all children.
    Kill,
}

/// The severity of a signal: a signal replaces those of lower levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SignalLevel(u8);

impl SignalLevel {
    pub(crate) const NONE: SignalLevel = SignalLevel(0);
    pub(crate) const ORPHANED: SignalLevel = SignalLevel(2);
    pub(crate) const KILL: SignalLevel = SignalLevel(3);

    pub(crate) fn of(signal: &Signal) -> SignalLevel {
        match signal {
            Signal::None => SignalLevel::NONE,
            Signal::Exit(_) => SignalLevel(1),
            Signal::Orphaned => SignalLevel::ORPHANED,
            Signal::Kill => SignalLevel::KILL,
        }
    }

    pub(crate) fn next(self) -> SignalLevel {
        SignalLevel(self.0 + 1)
    }
}

/// The signal with the highest level so far.
struct Signals {
    /// A copy of the level, which is read without the lock.
    level: AtomicU8,
    latest: Mutex<Signal>,
    changed: Notify,
}

/// The stage of a supervisor's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Starting = 0,
    Running = 1,
    Stopping = 2,
}

/// A child with everything that decisions do not use.
pub(crate) struct Entry {
    pub(crate) spec: ChildSpec,
    pub(crate) path: Arc<str>,
    pub(crate) record: Arc<Record>,
    pub(crate) live: Option<Live>,
    pub(crate) started_at_micros: u64,
    pub(crate) starting: bool,
    pub(crate) stopping: bool,
}

/// The supervisor's state and its children, behind one lock that is never held over an await.
pub(crate) struct Board {
    pub(crate) state: State,
    pub(crate) entries: BTreeMap<Key, Entry>,
}

/// A supervisor as others see it.
pub(crate) struct SupervisorCell {
    pub(crate) pid: Pid,
    pub(crate) path: Arc<str>,
    pub(crate) incarnation: u64,
    /// The supervisor above; none above the root.
    pub(crate) parent: Option<Pid>,
    pub(crate) spec: Arc<SupervisorSpec>,
    pub(crate) env: Arc<Env>,
    pub(crate) record: Arc<Record>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) board: Mutex<Board>,
    pub(crate) done: SetOnce<Reason>,
    signals: Signals,
    stage: AtomicU8,
}

impl SupervisorCell {
    pub(crate) fn new(
        pid: Pid,
        path: Arc<str>,
        parent: Option<Pid>,
        spec: Arc<SupervisorSpec>,
        env: Arc<Env>,
        record: Arc<Record>,
    ) -> SupervisorCell {
        let shape = match spec.growth {
            Growth::Listed => Shape::Listed,
            Growth::Simple(_) => Shape::Simple,
            Growth::Dynamic { max_children, .. } => Shape::Dynamic { max_children },
        };
        let flags = Flags {
            strategy: spec.strategy,
            limit: Limit { restarts: spec.restarts, period: spec.period },
            auto_shutdown: spec.auto_shutdown,
            shape,
        };
        let rules = spec.children.iter().map(Rule::of).collect();
        let state = State::new(flags, rules, env.seed ^ pid.serial);
        let incarnation = record.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let cell = SupervisorCell {
            pid,
            path,
            incarnation,
            parent,
            spec,
            env,
            record,
            mailbox: Arc::new(Mailbox::new()),
            board: Mutex::new(Board { state, entries: BTreeMap::new() }),
            done: SetOnce::new(),
            signals: Signals {
                level: AtomicU8::new(SignalLevel::NONE.0),
                latest: Mutex::new(Signal::None),
                changed: Notify::new(),
            },
            stage: AtomicU8::new(Stage::Starting as u8),
        };
        cell.list_children();
        cell
    }

    fn list_children(&self) {
        let mut board = self.board.lock();
        let keys: Vec<Key> = board.state.children().iter().map(|(key, _)| key).collect();
        for (key, spec) in keys.into_iter().zip(&self.spec.children) {
            board.entries.insert(key, self.entry(spec.clone()));
        }
    }

    pub(crate) fn entry(&self, spec: ChildSpec) -> Entry {
        Entry {
            path: format!("{}/{}", self.path, spec.id).into(),
            record: self.record.child(&spec.id),
            spec,
            live: None,
            started_at_micros: 0,
            starting: false,
            stopping: false,
        }
    }

    /// Sends a signal, unless one of the same or a higher level was sent before.
    pub(crate) fn send_signal(&self, signal: Signal) {
        let mut latest = self.signals.latest.lock();
        let level = SignalLevel::of(&signal);
        if level <= SignalLevel::of(&latest) {
            return;
        }
        *latest = signal;
        self.signals.level.store(level.0, Ordering::Release);
        drop(latest);
        self.signals.changed.notify_waiters();
    }

    /// The level of the current signal.
    pub(crate) fn signal_level(&self) -> SignalLevel {
        SignalLevel(self.signals.level.load(Ordering::Acquire))
    }

    /// The current signal.
    pub(crate) fn signal(&self) -> Signal {
        self.signals.latest.lock().clone()
    }

    /// Waits for a signal of at least this level. Cancel safe.
    pub(crate) async fn signal_at_least(&self, level: SignalLevel) {
        while self.signal_level() < level {
            let changed = self.signals.changed.notified();
            tokio::pin!(changed);
            // Registered before the second check, so that no signal between check and wait is missed.
            changed.as_mut().enable();
            if self.signal_level() < level {
                changed.await;
            }
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Running,
            _ => Stage::Stopping,
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// Whether it waits for a message and there is none.
    pub(crate) fn is_idle(&self) -> bool {
        self.stage() == Stage::Running
            && self.signal_level() == SignalLevel::NONE
            && self.mailbox.is_idle()
            && self.board.lock().state.is_idle()
    }
}

/// A child that runs.
#[derive(Clone)]
pub(crate) enum Live {
    Worker(Arc<WorkerCell>),
    Supervisor(Arc<SupervisorCell>),
}

impl Live {
    /// Requests it to stop.
    pub(crate) fn request_stop(&self) {
        match self {
            Live::Worker(cell) => cell.shutdown.request(),
            Live::Supervisor(cell) => cell.send_signal(Signal::Exit(Reason::Shutdown)),
        }
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        match self {
            Live::Worker(cell) => cell.end_with(Reason::Killed),
            Live::Supervisor(cell) => cell.send_signal(Signal::Kill),
        }
    }

    /// Ends it because its supervisor was killed.
    pub(crate) fn orphan(&self) {
        match self {
            Live::Worker(cell) => cell.end_with(Reason::Killed),
            Live::Supervisor(cell) => cell.send_signal(Signal::Orphaned),
        }
    }

    /// Sends it an exit signal from outside.
    pub(crate) fn exit(&self, reason: Reason) {
        match (self, reason) {
            (_, Reason::Killed) => self.kill(),
            (Live::Worker(cell), reason) => cell.end_with(reason),
            (Live::Supervisor(cell), reason) => cell.send_signal(Signal::Exit(reason)),
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) {
        match self {
            Live::Worker(cell) => cell.done.wait().await,
            Live::Supervisor(cell) => cell.done.wait().await,
        };
    }

    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Live::Worker(cell) => cell.done.get().is_some(),
            Live::Supervisor(cell) => cell.done.get().is_some(),
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        match self {
            Live::Worker(cell) => cell.pid,
            Live::Supervisor(cell) => cell.pid,
        }
    }

    pub(crate) fn path(&self) -> &Arc<str> {
        match self {
            Live::Worker(cell) => &cell.path,
            Live::Supervisor(cell) => &cell.path,
        }
    }
}
