//! Typed specifications of children and supervisors, with OTP's fields and defaults.

mod error;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::error::SpecError;
use crate::context::Context;
use crate::reason::Reason;

/// How long a worker may take to stop by default, as in OTP.
pub const WORKER_SHUTDOWN: Duration = Duration::from_secs(5);

/// Restarts within [`DEFAULT_PERIOD`] after which a supervisor gives up, as in Elixir.
pub const DEFAULT_INTENSITY: u32 = 3;

/// The window in which restarts are counted by default, as in Elixir.
pub const DEFAULT_PERIOD: Duration = Duration::from_secs(5);

/// Whether a child that has ended is restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Only after an abnormal end ([`Reason::is_abnormal`]).
    Transient,
    /// Never; the specification is forgotten with the child.
    Temporary,
}

/// How a child is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// The child is killed at once.
    BrutalKill,
    /// The child is requested to stop, and killed if it has not ended after this time.
    Timeout(Duration),
    /// The child is requested to stop, and its end is awaited.
    Infinity,
}

/// Which siblings are restarted together with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The child alone.
    OneForOne,
    /// All children.
    OneForAll,
    /// The child and those that were started after it.
    RestForOne,
    /// The child alone; children are made from a template, while the supervisor runs.
    SimpleOneForOne,
}

impl Strategy {
    /// OTP's name of the strategy.
    pub fn name(self) -> &'static str {
        match self {
            Strategy::OneForOne => "one_for_one",
            Strategy::OneForAll => "one_for_all",
            Strategy::RestForOne => "rest_for_one",
            Strategy::SimpleOneForOne => "simple_one_for_one",
        }
    }
}

/// Whether a supervisor ends with its significant children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It does not. Then no child may be significant.
    #[default]
    Never,
    /// It ends when a significant child has ended by itself and is not restarted.
    AnySignificant,
    /// It ends when the last significant child has ended by itself and is not restarted.
    AllSignificant,
}

/// Worker or supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Does work.
    Worker,
    /// Has children.
    Supervisor,
}

/// A pause before restarts, beyond OTP and off by default.
///
/// The first restart of a child has no pause, because it solves most crashes. The next pauses are `first`, twice `first`,
/// four times `first` and so on up to `max`, each shortened by a random part of up to a half, so that children that crash
/// together do not restart together. After a run of at least `max`, a child begins anew. A restart counts for the
/// intensity when it is decided, not when its pause is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub(crate) first: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// Pauses from `first` up to `max`.
    pub fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max: max.max(first) }
    }
}

/// What a start function returns when it succeeds.
pub enum Start {
    /// The init phase is over; this future is the body. Its output is the exit reason.
    Running(Pin<Box<dyn Future<Output = Reason> + Send>>),
    /// There is nothing to run. This is a success: the child stays listed without a process.
    Ignore,
}

impl Start {
    /// The init phase is over; `body` runs from now on.
    pub fn running(body: impl Future<Output = Reason> + Send + 'static) -> Start {
        Start::Running(Box::pin(body))
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Start::Running(_) => "Running(..)",
            Start::Ignore => "Ignore",
        })
    }
}

/// The future of an init phase.
pub(crate) type Starting = Pin<Box<dyn Future<Output = Result<Start, Reason>> + Send>>;

/// A start function, shared by all incarnations of a child.
pub(crate) type StartFn = Arc<dyn Fn(Context) -> Starting + Send + Sync>;

/// Makes the specification of one more child from the argument given to
/// [`Handle::start_instance`](crate::Handle::start_instance).
pub(crate) type Template = Arc<dyn Fn(Value) -> ChildSpec + Send + Sync>;

/// Describes what a child runs, for the tree.
pub(crate) type Detail = Arc<dyn Fn() -> Option<Value> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Role {
    Worker(StartFn),
    Supervisor(Arc<SupervisorSpec>),
}

/// One child of a supervisor.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) id: Arc<str>,
    pub(crate) role: Role,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Shutdown,
    pub(crate) significant: bool,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) park: bool,
    pub(crate) detail: Option<Detail>,
}

impl ChildSpec {
    /// A worker: permanent, with [`WORKER_SHUTDOWN`] to stop.
    ///
    /// `start` is the init phase, for which the supervisor waits; the future in the [`Start`] it returns is
    /// the body, which runs as a task of its own. A panic in either is an exit `error:panic: ..`.
    pub fn worker<F, Fut>(id: impl Into<String>, start: F) -> ChildSpec
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Start, Reason>> + Send + 'static,
    {
        let start: StartFn = Arc::new(move |context| Box::pin(start(context)));
        ChildSpec::new(id.into().into(), Role::Worker(start), Shutdown::Timeout(WORKER_SHUTDOWN))
    }

    /// A supervisor: permanent, with [`Shutdown::Infinity`].
    pub fn supervisor(spec: SupervisorSpec) -> ChildSpec {
        ChildSpec::new(Arc::clone(&spec.id), Role::Supervisor(Arc::new(spec)), Shutdown::Infinity)
    }

    fn new(id: Arc<str>, role: Role, shutdown: Shutdown) -> ChildSpec {
        let restart = Restart::default();
        ChildSpec {
            id,
            role,
            restart,
            shutdown,
            significant: false,
            backoff: None,
            park: false,
            detail: None,
        }
    }

    /// Sets whether it is restarted after its end.
    pub fn restart(self, restart: Restart) -> ChildSpec {
        ChildSpec { restart, ..self }
    }

    /// Sets how it is stopped.
    pub fn shutdown(self, shutdown: Shutdown) -> ChildSpec {
        ChildSpec { shutdown, ..self }
    }

    /// Sets whether its end can end the supervisor: see [`AutoShutdown`].
    pub fn significant(self, significant: bool) -> ChildSpec {
        ChildSpec { significant, ..self }
    }

    /// Pauses between restarts (beyond OTP).
    pub fn backoff(self, backoff: Backoff) -> ChildSpec {
        ChildSpec { backoff: Some(backoff), ..self }
    }

    /// Isolates a child from its siblings (beyond OTP): where it would end its supervisor or keep it from starting, it is
    /// *parked* instead, and its supervisor continues as if it had been ignored.
    ///
    /// It is parked when
    /// - it does not start in the start of its supervisor, or in the restart of a group (one_for_all,
    ///   rest_for_one): the next child starts then;
    /// - it is a supervisor that ended because of its intensity;
    /// - it was restarted too often: it has a restart count of its own, with the limits of its supervisor, so
    ///   that it cannot use up its siblings'. Restarts by itself (one_for_one) that fail are retried, and count.
    ///
    /// A parked child stays listed without a process, with the reason as `last_exit`. Group restarts skip it, and parking
    /// causes no automatic shutdown. It is started again by [`restart_child`](crate::Handle::restart_child) (if that
    /// fails, the call returns why, and the child stays parked), or when its supervisor itself is restarted.
    ///
    /// Children that come and go (simple_one_for_one, dynamic) cannot be parked: nobody could restart them.
    pub fn park_when_given_up(self) -> ChildSpec {
        ChildSpec { park: true, ..self }
    }

    /// Sets the function that makes [`Node::detail`](crate::Node) whenever the tree is read. It must not wait for anything.
    pub fn detail(self, detail: impl Fn() -> Option<Value> + Send + Sync + 'static) -> ChildSpec {
        ChildSpec { detail: Some(Arc::new(detail)), ..self }
    }

    /// The same child under another id.
    pub fn with_id(mut self, id: impl Into<String>) -> ChildSpec {
        let id: Arc<str> = id.into().into();
        if let Role::Supervisor(spec) = &mut self.role {
            Arc::make_mut(spec).id = Arc::clone(&id);
        }
        self.id = id;
        self
    }

    /// Its id among its siblings.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Worker or supervisor.
    pub fn kind(&self) -> Kind {
        match self.role {
            Role::Worker(_) => Kind::Worker,
            Role::Supervisor(_) => Kind::Supervisor,
        }
    }

    /// Checks what this supervisor could not carry out.
    pub(crate) fn check(&self, supervisor: &SupervisorSpec) -> Result<(), SpecError> {
        let id = || self.id.to_string();
        if self.id.is_empty() || self.id.contains('/') {
            return Err(SpecError::BadId { id: id() });
        }
        if self.park && !matches!(supervisor.growth, Growth::Listed) {
            return Err(SpecError::ParkUnlisted { id: id() });
        }
        match (self.significant, supervisor.auto_shutdown, self.restart) {
            (true, AutoShutdown::Never, _) => Err(SpecError::SignificantWithoutAutoShutdown { id: id() }),
            (true, _, Restart::Permanent) => Err(SpecError::SignificantPermanent { id: id() }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("id", &self.id)
            .field("kind", &self.kind())
            .field("restart", &self.restart)
            .field("shutdown", &self.shutdown)
            .field("significant", &self.significant)
            .field("backoff", &self.backoff)
            .field("park_when_given_up", &self.park)
            .finish()
    }
}

/// How children are added to a running supervisor.
#[derive(Clone)]
pub(crate) enum Growth {
    /// By a full specification; ids are unique (OTP).
    Listed,
    /// From the template only, children have no id of their own (OTP's simple_one_for_one).
    Simple(Template),
    /// By a full specification or from the template, up to a number (Elixir's DynamicSupervisor).
    Dynamic { template: Template, max_children: usize },
}

/// A supervisor and its children.
#[derive(Clone)]
pub struct SupervisorSpec {
    pub(crate) id: Arc<str>,
    pub(crate) strategy: Strategy,
    pub(crate) restarts: u32,
    pub(crate) period: Duration,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<ChildSpec>,
    pub(crate) growth: Growth,
}

impl SupervisorSpec {
    /// A supervisor without children, with Elixir's limits: [`DEFAULT_INTENSITY`] in [`DEFAULT_PERIOD`].
    pub fn new(id: impl Into<String>, strategy: Strategy) -> SupervisorSpec {
        SupervisorSpec {
            id: id.into().into(),
            strategy,
            restarts: DEFAULT_INTENSITY,
            period: DEFAULT_PERIOD,
            auto_shutdown: AutoShutdown::Never,
            children: Vec::new(),
            growth: Growth::Listed,
        }
    }

    /// Sets how many restarts within `period` it allows: with more, it gives up.
    pub fn intensity(self, restarts: u32, period: Duration) -> SupervisorSpec {
        SupervisorSpec { restarts, period, ..self }
    }

    /// Adds a child. Children start in the order in which they were added.
    pub fn child(mut self, child: ChildSpec) -> SupervisorSpec {
        self.children.push(child);
        self
    }

    /// Adds children.
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> SupervisorSpec {
        self.children.extend(children);
        self
    }

    /// Sets whether it ends with its significant children.
    pub fn auto_shutdown(self, auto_shutdown: AutoShutdown) -> SupervisorSpec {
        SupervisorSpec { auto_shutdown, ..self }
    }

    /// Its id among its siblings.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Checks the specification, flags before children, as OTP does when a supervisor starts.
    pub(crate) fn check(&self) -> Result<(), SpecError> {
        let supervisor = || self.id.to_string();
        if self.id.is_empty() || self.id.contains('/') {
            return Err(SpecError::BadId { id: supervisor() });
        }
        if self.period.is_zero() {
            return Err(SpecError::ZeroPeriod { supervisor: supervisor() });
        }
        match (self.strategy, &self.growth) {
            (Strategy::SimpleOneForOne, Growth::Listed) => {
                return Err(SpecError::NoTemplate { supervisor: supervisor() });
            }
            (Strategy::SimpleOneForOne, _) if !self.children.is_empty() => {
                return Err(SpecError::ChildrenBesideTemplate { supervisor: supervisor() });
            }
            (Strategy::SimpleOneForOne, _) | (_, Growth::Listed) => {}
            (_, Growth::Simple(_) | Growth::Dynamic { .. }) => {
                return Err(SpecError::TemplateWithoutSimple { supervisor: supervisor() });
            }
        }
        let mut ids = std::collections::HashSet::new();
        for child in &self.children {
            child.check(self)?;
            if !ids.insert(&child.id) {
                return Err(SpecError::DuplicateId { supervisor: supervisor(), id: child.id.to_string() });
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SupervisorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorSpec")
            .field("id", &self.id)
            .field("strategy", &self.strategy)
            .field("restarts", &self.restarts)
            .field("period", &self.period)
            .field("auto_shutdown", &self.auto_shutdown)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}
