//! Tests a tree through its public interface: start, inspect, restart, stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exesdb_supervisor::{
    CallError, ChildSpec, Context, NodeState, Options, Reason, Restart, Root, Shutdown, Start, StartError,
    Started, Strategy, SupervisorSpec,
};

/// Runs until it is requested to stop.
async fn obedient(context: Context) -> Result<Start, Reason> {
    let shutdown = context.shutdown();
    Ok(Start::running(async move {
        shutdown.requested().await;
        Reason::Shutdown
    }))
}

/// Ignores the request to stop.
async fn deaf(_: Context) -> Result<Start, Reason> {
    Ok(Start::running(std::future::pending()))
}

async fn settle(root: &Root) {
    let handle = root.handle();
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if handle.is_idle() {
            return;
        }
    }
}

fn tree() -> SupervisorSpec {
    SupervisorSpec::new("host", Strategy::OneForOne).child(ChildSpec::worker("a", obedient)).child(
        ChildSpec::supervisor(
            SupervisorSpec::new("main", Strategy::OneForAll)
                .child(ChildSpec::worker("x", obedient))
                .child(ChildSpec::worker("y", obedient)),
        ),
    )
}

#[tokio::test(start_paused = true)]
async fn the_tree_shows_running_and_restarted_children() {
    let root = Root::start(tree(), Options::default()).await.unwrap();
    let handle = root.handle();
    handle.exit("host/main/x", Reason::error("boom")).await.unwrap();
    settle(&root).await;
    let tree = handle.tree().await;
    let x = tree.find("host/main/x").unwrap();
    assert_eq!((x.state, x.restarts, x.last_exit.as_deref()), (NodeState::Running, 1, Some("error:boom")));
    let y = tree.find("host/main/y").unwrap();
    assert_eq!((y.restarts, y.last_exit.as_deref()), (1, Some("shutdown")));
    let intensity = tree.find("host/main").unwrap().intensity.unwrap();
    assert_eq!((intensity.used, intensity.left), (1, 2));
    let text = serde_json::to_string(&tree).unwrap();
    assert_eq!(serde_json::from_str::<exesdb_supervisor::Node>(&text).unwrap(), tree);
    assert_eq!(root.stop().await, Reason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ignores_the_request_is_killed_after_its_timeout() {
    let limit = Duration::from_secs(7);
    let spec = SupervisorSpec::new("host", Strategy::OneForOne)
        .child(ChildSpec::worker("deaf", deaf).shutdown(Shutdown::Timeout(limit)));
    let options = Options::default();
    let telemetry = options.telemetry.clone();
    let root = Root::start(spec, options).await.unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(root.stop().await, Reason::Shutdown);
    assert_eq!(begin.elapsed().as_secs(), 7);
    let end = telemetry.recent().into_iter().find(|event| event.kind == "terminated").unwrap();
    assert_eq!((end.path.as_str(), &end.detail["reason"]), ("host/deaf", &"killed".into()));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_can_be_stopped_during_a_hanging_start() {
    let entered = Arc::new(tokio::sync::Notify::new());
    let enter = Arc::clone(&entered);
    let hangs = move |_: Context| {
        let enter = Arc::clone(&enter);
        async move {
            enter.notify_one();
            std::future::pending::<()>().await;
            Ok(Start::Ignore)
        }
    };
    let root = Root::start(tree(), Options::default()).await.unwrap();
    let handle = root.handle();
    let adding = {
        let handle = handle.clone();
        tokio::spawn(async move { handle.start_child("host/main", ChildSpec::worker("h", hangs)).await })
    };
    entered.notified().await;
    let seen = handle.tree().await;
    assert_eq!(seen.find("host/main/h").unwrap().state, NodeState::Starting);
    assert_eq!(root.stop().await, Reason::Shutdown);
    assert_eq!(adding.await.unwrap(), Err(CallError::NoProc { path: "host/main".into() }));
}

#[tokio::test(start_paused = true)]
async fn a_panic_becomes_an_exit_reason() {
    let spec = SupervisorSpec::new("host", Strategy::OneForOne).child(
        ChildSpec::worker("p", |_| async { Ok(Start::running(async { panic!("out of {}", "luck") })) })
            .restart(Restart::Temporary),
    );
    let options = Options::default();
    let mut events = options.telemetry.subscribe();
    let root = Root::start(spec, options).await.unwrap();
    loop {
        let event = events.recv().await.unwrap();
        if event.kind == "terminated" {
            assert_eq!(event.detail["reason"], "error:panic: out of luck");
            break;
        }
    }
    assert_eq!(root.stop().await, Reason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_start_function_is_a_failed_start() {
    let panics = ChildSpec::worker("p", |_| async { panic!("no config") });
    let spec = SupervisorSpec::new("host", Strategy::OneForOne).child(panics);
    let error = Root::start(spec, Options::default()).await.unwrap_err();
    let StartError::Failed { reason, .. } = error else { panic!("{error}") };
    assert_eq!(reason.to_string(), "shutdown:failed_to_start_child(p,error:panic: no config)");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_specification_is_refused_with_its_field() {
    let twice = SupervisorSpec::new("host", Strategy::OneForOne)
        .child(ChildSpec::worker("a", deaf))
        .child(ChildSpec::worker("a", deaf));
    let error = Root::start(twice, Options::default()).await.unwrap_err().to_string();
    assert!(error.starts_with("children: ") && error.contains("`a`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_store_that_does_not_start_is_parked_and_the_others_run() {
    // Whether the database of a store can be read.
    let readable = Arc::new(AtomicBool::new(false));
    let store = |id: &str, readable: Arc<AtomicBool>| {
        let database = ChildSpec::worker("database", move |context: Context| {
            let readable = readable.load(Ordering::SeqCst);
            async move { if readable { obedient(context).await } else { Err(Reason::error("damaged")) } }
        });
        ChildSpec::supervisor(SupervisorSpec::new(id, Strategy::OneForOne).child(database))
    };
    let spec = SupervisorSpec::new("host", Strategy::OneForOne)
        .child(store("one", Arc::clone(&readable)).park_when_given_up())
        .child(store("two", Arc::new(AtomicBool::new(true))).park_when_given_up());
    let options = Options::default();
    let telemetry = options.telemetry.clone();
    let root = Root::start(spec, options).await.unwrap();
    let handle = root.handle();
    let why = "shutdown:failed_to_start_child(database,error:damaged)";
    let parked = telemetry.recent().into_iter().find(|event| event.kind == "parked").unwrap();
    assert_eq!((parked.path.as_str(), &parked.detail["reason"]), ("host/one", &why.into()));
    let tree = handle.tree().await;
    let one = tree.find("host/one").unwrap();
    assert_eq!((one.state, one.last_exit.as_deref()), (NodeState::Parked, Some(why)));
    assert_eq!(tree.find("host/two/database").unwrap().state, NodeState::Running);
    let again = handle.restart_child("host", "one").await;
    let reason = why.parse().unwrap();
    assert_eq!(again, Err(CallError::StartFailed { path: "host".into(), reason }));
    assert_eq!(handle.tree().await.find("host/one").unwrap().state, NodeState::Parked);
    readable.store(true, Ordering::SeqCst);
    assert!(matches!(handle.restart_child("host", "one").await, Ok(Started::Running(_))));
    assert_eq!(handle.tree().await.find("host/one/database").unwrap().state, NodeState::Running);
    assert_eq!(root.stop().await, Reason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn children_that_could_not_be_restarted_cannot_be_parked() {
    let template = |_| ChildSpec::worker("w", deaf).park_when_given_up();
    for spec in [SupervisorSpec::simple("pool", template), SupervisorSpec::dynamic("pool", template, 9)] {
        let root = Root::start(spec, Options::default()).await.unwrap();
        let refusal = root.handle().start_instance("pool", serde_json::Value::Null).await.unwrap_err();
        assert!(refusal.to_string().starts_with("`pool`: park_when_given_up: child `w`"), "{refusal}");
        root.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_child_does_not_affect_its_siblings_and_is_restarted_by_call() {
    let store = |id: &str| {
        let system = SupervisorSpec::new(id, Strategy::OneForOne)
            .intensity(0, Duration::from_secs(5))
            .child(ChildSpec::worker("w", obedient));
        ChildSpec::supervisor(system).park_when_given_up()
    };
    let spec = SupervisorSpec::new("host", Strategy::OneForOne)
        .intensity(0, Duration::from_secs(5))
        .child(store("one"))
        .child(store("two"));
    let root = Root::start(spec, Options::default()).await.unwrap();
    let handle = root.handle();
    handle.exit("host/one/w", Reason::error("boom")).await.unwrap();
    settle(&root).await;
    let tree = handle.tree().await;
    assert_eq!(tree.find("host/one").unwrap().state, NodeState::Parked);
    assert_eq!(tree.find("host/two").unwrap().state, NodeState::Running);
    assert_eq!(tree.intensity.unwrap().used, 0);
    // Killed from outside more often than the parent allows: parked as well, and the parent continues.
    handle.exit("host/two", Reason::Killed).await.unwrap();
    settle(&root).await;
    assert_eq!(handle.tree().await.find("host/two").unwrap().state, NodeState::Parked);
    for id in ["one", "two"] {
        assert!(matches!(handle.restart_child("host", id).await, Ok(Started::Running(_))));
    }
    assert_eq!(handle.tree().await.find("host/one/w").unwrap().state, NodeState::Running);
    assert_eq!(root.stop().await, Reason::Shutdown);
}
