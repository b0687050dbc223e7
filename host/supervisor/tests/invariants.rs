//! Invariants of running trees under random exits and stops, checked on their telemetry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{
    ChildSpec, Context, Event, Node, NodeState, Options, Reason, Restart, Root, Shutdown, Start, Strategy,
    SupervisorSpec, Telemetry,
};
use proptest::prelude::{Just, ProptestConfig, Strategy as _, prop_oneof, proptest};

/// A random tree.
#[derive(Clone, Debug)]
enum Plan {
    Worker { restart: Restart, behaviour: Behaviour },
    Supervisor { strategy: Strategy, restart: Restart, intensity: u32, children: Vec<Plan> },
}

#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Obedient,
    Slow,
    Deaf,
    FailsEverySecondStart,
    HangsInThirdStart,
    /// It can be parked, and fails the start that matters: the first one.
    FailsFirstStartAndParks,
}

/// A random action on the tree.
#[derive(Clone, Debug)]
enum Action {
    /// The n-th of the nodes: an exit, or a start if it is parked.
    Exit(usize, Reason),
    Wait(u64),
    /// Does not wait: the next action follows while the last one is still being handled.
    Yield,
}

fn worker() -> impl proptest::strategy::Strategy<Value = Plan> {
    let behaviour = prop_oneof![
        4 => Just(Behaviour::Obedient),
        1 => Just(Behaviour::Slow),
        1 => Just(Behaviour::Deaf),
        1 => Just(Behaviour::FailsEverySecondStart),
        1 => Just(Behaviour::HangsInThirdStart),
        1 => Just(Behaviour::FailsFirstStartAndParks),
    ];
    (restart(), behaviour).prop_map(|(restart, behaviour)| Plan::Worker { restart, behaviour })
}

fn restart() -> impl proptest::strategy::Strategy<Value = Restart> {
    prop_oneof![3 => Just(Restart::Permanent), 1 => Just(Restart::Transient), 1 => Just(Restart::Temporary)]
}

fn tree() -> impl proptest::strategy::Strategy<Value = Plan> {
    let strategy =
        || prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)];
    let supervisor = move |children| {
        (strategy(), restart(), 0_u32..4, children).prop_map(|(strategy, restart, intensity, children)| {
            Plan::Supervisor { strategy, restart, intensity, children }
        })
    };
    let below =
        worker().prop_recursive(3, 12, 4, move |inner| supervisor(proptest::collection::vec(inner, 0..4)));
    supervisor(proptest::collection::vec(below.boxed(), 1..5))
}

fn actions() -> impl proptest::strategy::Strategy<Value = Vec<Action>> {
    let reason = prop_oneof![
        3 => Just(Reason::Killed),
        2 => Just(Reason::error("boom")),
        1 => Just(Reason::Normal),
        1 => Just(Reason::Shutdown),
    ];
    let one = prop_oneof![
        3 => (0_usize..40, reason).prop_map(|(node, reason)| Action::Exit(node, reason)),
        1 => (0_u64..4_000).prop_map(Action::Wait),
        1 => Just(Action::Yield),
    ];
    proptest::collection::vec(one, 0..30)
}

fn supervisor(id: &str, plan: &Plan) -> SupervisorSpec {
    let Plan::Supervisor { strategy, intensity, children, .. } = plan else { unreachable!("the root") };
    SupervisorSpec::new(id, *strategy)
        .intensity(*intensity, Duration::from_secs(5))
        .children(children.iter().enumerate().map(|(index, plan)| child(&format!("c{index}"), plan)))
}

fn child(id: &str, plan: &Plan) -> ChildSpec {
    match plan {
        Plan::Supervisor { restart, .. } => ChildSpec::supervisor(supervisor(id, plan)).restart(*restart),
        Plan::Worker { restart, behaviour } => {
            let behaviour = *behaviour;
            let worker = ChildSpec::worker(id, move |context| run(context, behaviour))
                .restart(*restart)
                .shutdown(Shutdown::Timeout(Duration::from_millis(300)));
            match behaviour {
                Behaviour::FailsFirstStartAndParks => worker.park_when_given_up(),
                _ => worker,
            }
        }
    }
}

async fn run(context: Context, behaviour: Behaviour) -> Result<Start, Reason> {
    match (behaviour, context.incarnation()) {
        (Behaviour::FailsEverySecondStart, n) if n % 2 == 0 => return Err(Reason::error("no luck")),
        (Behaviour::FailsFirstStartAndParks, n) if n % 3 == 1 => return Err(Reason::error("no luck")),
        (Behaviour::HangsInThirdStart, 3) => std::future::pending().await,
        _ => {}
    }
    Ok(Start::running(async move {
        context.shutdown().requested().await;
        match behaviour {
            Behaviour::Deaf => std::future::pending().await,
            Behaviour::Slow => tokio::time::sleep(Duration::from_millis(100)).await,
            _ => {}
        }
        Reason::Shutdown
    }))
}

fn running(node: &Node, paths: &mut Vec<String>) {
    paths.push(node.path.clone());
    for child in &node.children {
        running(child, paths);
    }
}

async fn play(plan: Plan, actions: Vec<Action>) -> Vec<Arc<Event>> {
    let telemetry = Telemetry::with_capacity(1 << 16);
    let options = Options { telemetry: telemetry.clone(), seed: Some(0), ..Options::default() };
    let root = Root::start(supervisor("root", &plan), options).await.expect("first starts succeed");
    let handle = root.handle();
    for action in actions {
        match action {
            Action::Wait(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Action::Yield => tokio::task::yield_now().await,
            Action::Exit(index, reason) => {
                let mut paths = Vec::new();
                running(&handle.tree().await, &mut paths);
                let path = &paths[index % paths.len()];
                let state = handle.tree().await.find(path).map(|node| node.state);
                // The child or its supervisor may have ended.
                match (state, path.rsplit_once('/')) {
                    (Some(NodeState::Parked), Some((sup, id))) => {
                        // Not awaited: the supervisor may wait for a hanging start.
                        let (handle, sup, id) = (handle.clone(), sup.to_owned(), id.to_owned());
                        tokio::spawn(async move { handle.restart_child(&sup, &id).await.is_ok() });
                    }
                    _ => {
                        let _ = handle.exit(path, reason).await;
                    }
                }
            }
        }
    }
    root.stop().await;
    telemetry.recent()
}

/// The invariants, on the stream of events.
fn check(events: &[Arc<Event>]) {
    let text = |event: &Event, key: &str| event.detail[key].as_str().map(str::to_owned);
    let mut alive: HashMap<String, String> = HashMap::new(); // path to process
    let mut known = HashSet::new();
    let mut restarts: HashMap<String, u64> = HashMap::new(); // by supervisor process
    for event in events {
        let pid = text(event, "pid").unwrap_or_default();
        match event.kind.as_str() {
            "started" | "sup_started" => {
                assert!(known.insert(pid.clone()), "{event:?}: a process starts once");
                let twin = alive.insert(event.path.clone(), pid);
                assert_eq!(twin, None, "{event:?}: it runs already");
            }
            "terminated" | "sup_terminated" => {
                let ended = alive.remove(&event.path);
                assert_eq!(ended, Some(pid), "{event:?}: every end has one start");
                if event.kind == "sup_terminated" && event.detail["reason"] != "killed" {
                    let below = format!("{}/", event.path);
                    let survivor = alive.keys().find(|path| path.starts_with(&below));
                    assert_eq!(survivor, None, "{event:?}: nothing of it may live");
                }
            }
            "restarting" => {
                let used = event.detail["used"].as_u64().expect("a number");
                let allowed = event.detail["intensity"]["restarts"].as_u64().expect("a number");
                assert!(used <= allowed, "{event:?}: more restarts than the intensity");
                *restarts.entry(pid).or_default() += 1;
            }
            _ => {}
        }
        // A start below a path at which a killed supervisor's children still live would be a second one.
        if event.kind == "sup_started" {
            assert!(alive.contains_key(&event.path));
        }
    }
    assert!(alive.is_empty(), "after the end of the root these live: {alive:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_start_has_one_end_and_nothing_outlives_its_supervisor(plan in tree(), actions in actions()) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        check(&runtime.block_on(play(plan, actions)));
    }
}

/// The same on two threads and the real clock, where exits, starts and stops overlap.
#[test]
fn the_invariants_hold_on_threads() {
    let worker = |behaviour| Plan::Worker { restart: Restart::Permanent, behaviour };
    let level = |children| Plan::Supervisor {
        strategy: Strategy::RestForOne,
        restart: Restart::Permanent,
        intensity: 1_000_000,
        children,
    };
    let leaf = || level(vec![worker(Behaviour::Obedient), worker(Behaviour::Obedient)]);
    let plan = level(vec![leaf(), level(vec![leaf(), worker(Behaviour::Obedient), leaf()]), leaf()]);
    let actions = (0..2_000_usize).map(|i| match i % 7 {
        6 => Action::Yield,
        // Never the root, which is the first.
        _ => Action::Exit(1 + (i * 31) % 13, if i % 3 == 0 { Reason::error("boom") } else { Reason::Killed }),
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    check(&runtime.block_on(play(plan, actions.collect())));
}
