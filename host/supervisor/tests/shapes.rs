//! Tests what exceeds OTP's supervisor (partitions, dynamic children, pauses) and the ends that OTP does not define.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use exesdb_supervisor::{
    Backoff, CallError, ChildSpec, Context, NodeState, Options, Reason, Restart, Root, Shutdown, Start,
    Started, Strategy, SupervisorSpec, Telemetry, partition_of,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;

async fn obedient(context: Context) -> Result<Start, Reason> {
    let shutdown = context.shutdown();
    Ok(Start::running(async move {
        shutdown.requested().await;
        Reason::Shutdown
    }))
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

#[tokio::test(start_paused = true)]
async fn partitions_are_found_by_key_through_the_registry() {
    let options = Options::default();
    let registry = options.registry.clone();
    let spec = SupervisorSpec::partitions("writers", 4, |index| {
        ChildSpec::worker("ignored", move |context: Context| async move {
            let name = context.registry().register(format!("writers/{index}"), Arc::new(index));
            let body = obedient(context).await?;
            let Start::Running(body) = body else { return Ok(Start::Ignore) };
            Ok(Start::running(async move {
                let _name = name;
                body.await
            }))
        })
    });
    let root = Root::start(spec, options).await.unwrap();
    let ids: Vec<String> = root.handle().tree().await.children.into_iter().map(|child| child.id).collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
    let index = partition_of(b"stream-7", 4);
    assert_eq!(registry.get::<usize>(&format!("writers/{index}")).as_deref(), Some(&index));
    root.stop().await;
    assert!(registry.names().is_empty(), "names go with their children");
}

#[tokio::test(start_paused = true)]
async fn dynamic_children_come_from_the_template_or_by_specification() {
    let template = |argument: serde_json::Value| {
        ChildSpec::worker(argument["id"].as_str().unwrap_or_default(), obedient).restart(Restart::Transient)
    };
    let root = Root::start(SupervisorSpec::dynamic("pool", template, 2), Options::default()).await.unwrap();
    let handle = root.handle();
    let Started::Running(pid) = handle.start_instance("pool", json!({ "id": "a" })).await.unwrap() else {
        panic!("it runs")
    };
    handle.start_child("pool", ChildSpec::worker("b", obedient)).await.unwrap();
    let third = handle.start_instance("pool", json!({ "id": "c" })).await;
    assert_eq!(third, Err(CallError::MaxChildren { path: "pool".into(), max_children: 2 }));
    let nameless = handle.start_instance("pool", json!({})).await.unwrap_err().to_string();
    assert!(nameless.contains("id: ``"), "{nameless}");
    handle.exit("pool/a", Reason::error("boom")).await.unwrap();
    settle(&root).await;
    assert!(handle.is_running("pool/a"));
    assert!(!handle.is_running_process("pool", pid), "it is another process now");
    handle.terminate_process("pool", pid).await.unwrap();
    assert!(handle.is_running("pool/a"), "the old process is not the new one");
    handle.exit("pool/a", Reason::Normal).await.unwrap();
    settle(&root).await;
    assert_eq!(handle.count_children("pool").await.unwrap().specs, 1, "Elixir counts the children");
    handle.terminate_child("pool", "b").await.unwrap();
    let unknown = handle.terminate_child("pool", "b").await;
    assert_eq!(unknown, Err(CallError::NotFound { path: "pool".into(), id: "b".into() }));
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_can_be_stopped_during_a_pause() {
    let hour = Duration::from_secs(3600);
    let fails_again = |context: Context| async move {
        if context.incarnation() > 1 { Err(Reason::error("still down")) } else { obedient(context).await }
    };
    let spec = SupervisorSpec::new("host", Strategy::OneForOne)
        .child(ChildSpec::worker("w", fails_again).backoff(Backoff::new(hour, hour)));
    let root = Root::start(spec, Options::default()).await.unwrap();
    let handle = root.handle();
    let begin = tokio::time::Instant::now();
    handle.exit("host/w", Reason::Killed).await.unwrap();
    settle(&root).await;
    assert_eq!(handle.tree().await.find("host/w").unwrap().state, NodeState::Restarting);
    assert_eq!(root.stop().await, Reason::Shutdown);
    assert!(begin.elapsed() < Duration::from_secs(1), "virtual time: the pause was not waited for");
}

#[tokio::test(start_paused = true)]
async fn an_infinite_shutdown_ends_below_a_killed_supervisor() {
    let deaf = ChildSpec::worker("deaf", |_| async { Ok(Start::running(std::future::pending())) })
        .shutdown(Shutdown::Infinity);
    let inner = SupervisorSpec::new("inner", Strategy::OneForOne).child(deaf);
    let outer = SupervisorSpec::new("outer", Strategy::OneForOne).child(ChildSpec::supervisor(inner));
    let spec = SupervisorSpec::new("host", Strategy::OneForOne).child(ChildSpec::supervisor(outer));
    let telemetry = Telemetry::new();
    let options = Options { telemetry: telemetry.clone(), ..Options::default() };
    let root = Root::start(spec, options).await.unwrap();
    let begin = tokio::time::Instant::now();
    root.handle().exit("host/outer", Reason::Killed).await.unwrap();
    settle(&root).await;
    assert_eq!(begin.elapsed().as_secs(), 5);
    let ends: Vec<String> = telemetry
        .recent()
        .iter()
        .filter(|event| event.kind.ends_with("terminated"))
        .map(|event| format!("{} {}", event.path, event.detail["reason"].as_str().unwrap_or_default()))
        .collect();
    // As in OTP: the killed supervisor first, then its subtree, the deepest first.
    assert_eq!(ends, ["host/outer killed", "host/outer/inner/deaf killed", "host/outer/inner killed"]);
    assert!(root.handle().is_running("host/outer/inner/deaf"), "and it is back");
}

/// On real threads, one of which is blocked until the test lets it go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_that_does_not_yield_is_reported_and_delays_its_successor() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (released, blocks) = (Arc::new(Mutex::new(Some(released))), Arc::new(Notify::new()));
    let entered = Arc::clone(&blocks);
    let blocked = move |context: Context| {
        let (released, entered) = (released.lock().take(), Arc::clone(&entered));
        async move {
            // Only the first incarnation finds the channel.
            let Some(released) = released else { return obedient(context).await };
            Ok(Start::running(async move {
                entered.notify_one();
                let _ = released.recv(); // blocks the thread; ends as well if the test fails before it sends
                std::future::pending().await
            }))
        }
    };
    let child = ChildSpec::worker("w", blocked).shutdown(Shutdown::BrutalKill);
    // One for all: the crash of the sibling makes the supervisor kill it and start another one.
    let spec = SupervisorSpec::new("host", Strategy::OneForAll)
        .child(child)
        .child(ChildSpec::worker("sibling", obedient));
    let telemetry = Telemetry::new();
    let options = Options { telemetry: telemetry.clone(), ..Options::default() };
    let root = Root::start(spec, options).await.unwrap();
    let handle = root.handle();
    let mut events = telemetry.subscribe_from_oldest();
    let mut until = async |kind: &str| loop {
        let event = events.recv().await.unwrap();
        if event.path == "host/w" {
            assert_eq!(event.kind, kind, "{event:?}");
            return event;
        }
    };
    until("started").await;
    blocks.notified().await;
    handle.exit("host/sibling", Reason::error("boom")).await.unwrap();
    assert_eq!(until("kill_pending").await.detail, json!({ "after_ms": 1000 }));
    let tree = handle.tree().await;
    assert_eq!(tree.find("host/w").unwrap().state, NodeState::Stopping);
    assert!(handle.is_running("host/w"), "it has not ended");
    release.send(()).unwrap();
    assert_eq!(until("terminated").await.detail["reason"], "killed");
    assert_eq!(until("started").await.detail["incarnation"], 2);
    assert_eq!(root.stop().await, Reason::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_dropped_before_its_end_is_reported() {
    struct Lock {
        telemetry: Telemetry,
        told_first: Arc<AtomicBool>,
    }
    impl Drop for Lock {
        fn drop(&mut self) {
            let told = self.telemetry.recent().iter().any(|event| event.kind == "terminated");
            self.told_first.store(told, Ordering::SeqCst);
        }
    }
    for reason in [Reason::Killed, Reason::error("boom")] {
        let told_first = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&told_first);
        let holder = move |context: Context| {
            let lock = Lock { telemetry: context.telemetry().clone(), told_first: Arc::clone(&seen) };
            async move {
                Ok(Start::running(async move {
                    let _lock = lock;
                    std::future::pending().await
                }))
            }
        };
        let child = ChildSpec::worker("w", holder).restart(Restart::Temporary);
        let spec = SupervisorSpec::new("host", Strategy::OneForOne).child(child);
        let root = Root::start(spec, Options::default()).await.unwrap();
        root.handle().exit("host/w", reason).await.unwrap();
        settle(&root).await;
        assert!(!told_first.load(Ordering::SeqCst), "a successor could have met the old body");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_root_stops_the_tree() {
    let telemetry = Telemetry::new();
    let options = Options { telemetry: telemetry.clone(), ..Options::default() };
    let spec = SupervisorSpec::new("host", Strategy::OneForOne).child(ChildSpec::worker("w", obedient));
    let root = Root::start(spec, options).await.unwrap();
    let mut events = telemetry.subscribe();
    drop(root);
    let kinds = [events.recv().await.unwrap().kind.clone(), events.recv().await.unwrap().kind.clone()];
    assert_eq!(kinds, ["terminated", "sup_terminated"]);
}

#[test]
fn no_child_survives_the_runtime() {
    let telemetry = Telemetry::new();
    let options = Options { telemetry: telemetry.clone(), ..Options::default() };
    let spec = SupervisorSpec::new("host", Strategy::OneForOne).child(ChildSpec::worker("w", obedient));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let root = runtime.block_on(Root::start(spec, options)).unwrap();
    drop(runtime);
    let told =
        |path: &str| telemetry.recent().iter().any(|event| event.path == path && event.kind == "terminated");
    assert!(told("host/w"));
    drop(root);
}

#[test]
fn public_futures_are_send() {
    fn sent<T: Send>(_: T) {}
    sent(Root::start(SupervisorSpec::new("host", Strategy::OneForOne), Options::default()));
    fn stopped(root: Root) {
        sent(root.stop());
    }
    let _ = stopped;
}
