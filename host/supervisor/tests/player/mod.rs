//! Plays a scenario on this crate's supervisors, through the public interface, and writes the trace.
//!
//! It uses one thread and a virtual clock: time passes only when no task is ready, so that it is certain when nothing
//! more happens.

// Shared by a test and an example, neither of which uses all of it.
#![allow(dead_code, missing_docs, unreachable_pub)]

mod lines;
mod scenario;
mod trace;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{
    ChildSpec, Context, Handle, Kind, NodeState, Options, Pid, Reason, Root, Shutdown, Start, Strategy,
    Subscription, SupervisorSpec, Telemetry,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::lines::{
    Head, Json, Last, Listed, StepLine, TreeNode, error, error_because, line, ok, parse_pid, raw, refused,
    started, which,
};
pub use self::scenario::Scenario;
use self::scenario::{Node, Step, Type, nth};
use self::trace::Recorder;

/// Events of one step that the player can take; the largest scenarios make a few hundred.
const RING: usize = 1 << 16;

/// What the start functions share.
struct World {
    attempts: Mutex<Attempts>,
}

/// Start attempts by path. A path may belong to a supervisor first and to a worker later, so they are counted
/// where both are told.
struct Attempts {
    events: Subscription,
    of: HashMap<String, u64>,
}

impl Attempts {
    /// Which attempt the one is that begins now.
    fn next(&mut self, path: &str) -> u64 {
        while let Some(event) = self.events.try_recv() {
            if trace::is_attempt(&event.kind) {
                *self.of.entry(event.path.clone()).or_default() += 1;
            }
        }
        self.of.get(path).copied().unwrap_or(0) + 1
    }
}

/// Reads and plays a scenario file; the trace, one JSON text a line.
pub fn play_text(text: &str) -> Result<Vec<String>, serde_json::Error> {
    Ok(play(&serde_json::from_str(text)?))
}

pub fn play(scenario: &Scenario) -> Vec<String> {
    assert_eq!(scenario.format, 1, "the format of the scenario");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without input and output can be built");
    runtime.block_on(Player::run(scenario))
}

struct Player {
    world: Arc<World>,
    root: Option<Root>,
    handle: Option<Handle>,
    events: Subscription,
    seen: Vec<Arc<exesdb_supervisor::Event>>,
    recorder: Recorder,
}

/// A reply, or one that is not there yet.
enum Pending {
    Now(Json),
    Later(tokio::task::JoinHandle<Json>),
}

impl Player {
    async fn run(scenario: &Scenario) -> Vec<String> {
        let telemetry = Telemetry::with_capacity(RING);
        let mut player = Player {
            world: Arc::new(World {
                attempts: Mutex::new(Attempts { events: telemetry.subscribe(), of: HashMap::new() }),
            }),
            root: None,
            handle: None,
            events: telemetry.subscribe(),
            seen: Vec::new(),
            recorder: Recorder::default(),
        };
        let mut lines = vec![line(&Head { scenario: &scenario.name, format: 1 })];
        let spec = supervisor_spec(&player.world, "", &scenario.root);
        let options = Options { telemetry, seed: Some(0), ..Options::default() };
        let reply = match Root::start(spec, options).await {
            Ok(root) => {
                player.handle = Some(root.handle());
                player.root = Some(root);
                ok("started")
            }
            Err(error) => error_because("start_failed", &error.reason()),
        };
        lines.push(player.close_step(0, "start", None, vec![Pending::Now(reply)], false).await);
        for (index, step) in scenario.steps.iter().enumerate() {
            let batch = step.op == "batch";
            let replies = player.act(step, &scenario.root.id).await;
            // A batch that found no supervisor has one reply.
            let (list, replies) = match replies {
                Acted::One(reply) => (false, vec![reply]),
                Acted::Batch(replies) => (batch, replies),
            };
            lines.push(player.close_step(index + 1, &step.op, step.target(), replies, list).await);
        }
        let last = match &player.handle {
            Some(handle) if handle.is_running(&scenario.root.id) => {
                Some(player.tree(scenario.root.id.clone(), scenario.root.id.clone(), None).await)
            }
            _ => None,
        };
        lines.push(line(&Last { r#final: last }));
        lines
    }

    /// Waits for quiet, then writes what the step did.
    async fn close_step(
        &mut self,
        step: usize,
        op: &str,
        target: Option<String>,
        replies: Vec<Pending>,
        list: bool,
    ) -> String {
        self.quiet().await;
        let mut texts = Vec::new();
        for reply in replies {
            texts.push(match reply {
                Pending::Now(reply) => reply,
                Pending::Later(reply) => reply.await.expect("a call does not panic"),
            });
        }
        let reply = if list { raw(&texts) } else { texts.remove(0) };
        self.look();
        let events = self.recorder.step(&std::mem::take(&mut self.seen));
        line(&StepLine { step, op, target, reply, events })
    }

    /// Takes the events there are.
    fn look(&mut self) {
        let mut new = Vec::new();
        while let Some(event) = self.events.try_recv() {
            new.push(event);
        }
        self.recorder.raw_pids(&new);
        self.seen.extend(new);
    }

    /// Until nothing moves any more. The clock passes a millisecond only when no task is ready.
    async fn quiet(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.handle.as_ref().is_none_or(Handle::is_idle) {
                return;
            }
        }
    }

    async fn act(&mut self, step: &Step, root: &str) -> Acted {
        self.look();
        let reply = match step.op.as_str() {
            "crash" | "stop" => {
                let path = step.path.as_deref().expect("crash and stop have a path");
                self.crash(path, step.reason.as_deref().expect("crash and stop have a reason")).await
            }
            "advance" => {
                tokio::time::sleep(Duration::from_millis(step.ms.expect("advance has ms"))).await;
                ok(true)
            }
            "wait_quiet" => ok(true),
            "stop_root" => self.crash(root, "shutdown").await,
            "batch" => return self.batch(step).await,
            _ => {
                let sup = step.sup.clone().expect("a call has a sup");
                match self.call(&sup, step) {
                    Pending::Now(reply) => reply,
                    Pending::Later(reply) => reply.await.expect("a call does not panic"),
                }
            }
        };
        Acted::One(Pending::Now(reply))
    }

    /// Ends the process at `path`: a worker dies with that reason, a supervisor stops in order, unless killed.
    async fn crash(&self, path: &str, reason: &str) -> Json {
        let reason = match reason {
            "kill" => Reason::Killed,
            other => other.parse().expect("a reason of a scenario"),
        };
        let Some(handle) = &self.handle else { return error("not_running") };
        let done = match in_simple(handle, path).await {
            None => handle.exit(path, reason).await,
            Some(sup) => match self.recorder.latest(path) {
                None => return error("not_running"),
                Some(pid) => handle.exit_process(&sup, parse_pid(pid), reason).await,
            },
        };
        match done {
            Ok(()) => ok(true),
            Err(_) => error("not_running"),
        }
    }

    async fn batch(&mut self, step: &Step) -> Acted {
        let sup = step.sup.clone().expect("a batch has a sup");
        let Some(handle) = self.handle.clone() else { return Acted::One(Pending::Now(error("noproc"))) };
        if handle.suspend(&sup).await.is_err() {
            return Acted::One(Pending::Now(error("noproc")));
        }
        let mut replies = Vec::new();
        for item in &step.items {
            if item.op == "crash" {
                let path = format!("{sup}/{}", item.id.as_deref().expect("a crash of a batch has an id"));
                let reply = self.crash(&path, item.reason.as_deref().expect("a crash has a reason")).await;
                self.until_noticed(&handle, &sup, &path).await;
                replies.push(Pending::Now(reply));
            } else {
                replies.push(self.call(&sup, item));
                tokio::time::sleep(Duration::from_millis(1)).await; // it is in the mailbox now
            }
            self.look();
        }
        handle.resume(&sup).await.expect("a suspended supervisor still runs");
        Acted::Batch(replies)
    }

    /// Until the exit notice is in the mailbox.
    async fn until_noticed(&self, handle: &Handle, sup: &str, path: &str) {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let runs = match (in_simple(handle, path).await, self.recorder.latest(path)) {
                (Some(_), Some(pid)) => handle.is_running_process(sup, parse_pid(pid)),
                _ => handle.is_running(path),
            };
            if !runs {
                return;
            }
        }
    }

    /// Makes a call; it is on its way when the next task runs.
    fn call(&self, sup: &str, step: &Step) -> Pending {
        let Some(handle) = self.handle.clone() else { return Pending::Now(error("noproc")) };
        if !handle.is_running(sup) {
            return Pending::Now(error("noproc"));
        }
        let (world, sup, step) = (Arc::clone(&self.world), sup.to_owned(), step.clone());
        let instance = step.instance.clone();
        let pid = instance.as_ref().map(|name| self.recorder.latest(&format!("{sup}/{name}")).map(parse_pid));
        if step.op == "terminate_child" && pid == Some(None) {
            return Pending::Now(error("not_found"));
        }
        Pending::Later(tokio::spawn(async move {
            let id = step.id.as_deref().unwrap_or_default();
            let answer = match (step.op.as_str(), &step.spec, instance) {
                ("start_child", Some(node), _) => {
                    started(handle.start_child(&sup, child_spec(&world, &sup, node)).await)
                }
                ("start_child", None, Some(name)) => {
                    let argument = json!({ "name": name, "start": step.start, "stop": step.stop });
                    started(handle.start_instance(&sup, argument).await)
                }
                ("terminate_child", _, Some(_)) => {
                    let pid = pid.flatten().expect("checked above");
                    handle.terminate_process(&sup, pid).await.map(|()| ok(true))
                }
                ("terminate_child", _, None) => handle.terminate_child(&sup, id).await.map(|()| ok(true)),
                ("restart_child", ..) => started(handle.restart_child(&sup, id).await),
                ("delete_child", ..) => handle.delete_child(&sup, id).await.map(|()| ok(true)),
                ("which_children", ..) => which(&handle, &sup, is_simple(&handle, &sup).await)
                    .await
                    .map(|list| ok(list.into_iter().map(|(listed, _)| listed).collect::<Vec<Listed>>())),
                ("count_children", ..) => handle.count_children(&sup).await.map(ok),
                (other, ..) => panic!("unknown op {other}"),
            };
            answer.unwrap_or_else(|refusal| refused(&refusal))
        }))
    }

    /// The tree at the end, a process with all that is below it.
    fn tree(
        &self,
        id: String,
        path: String,
        pid: Option<Pid>,
    ) -> std::pin::Pin<Box<dyn Future<Output = TreeNode> + '_>> {
        Box::pin(async move {
            let handle = self.handle.as_ref().expect("a tree that runs was started");
            let pid = pid.map_or_else(
                || self.recorder.latest(&path).expect("the root was started").to_owned(),
                |pid| pid.to_string(),
            );
            let simple = is_simple(handle, &path).await;
            let counts = handle.count_children(&path).await.expect("the supervisor runs");
            let mut children = Vec::new();
            for (listed, pid) in which(handle, &path, simple).await.expect("the supervisor runs") {
                children.push(match (pid, listed.r#type) {
                    (Some(pid), Kind::Supervisor) => {
                        let id = listed.id.expect("a process has a name");
                        self.tree(id.clone(), format!("{path}/{id}"), Some(pid)).await
                    }
                    (pid, _) => TreeNode {
                        id: listed.id,
                        r#type: listed.r#type,
                        state: listed.state,
                        n: pid.map(|pid| self.recorder.n(&pid.to_string())),
                        counts: None,
                        children: None,
                    },
                });
            }
            TreeNode {
                id: Some(id),
                r#type: Kind::Supervisor,
                state: NodeState::Running,
                n: Some(self.recorder.n(&pid)),
                counts: Some(counts),
                children: Some(children),
            }
        })
    }
}

enum Acted {
    One(Pending),
    Batch(Vec<Pending>),
}

/// Whether the children of the supervisor that runs at `sup` go by process. Asked of the tree: a specification
/// may have been refused, and a supervisor that was added is gone when the one above it starts again.
async fn is_simple(handle: &Handle, sup: &str) -> bool {
    handle.tree().await.find(sup).is_some_and(|node| node.strategy == Some(Strategy::SimpleOneForOne))
}

/// The supervisor above `path`, if its children go by process.
async fn in_simple(handle: &Handle, path: &str) -> Option<String> {
    let (sup, _) = path.rsplit_once('/')?;
    is_simple(handle, sup).await.then(|| sup.to_owned())
}

// ---- the children

fn join(above: &str, id: &str) -> String {
    if above.is_empty() { id.to_owned() } else { format!("{above}/{id}") }
}

fn child_spec(world: &Arc<World>, above: &str, node: &Node) -> ChildSpec {
    let spec = match node.kind {
        Type::Supervisor => ChildSpec::supervisor(supervisor_spec(world, above, node)),
        Type::Worker => worker_spec(world, node),
    };
    let spec = spec.restart(node.restart).significant(node.significant);
    match &node.shutdown {
        None => spec,
        Some(Value::Number(ms)) => {
            let ms = ms.as_u64().expect("a time limit is a whole number");
            spec.shutdown(Shutdown::Timeout(Duration::from_millis(ms)))
        }
        Some(word) if word == "infinity" => spec.shutdown(Shutdown::Infinity),
        Some(word) if word == "brutal_kill" => spec.shutdown(Shutdown::BrutalKill),
        Some(word) => panic!("unknown shutdown {word}"),
    }
}

fn supervisor_spec(world: &Arc<World>, above: &str, node: &Node) -> SupervisorSpec {
    let path = join(above, &node.id);
    let spec = match &node.template {
        Some(template) => {
            let (world, template) = (Arc::clone(world), template.clone());
            SupervisorSpec::simple(&node.id, move |argument| {
                let mut node = (*template).clone();
                node.id = argument["name"].as_str().expect("an instance has a name").to_owned();
                let script = |key: &str| serde_json::from_value::<Vec<String>>(argument[key].clone()).ok();
                node.start = script("start").unwrap_or(node.start);
                node.stop = script("stop").unwrap_or(node.stop);
                child_spec(&world, &path, &node)
            })
        }
        None => SupervisorSpec::new(&node.id, node.strategy.unwrap_or(Strategy::OneForOne))
            .children(node.children.iter().map(|child| child_spec(world, &path, child))),
    };
    spec.intensity(node.intensity.unwrap_or(1), Duration::from_secs(node.period.unwrap_or(5)))
        .auto_shutdown(node.auto_shutdown)
}

fn worker_spec(world: &Arc<World>, node: &Node) -> ChildSpec {
    let world = Arc::clone(world);
    let (start, stop) = (node.start.clone(), node.stop.clone());
    ChildSpec::worker(&node.id, move |context: Context| {
        let n = world.attempts.lock().next(context.path());
        let (start, stop) = (nth(&start, n).to_owned(), nth(&stop, n).to_owned());
        async move {
            match start.split_once(':') {
                None if start == "ok" => Ok(Start::running(body(context, stop))),
                None if start == "ignore" => Ok(Start::Ignore),
                Some(("fail", reason)) => Err(reason.parse().expect("a reason of a script")),
                // A panic, without the message on the terminal.
                Some(("raise", what)) => std::panic::resume_unwind(Box::new(what.to_owned())),
                _ => panic!("unknown start {start}"),
            }
        }
    })
}

/// Runs until it is asked to stop, and then behaves as the script says.
async fn body(context: Context, stop: String) -> Reason {
    context.shutdown().requested().await;
    match stop.split_once(':') {
        None if stop == "ok" => Reason::Shutdown,
        None if stop == "hang" => std::future::pending().await,
        Some(("exit", reason)) => reason.parse().expect("a reason of a script"),
        Some(("delay", ms)) => {
            tokio::time::sleep(Duration::from_millis(ms.parse().expect("a delay in ms"))).await;
            Reason::Shutdown
        }
        _ => panic!("unknown stop {stop}"),
    }
}
