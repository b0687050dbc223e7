//! Supervision as Erlang/OTP does it, on tokio.
//!
//! A *worker* is a start function and the future it returns. A *supervisor* starts its children in order, restarts those
//! that end according to its strategy, and stops them in reverse order. When restarts do not help, it gives up, and its
//! own supervisor decides. Whoever knows OTP's `supervisor` knows this crate: its traces equal those of real OTP, byte for
//! byte, for every scenario in `tests/otp` and for random ones.
//!
//! ```
//! use std::time::Duration;
//! use exesdb_supervisor::{ChildSpec, Options, Reason, Restart, Root, Start, Strategy, SupervisorSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let clock = ChildSpec::worker("clock", |context| async move {
//!     // The init phase: the supervisor waits for it. An error here is a failed start.
//!     let shutdown = context.shutdown();
//!     Ok(Start::running(async move {
//!         // The body: a task of its own. Its output is the exit reason; a panic is an exit too.
//!         shutdown.requested().await;
//!         Reason::Shutdown
//!     }))
//! });
//! let spec = SupervisorSpec::new("host", Strategy::OneForOne)
//!     .intensity(5, Duration::from_secs(30))
//!     .child(clock.restart(Restart::Transient));
//! let root = Root::start(spec, Options::default()).await.expect("the tree starts");
//! assert_eq!(root.handle().tree().await.children[0].path, "host/clock");
//! assert_eq!(root.stop().await, Reason::Shutdown);
//! # }
//! ```
//!
//! # OTP's terms
//!
//! | OTP, Elixir | here |
//! |---|---|
//! | `supervisor:start_link`, the flags and child specs that `init/1` returns | [`Root::start`], [`SupervisorSpec`], [`ChildSpec`]: values, no callback module |
//! | a child spec's `start`, and `proc_lib:init_ack` in it | the start function of [`ChildSpec::worker`]; it returns [`Start::running`] |
//! | `ignore` | [`Start::Ignore`] |
//! | a pid | a [`Pid`]: one incarnation of a child |
//! | exit reasons | [`Reason`]; what OTP calls `{shutdown, X}` and any other term are text here |
//! | `exit(Pid, Reason)` | [`Handle::exit`], by path |
//! | `start_child`, `terminate_child`, `restart_child`, `delete_child`, `which_children`, `count_children` | the methods of [`Handle`] of the same names; [`Handle::start_instance`] for simple_one_for_one |
//! | `sys:suspend`, `sys:resume` | [`Handle::suspend`], [`Handle::resume`] |
//! | registered names, Elixir's Registry | [`Registry`] |
//! | supervisor reports, observer | [`Telemetry`], [`Handle::tree`] |
//!
//! # Strategies
//!
//! `b` of `a b c` has crashed. What is stopped is stopped in reverse order, and then started in order.
//!
//! ```text
//! one_for_one           rest_for_one            one_for_all
//!
//!   a   b   c             a   b   c               a   b   c
//!   |   x   |             |   x   |               |   x   |
//!   |   +b  |             |       -c              |       -c
//!   |   |   |             |   +b                  -a
//!                         |   |   +c              +a  +b  +c
//! ```
//!
//! - [`Strategy::OneForOne`]: the children have nothing to do with each other.
//! - [`Strategy::RestForOne`]: each builds on those before it.
//! - [`Strategy::OneForAll`]: none makes sense without the others.
//! - [`Strategy::SimpleOneForOne`]: as one_for_one, with children made from a template while the supervisor
//!   runs: [`SupervisorSpec::simple`] (OTP) and [`SupervisorSpec::dynamic`] (Elixir's DynamicSupervisor). They
//!   have no order, and are stopped all at once.
//!
//! [`SupervisorSpec::partitions`] is Elixir's PartitionSupervisor: `n` equal children, of which
//! [`partition_of`] chooses by key.
//!
//! A group restart starts *all specifications* of the group: also children that had finished, were ignored, or
//! were terminated by call. Temporary children of the group are stopped and forgotten. It is one restart.
//!
//! # Restart types
//!
//! | the child ended with       | permanent | transient                     | temporary |
//! |----------------------------|-----------|-------------------------------|-----------|
//! | `normal`                   | restart   | stays listed without process  | forgotten |
//! | `shutdown`, `shutdown:X`   | restart   | stays listed without process  | forgotten |
//! | `killed`, `error:X`, panic | restart   | restart                       | forgotten |
//!
//! The table holds for workers and supervisors alike. Where there is no restart, no sibling is touched. A
//! simple_one_for_one supervisor forgets finished transient children too.
//!
//! # Intensity, and giving up
//!
//! Each restart is counted. If then more than `restarts` lie within `period` ([`SupervisorSpec::intensity`], by
//! default Elixir's 3 in 5 s), the supervisor stops its children and exits with `shutdown`. For the supervisor
//! above that is an exit like any other: a permanent supervisor is started again, with its original children
//! and an empty count; a transient one stays down, for `shutdown` is a normal end; and it counts there.
//!
//! # Starts
//!
//! Children start one after the other, each when the one before is up: the supervisor waits for the start
//! function, so one that blocks its thread blocks the supervisor too. In a supervisor's own start a failure (an error, a panic) unwinds what
//! was started, and the supervisor's own start fails with `shutdown:failed_to_start_child(ID,REASON)`. In a
//! restart the child is marked `restarting` and the supervisor posts a retry at the end of its mailbox; the retry counts, and the strategy applies to it. [`Start::Ignore`] is a success without a process.
//!
//! A child that is [parked](ChildSpec::park_when_given_up) when it does not start is the exception to both: its
//! supervisor goes on with the next one.
//!
//! # Stops
//!
//! | [`Shutdown`]  | asked to stop | killed                         | default of  |
//! |---------------|---------------|--------------------------------|-------------|
//! | `BrutalKill`  | no            | at once                        |             |
//! | `Timeout(t)`  | yes           | if it has not ended after `t`  | workers, 5 s |
//! | `Infinity`    | yes           | never                          | supervisors |
//!
//! A worker is asked through its [`ShutdownSignal`], and must look at it: one that does not is killed when its
//! time is up. A supervisor that is asked stops its children, in reverse order.
//!
//! The supervisor waits for the end in any case; with which reason the child ends does not matter then.
//!
//! **What cannot be killed.** Killing a worker drops its future at its next await point. Code that computes or
//! blocks without awaiting, a thread the worker has started, and work handed to `spawn_blocking` go on until
//! they return: no safe program can end a thread from outside. The supervisor then reports `kill_pending` after
//! a second and waits, because a second incarnation next to the first would be worse. A worker that owns a
//! thread tells it to end in a destructor, or from its shutdown signal, and lets the thread check.
//!
//! # Significant children
//!
//! With [`AutoShutdown::AnySignificant`] the supervisor exits with `shutdown` when a significant child has ended
//! by itself and is not restarted; with [`AutoShutdown::AllSignificant`] when no other significant child has a
//! process either.
//!
//! # Names
//!
//! A restarted child is another child. So children find each other in the [`Registry`], each time they need to:
//!
//! ```
//! use std::sync::Arc;
//! use exesdb_supervisor::{ChildSpec, Reason, Start};
//!
//! struct Log { /* a channel to the committer */ }
//!
//! let store = ChildSpec::worker("store", |context| async move {
//!     let name = context.registry().register("main/log", Arc::new(Log {}));
//!     Ok(Start::running(async move {
//!         let _name = name; // removed with the body, however that ends
//!         context.shutdown().requested().await;
//!         Reason::Shutdown
//!     }))
//! });
//! let reader = ChildSpec::worker("reader", |context| async move {
//!     let Some(_log) = context.registry().get::<Log>("main/log") else {
//!         return Err(Reason::error("no log is registered"));
//!     };
//!     Ok(Start::Ignore)
//! });
//! # let _ = (store, reader);
//! ```
//!
//! # Telemetry
//!
//! All events form one stream ([`Telemetry`]), which costs little while nobody reads it. The supervisors report:
//!
//! | kind | path | detail |
//! |---|---|---|
//! | `started`, `ignored` | the worker | |
//! | `start_failed`, `terminated` | the worker | `reason` |
//! | `sup_started` (its last child is up) | the supervisor | |
//! | `sup_start_failed`, `sup_terminated` | the supervisor | `reason` |
//! | `restarting` | the supervisor | `child`, `strategy`, `intensity` {`restarts`, `period_ms`}, `used`, `left` |
//! | `gave_up` | the supervisor | `child`, `intensity`, `used` |
//! | `auto_shutdown` | the supervisor | `child` |
//! | `pausing` | the supervisor | `child`, `after_ms` |
//! | `parked` | the child | `reason` of its last end or failed start |
//! | `sup_stopping_children` (many at once) | the supervisor | `children` |
//! | `kill_pending` | the worker | `after_ms` |
//! | `missed` | | `missed`: how many events the reader was too late for |
//!
//! All but the last two also have `pid`, `parent` (the supervisor's pid) and `incarnation`; `parked` has
//! `parent` only. Children add kinds of their own through [`Context::telemetry`].
//!
//! # Differences from OTP
//!
//! | here | OTP | because |
//! |---|---|---|
//! | The end of a killed supervisor reaches its parent only when its subtree is gone. Its restart counts as of the kill. | At once; orphans may still run when their successors start. | Two incarnations of a child must never hold one file, port or lock. |
//! | A worker that does not look at its [`ShutdownSignal`] runs on until its time is up. | It ends at once, unless it traps exits. | A future that is dropped anywhere cannot finish what it began, so every worker is one that traps exits. |
//! | Any exit signal that does not come from its supervisor ends a worker, at its next await point. | Not if it traps exits. | It is for operators and tests, and must work. |
//! | Below a killed supervisor `Infinity` means 5 s. | For ever. | A killed subtree must come to an end. |
//! | A shutdown takes effect while a start hangs: the start is dropped. | After the start. | An operator's stop must not wait for a peer that does not answer. |
//! | An exit signal `normal` ends a process. | It is ignored. | There are no links that would need it. |
//! | A template's specification is checked when an instance is started. | When the supervisor starts. | A template is a function here. |
//! | A simple_one_for_one restart that is ignored forgets the child, and the count of active children is right after a restarting one was terminated. | OTP 25 crashes later, or counts one too few. | Mistakes are not promises. |
//! | Restarts are counted in exact time. | OTP 25: in whole seconds. | Rounding would count restarts that are older than the period. |
//! | The default intensity is 3 in 5 s. | 1 in 5 s. | It is Elixir's. |
//! | Ids are text without `/`. | Any term. | Paths identify children for people. |
//! | A child's incarnations and its last exit are kept over restarts of the supervisors above it. | They are not. | Operators want to know how often a child was restarted, for whatever reason. |
//! | At most 64 calls wait in a supervisor's mailbox; further callers wait. | The mailbox grows. | Every queue is bounded. |
//! | [`ChildSpec::backoff`]: pauses between restarts, off by default. | None. | A crash loop that takes long to fail must not burn a core. |
//! | [`ChildSpec::park_when_given_up`], off by default: a child that gave up, or does not start with its supervisor or its group, is left out. | Its supervisor gives up, or does not start. | One tenant's damaged database must not affect the others. |
//! | A child that can be parked has a restart count of its own. | All children of a supervisor share one. | Its crashes must not use up its siblings' restarts. |
//! | No code change, no `get_childspec`, no supervisors that ignore their own start. | They exist. | They are not needed. |
//!
//! # Limits
//!
//! | what | limit | beyond it |
//! |---|---|---|
//! | calls that wait in one supervisor's mailbox | 64 | callers wait |
//! | exit notices and retries in a mailbox | one for each child and message read | (cannot be more) |
//! | events that are kept | [`TELEMETRY_RING_EVENTS`] | slow readers get the number of missed events |
//! | restart times that are kept | the intensity, plus one | the supervisor has given up |
//!
//! # How it is built
//!
//! `decide` is a pure function from a state and an event to effects. `driver` is one task per supervisor, which carries
//! out effects and waits for one thing at a time, and always also for a signal that ends it. `tests/otp` has the scenarios
//! and the traces of real OTP; `cargo bench -p exesdb-supervisor --bench stress` compares restarts with real OTP. This
//! crate knows neither components, nor events, nor storage.

mod context;
mod decide;
mod driver;
mod dynamic;
mod handle;
mod partition;
mod pid;
mod reason;
mod registry;
mod root;
mod spec;
mod telemetry;
mod tree;

pub use context::{Context, ShutdownSignal};
pub use handle::{CallError, ChildCounts, ChildInfo, Handle, Started};
pub use partition::partition_of;
pub use pid::{Pid, PidError};
pub use reason::{Reason, ReasonError};
pub use registry::{Registration, Registry};
pub use root::{Options, Root, StartError};
pub use spec::{
    AutoShutdown, Backoff, ChildSpec, DEFAULT_INTENSITY, DEFAULT_PERIOD, Kind, Restart, Shutdown, SpecError,
    Start, Strategy, SupervisorSpec, WORKER_SHUTDOWN,
};
pub use telemetry::{EVENT_KINDS, Event, Subscription, TELEMETRY_RING_EVENTS, Telemetry};
pub use tree::{Intensity, Node, NodeState};
