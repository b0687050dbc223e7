//! What waits in a partition, and what becomes of it after a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot::Receiver;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Resource};

use super::{Ask, Breaker, Partition, Service, Work};
use crate::bindings::store::decisions::Decision;
use crate::bindings::store::types::Error;
use crate::crash::Crash;
use crate::persistence::decider::appended::Appended;
use crate::persistence::decider::changes::{Change, Outcome};
use crate::persistence::exports::Missing;
use crate::persistence::kind::Kind;
use crate::persistence::maintenance::{self, Maintained};
use crate::problem::code::{OVERLOADED, QUARANTINED, RESTARTING, UNAVAILABLE};
use crate::state::State;
use crate::trace::Trace;
use crate::view::View;

/// A change with its number, and the number of its function.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Numbered(u32, u32);

impl Change for Numbered {
    fn bytes(&self) -> usize {
        1
    }

    fn joins(&self, before: &Self) -> bool {
        self.1 == before.1
    }

    fn frees_space(&self) -> bool {
        false
    }

    fn streams(&self) -> Option<Vec<&str>> {
        None
    }
}

struct NoExports;

impl Maintained for NoExports {
    fn maintenance(&self) -> Option<&maintenance::Exports> {
        None
    }
}

struct Probe;

impl Kind for Probe {
    type Change = Numbered;
    type Indices = ();
    type Exports = NoExports;
    const TAKES_POSITIONS: bool = false;

    fn indices(_: &Component) -> Result<(), String> {
        Ok(())
    }

    fn exports((): &(), _: &Instance, _: &mut Store<State>) -> wasmtime::Result<NoExports> {
        Ok(NoExports)
    }

    async fn decide(
        _: &NoExports,
        _: &mut Store<State>,
        _: Resource<View>,
        _: Vec<Numbered>,
    ) -> wasmtime::Result<Result<Vec<Decision>, Missing>> {
        Ok(Ok(Vec::new()))
    }

    fn wake(_: &exesdb_pubsub::Bus, _: &Numbered, _: &Appended, _: u64) {}
}

/// An ask with its number, and where its failures are counted.
struct Numbering {
    number: u32,
    failed: Arc<AtomicU32>,
    abandoned: bool,
}

impl Ask<NoExports> for Numbering {
    fn fail(self: Box<Self>, _: Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn hash(&self, hasher: &mut std::hash::DefaultHasher) {
        std::hash::Hash::hash(&self.number, hasher);
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    fn serve<'a>(
        &'a mut self,
        _: &'a NoExports,
        _: &'a mut Store<State>,
    ) -> BoxFuture<'a, wasmtime::Result<bool>> {
        Box::pin(async { Ok(true) })
    }
}

fn partition(capacity: usize) -> Arc<Partition<Probe>> {
    with_breaker(capacity, Arc::default())
}

fn with_breaker(capacity: usize, breaker: Arc<Breaker>) -> Arc<Partition<Probe>> {
    Partition::new(capacity, Arc::default(), breaker, super::DecisionOrder::default())
}

fn send(partition: &Partition<Probe>, number: u32) -> Receiver<Outcome> {
    partition.change(Numbered(number, 0), Trace::new()).expect("it is admitted")
}

fn refusal(partition: &Partition<Probe>, number: u32) -> String {
    code_of(partition.change(Numbered(number, 0), Trace::new()).expect_err("it is refused"))
}

fn code_of(error: Error) -> String {
    let Error::Problem(problem) = error else { panic!("{error:?}") };
    problem.code
}

async fn failure(receiver: Receiver<Outcome>) -> String {
    code_of(receiver.await.expect("it has an outcome").expect_err("it fails"))
}

fn ask(partition: &Partition<Probe>, number: u32, abandoned: bool) -> Arc<AtomicU32> {
    let failed = Arc::<AtomicU32>::default();
    partition.ask(Box::new(Numbering { number, failed: Arc::clone(&failed), abandoned }), Trace::new());
    failed
}

async fn next<'a>(service: &Service<'a, Probe>) -> Work<'a, Probe> {
    tokio::time::timeout(Duration::from_secs(20), service.next()).await.expect("there is work")
}

fn numbers(work: &Work<'_, Probe>) -> Vec<u32> {
    let Work::Changes(list) = work else { panic!("it is an ask") };
    list.requests().iter().map(|waiting| waiting.request.0).collect()
}

fn crash() -> Crash {
    Crash::timeout(30_000)
}

#[tokio::test]
async fn changes_of_different_functions_are_not_in_one_list() {
    let partition = partition(10);
    let mut outcomes = Vec::new();
    for (number, function) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, 0)] {
        outcomes.push(partition.change(Numbered(number, function), Trace::new()).unwrap());
    }
    let service = partition.open().await;
    for expected in [vec![1, 2], vec![3, 4], vec![5]] {
        let work = next(&service).await;
        assert_eq!(numbers(&work), expected);
        work.fail(&super::overloaded());
    }
}

#[tokio::test]
async fn a_full_partition_refuses_changes_and_asks() {
    let partition = partition(1);
    let _waits = send(&partition, 1);
    assert_eq!(refusal(&partition, 2), OVERLOADED);
    let (first, second) = (ask(&partition, 1, false), ask(&partition, 2, false));
    assert_eq!((first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)), (0, 1));
}

#[tokio::test]
async fn a_request_that_ends_two_instances_alone_is_quarantined() {
    let partition = partition(10);
    let (innocent, poison) = (send(&partition, 1), send(&partition, 2));
    let service = partition.open().await;
    partition.put_back_or_fail(next(&service).await, true, &crash());
    let work = next(&service).await;
    assert_eq!(numbers(&work), [1], "each is served alone");
    work.fail(&super::overloaded());
    assert_eq!(failure(innocent).await, OVERLOADED);
    for _ in 0..2 {
        let work = next(&service).await;
        assert_eq!(numbers(&work), [2]);
        partition.put_back_or_fail(work, true, &crash());
    }
    assert_eq!(failure(poison).await, QUARANTINED);
    assert_eq!(refusal(&partition, 2), QUARANTINED, "it is not served again");
    let _innocent = send(&partition, 1);
    assert_eq!(numbers(&next(&service).await), [1]);
}

#[tokio::test]
async fn an_ask_that_ends_two_instances_is_quarantined() {
    let partition = partition(10);
    let failed = ask(&partition, 7, false);
    let service = partition.open().await;
    for expected in [0, 1] {
        partition.put_back_or_fail(next(&service).await, true, &crash());
        assert_eq!(failed.load(Ordering::Relaxed), expected);
    }
    assert_eq!(ask(&partition, 7, false).load(Ordering::Relaxed), 1, "it is not served again");
    assert_eq!(ask(&partition, 8, false).load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_an_instance_that_is_killed_was_serving_is_served_by_the_next() {
    let partition = partition(10);
    let outcome = send(&partition, 1);
    let service = partition.open().await;
    drop(next(&service).await);
    assert_eq!(numbers(&next(&service).await), [1]);
    drop(outcome);
    let failed = ask(&partition, 2, false);
    drop(next(&service).await);
    let Work::Ask(mut ask) = next(&service).await else { panic!("it is no ask") };
    ask.get();
    ask.served();
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert!(partition.asks.lock().is_empty());
}

#[tokio::test]
async fn abandoned_requests_are_not_served() {
    let partition = partition(10);
    drop(send(&partition, 1));
    ask(&partition, 2, true);
    let kept = ask(&partition, 3, false);
    let service = partition.open().await;
    let Work::Ask(ask) = next(&service).await else { panic!("it is no ask") };
    ask.fail(super::overloaded());
    assert_eq!(kept.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_crash_that_says_nothing_about_its_request_is_no_strike() {
    let partition = partition(10);
    let service = partition.open().await;
    for _ in 0..3 {
        let slow = send(&partition, 1);
        partition.put_back_or_fail(next(&service).await, false, &crash());
        assert_eq!(failure(slow).await, RESTARTING);
    }
}

#[tokio::test]
async fn a_success_clears_earlier_strikes() {
    let partition = partition(10);
    let service = partition.open().await;
    let outcome = send(&partition, 1);
    let mut work = next(&service).await;
    assert!(partition.suspected(&mut work).is_empty());
    partition.put_back_or_fail(work, true, &crash());
    let mut work = next(&service).await;
    let suspected = partition.suspected(&mut work);
    assert_eq!(suspected.len(), 1);
    partition.record_success(&suspected);
    partition.put_back_or_fail(work, true, &crash());
    work = next(&service).await;
    assert_eq!(numbers(&work), [1], "no quarantine");
    drop((work, outcome));
}

#[tokio::test]
async fn a_partition_is_served_while_it_is_open() {
    let partition = partition(1);
    assert!(!partition.is_served());
    let service = partition.open().await;
    assert!(partition.is_served());
    drop(service);
    assert!(!partition.is_served());
}

#[tokio::test]
async fn requests_are_refused_after_a_failed_start_until_the_next_start() {
    let breaker = Arc::<Breaker>::default();
    let partition = with_breaker(10, Arc::clone(&breaker));
    let other = with_breaker(10, breaker);
    other.record_start_failure("its state is another's");
    assert_eq!(refusal(&partition, 1), UNAVAILABLE, "the failed start of one partition counts for all");
    partition.record_start();
    let _waits = send(&partition, 1);
    assert_eq!(numbers(&next(&partition.open().await).await), [1]);
}

#[tokio::test]
async fn an_open_breaker_refuses_requests_at_once() {
    let partition = partition(10);
    while !partition.breaker().crashed() {}
    assert_eq!(refusal(&partition, 1), UNAVAILABLE);
    assert_eq!(ask(&partition, 1, false).load(Ordering::Relaxed), 1);
}
