//! Deciding on what is applied and not synced yet, with a real store: a sync that fails after the next list was decided, a
//! repeat of what is not durable, an instance that ends between, guards that keep failing, a request that ends instances.

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use exesdb_storage::{Batch, BatchError, Commit, Committed, Guard, Operation, Reader, Snapshot};
use parking_lot::Mutex;
use tokio::sync::oneshot::Receiver;

use self::disk::Disk;
use super::Decided;
use super::apply::{Observer, apply};
use super::order::DecisionOrder;
use super::plan::Decision;
use super::queue::{Full, List, Queue, QueueLimits};
use super::standing::ListLimits;
use crate::access::{CommitFailure, Decidable, StoreAccess, Tenure};
use crate::trace::Trace;

const OWNER: &str = "streams";
const KEYSPACE: &str = "sets";
const LIMITS: ListLimits = ListLimits { requests: 8, bytes: 1 << 20 };
const WAITING: QueueLimits = QueueLimits { requests: 1_000, bytes: 1 << 20 };

/// Adds an id to a set, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Add {
    set: &'static str,
    id: u8,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Added(u64),
    Repeated,
    GivenUp,
    Failed,
}

struct Sets;

impl Decided for Sets {
    type Request = Add;
    type Planned = ();
    type Outcome = Outcome;

    fn bytes(_: &Add) -> usize {
        1
    }

    fn joins(_: &Add, _: &Add) -> bool {
        true
    }

    fn applied((): (), committed: Committed) -> Outcome {
        Outcome::Added(committed.first_position)
    }

    fn failed(_: &CommitFailure) -> Outcome {
        Outcome::Failed
    }
}

struct Blind;

impl Observer<Sets> for Blind {
    fn durable(&self, _: &Add, (): &(), _: Committed) {}

    fn refused(&self, error: &BatchError) -> Outcome {
        assert!(matches!(error, BatchError::GuardFailed { .. }), "{error}");
        Outcome::GivenUp
    }
}

struct Seeing(mpsc::Sender<(u8, u64)>);

impl Observer<Sets> for Seeing {
    fn durable(&self, add: &Add, (): &(), committed: Committed) {
        // The test may have ended.
        let _ = self.0.send((add.id, committed.first_position));
    }

    fn refused(&self, error: &BatchError) -> Outcome {
        panic!("{error}")
    }
}

/// Decides as a component does: on the view, and on its own earlier decisions of the list.
fn decide(view: &Snapshot, list: &[Add]) -> Vec<Decision<Outcome, ()>> {
    let mut planned: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let decide = |add: &Add| {
        let stored = view.get(OWNER, KEYSPACE, add.set.as_bytes()).expect("the store is open");
        let stored = stored.map(|ids| ids.to_vec());
        if stored.as_ref().is_some_and(|ids| ids.contains(&add.id)) {
            return Decision::Done(Outcome::Repeated);
        }
        let before = planned.get(add.set).cloned().or(stored);
        if before.as_ref().is_some_and(|ids| ids.contains(&add.id)) {
            return Decision::Later;
        }
        let (keyspace, key) = (KEYSPACE.to_owned(), add.set.as_bytes().to_vec());
        let guard = match &before {
            None => Guard::Absent { keyspace: keyspace.clone(), key: key.clone() },
            Some(ids) => Guard::Equals { keyspace: keyspace.clone(), key: key.clone(), value: ids.clone() },
        };
        let mut after = before.unwrap_or_default();
        after.push(add.id);
        planned.insert(add.set, after.clone());
        let put = Operation::Put {
            keyspace,
            key,
            value: after,
            key_stamps: vec![],
            value_stamps: vec![],
            chain: None,
        };
        let batch = Batch { guards: vec![guard], operations: vec![put], events: 1, ..Batch::default() };
        Decision::Commit(batch, ())
    };
    list.iter().map(decide).collect()
}

fn decidable(disk: &Disk) -> Decidable {
    Decidable { backend: Arc::clone(StoreAccess::of(disk.store()).backend()), tenure: Tenure::default() }
}

/// A worker that decides list after list with `decide`; an error ends its instance.
fn work(
    disk: &Disk,
    queue: &Arc<Queue<Sets>>,
    mut decide: impl FnMut(&Reader, &[Add]) -> Option<Vec<Decision<Outcome, ()>>> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let (queue, reader, writer) = (Arc::clone(queue), disk.store().reader(), decidable(disk));
    tokio::spawn(async move {
        loop {
            let list = queue.next_requests().await.with_turn().await;
            let requests: Vec<Add> = list.requests().iter().map(|waiting| waiting.request).collect();
            match decide(&reader, &requests) {
                Some(decisions) => assert!(apply(list, decisions, commit(), &writer, Blind).is_ok()),
                None if requests.len() == 1 => list.end_with(|| Outcome::Failed),
                None => list.put_back_after_crash(),
            }
        }
    })
}

/// A worker as it should be. It counts the lists.
fn sound_worker(disk: &Disk, queue: &Arc<Queue<Sets>>) -> Arc<AtomicUsize> {
    let lists = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lists);
    drop(work(disk, queue, move |reader, list| {
        count.fetch_add(1, Ordering::SeqCst);
        Some(decide(&reader.applied(), list))
    }));
    lists
}

fn add(queue: &Queue<Sets>, set: &'static str, id: u8) -> Receiver<Outcome> {
    queue.push(Add { set, id }, Trace::new()).expect("there is room in the queue")
}

async fn outcomes(receivers: Vec<Receiver<Outcome>>) -> Vec<Outcome> {
    let mut all = Vec::new();
    for receiver in receivers {
        all.push(receiver.await.expect("each request has an outcome"));
    }
    all
}

fn queue() -> Arc<Queue<Sets>> {
    Queue::new(WAITING, LIMITS, DecisionOrder::default())
}

fn commit() -> Commit {
    Commit { owner: OWNER.into(), ..Commit::default() }
}

fn is_open(receiver: &mut Receiver<Outcome>) -> bool {
    matches!(receiver.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_applied_once_and_in_order_and_repeats_are_recognized() {
    let disk = Disk::new();
    let queue = queue();
    let receivers = (0..50).map(|id| add(&queue, "a", id)).collect();
    let twice = [add(&queue, "b", 1), add(&queue, "b", 1)];
    sound_worker(&disk, &queue);
    let positions: Vec<Outcome> = (0..50).map(Outcome::Added).collect();
    assert_eq!(outcomes(receivers).await, positions);
    assert_eq!(
        outcomes(twice.into()).await,
        [Outcome::Added(50), Outcome::Repeated],
        "put off and decided again"
    );
    assert_eq!(outcomes(vec![add(&queue, "a", 7)]).await, [Outcome::Repeated]);
    assert_eq!(disk.set("a"), (0..50).collect::<Vec<u8>>());
}

/// On the durable state, the guards of every second list would fail.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_list_is_decided_while_the_last_one_is_synced() {
    let disk = Disk::new();
    let queue = queue();
    let failed = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&failed);
    let mut decided = BTreeSet::new();
    drop(work(&disk, &queue, move |reader, list| {
        seen.fetch_add(list.iter().filter(|add| !decided.insert(add.id)).count(), Ordering::SeqCst);
        Some(decide(&reader.applied(), list))
    }));
    disk.hold();
    let mut receivers = vec![add(&queue, "a", 0)];
    for id in 1..10 {
        disk.applied();
        receivers.push(add(&queue, "a", id));
        disk.go.send(Ok(())).expect("the committer waits");
    }
    disk.applied();
    disk.release(Ok(()));
    assert_eq!(outcomes(receivers).await.len(), 10);
    assert_eq!(disk.set("a"), (0..10).collect::<Vec<u8>>());
    assert_eq!(failed.load(Ordering::SeqCst), 0, "no request was decided twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_fails_the_list_that_was_decided_meanwhile() {
    let mut disk = Disk::new();
    let queue = queue();
    let lists = sound_worker(&disk, &queue);
    disk.hold();
    let first = add(&queue, "a", 0);
    disk.applied();
    let second = add(&queue, "a", 1);
    while lists.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    disk.release(Err(io::Error::other("the disk is on fire")));
    assert_eq!(outcomes(vec![first, second]).await, [Outcome::Failed, Outcome::Failed]);
    assert!(disk.set("a").is_empty());
    disk.reopen();
    let found = disk.set("a");
    assert!(found.is_empty() || found == [0], "what was written may be there, in order: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_what_is_not_durable_waits_for_its_sync_and_fails_with_it() {
    for outcome in [Ok(()), Err(io::Error::other("the disk is on fire"))] {
        let is_ok = outcome.is_ok();
        let disk = Disk::new();
        let queue = queue();
        let lists = sound_worker(&disk, &queue);
        disk.hold();
        let first = add(&queue, "a", 0);
        disk.applied();
        let mut repeat = add(&queue, "a", 0);
        while lists.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(is_open(&mut repeat), "what it was decided on is not durable");
        disk.release(outcome);
        let expected =
            if is_ok { [Outcome::Added(0), Outcome::Repeated] } else { [Outcome::Failed, Outcome::Failed] };
        assert_eq!(outcomes(vec![first, repeat]).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_killed_while_it_decides_loses_no_request() {
    let disk = Disk::new();
    let queue = queue();
    let receivers: Vec<_> = (0..20).map(|id| add(&queue, "a", id)).collect();
    let taken = Arc::new(tokio::sync::Notify::new());
    let (notice, of_queue) = (Arc::clone(&taken), Arc::clone(&queue));
    let killed = tokio::spawn(async move {
        let _list = of_queue.next_requests().await;
        notice.notify_one();
        std::future::pending::<()>().await;
    });
    taken.notified().await;
    killed.abort();
    drop(killed.await);
    sound_worker(&disk, &queue);
    assert_eq!(outcomes(receivers).await, (0..20).map(Outcome::Added).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_killed_after_it_decided_changes_nothing_for_the_callers() {
    let disk = Disk::new();
    let queue = queue();
    let worker = work(&disk, &queue, |reader, list| Some(decide(&reader.applied(), list)));
    disk.hold();
    let first = add(&queue, "a", 0);
    disk.applied();
    worker.abort();
    drop(worker.await);
    let repeat = add(&queue, "a", 0);
    sound_worker(&disk, &queue);
    disk.release(Ok(()));
    assert_eq!(outcomes(vec![first, repeat]).await, [Outcome::Added(0), Outcome::Repeated]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_guards_keep_failing_is_alone_in_the_end_and_keeps_its_place() {
    let disk = Disk::new();
    let queue = queue();
    let receivers = vec![add(&queue, "a", 1), add(&queue, "a", 2), add(&queue, "b", 3)];
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let (seen, writer) = (Arc::clone(&attempts), disk.store().writer());
    let mut foreign = 100;
    drop(work(&disk, &queue, move |reader, list| {
        seen.lock().push(list.to_vec());
        let decisions = decide(&reader.applied(), list);
        // Somebody else changes the set between decision and batch, until the request is alone.
        if list.len() > 1 && list[0].set == "a" {
            foreign += 1;
            let put = Operation::Put {
                keyspace: KEYSPACE.into(),
                key: b"a".to_vec(),
                value: vec![foreign],
                key_stamps: vec![],
                value_stamps: vec![],
                chain: None,
            };
            let batch = Batch { operations: vec![put], ..Batch::default() };
            writer
                .commit_blocking(Commit { owner: OWNER.into(), batches: vec![batch], ..Commit::default() })
                .expect("it is applied");
        }
        Some(decisions)
    }));
    let outcomes = outcomes(receivers).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Added(_))), "{outcomes:?}");
    assert_eq!(disk.set("a"), [foreign_last(&disk), 1, 2], "in the order in which they came");
    let attempts = attempts.lock();
    let of_first = attempts.iter().filter(|list| list.iter().any(|add| add.id == 1)).count();
    assert_eq!(of_first, 8, "{attempts:?}");
    assert_eq!(attempts.iter().filter(|list| list.iter().any(|add| add.id == 3)).count(), 1);
}

/// What the last foreign batch wrote.
fn foreign_last(disk: &Disk) -> u8 {
    disk.set("a")[0]
}

/// A component whose guards contradict what it reads must not keep the queue busy for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_guard_never_holds_is_given_up() {
    let disk = Disk::new();
    let queue = queue();
    let lists = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lists);
    drop(work(&disk, &queue, move |_, list| {
        count.fetch_add(1, Ordering::SeqCst);
        let key = list[0].set.as_bytes().to_vec();
        let guard = Guard::Equals { keyspace: KEYSPACE.into(), key, value: b"never".to_vec() };
        let batch = || Batch { guards: vec![guard.clone()], events: 1, ..Batch::default() };
        Some(list.iter().map(|_| Decision::Commit(batch(), ())).collect())
    }));
    assert_eq!(outcomes(vec![add(&queue, "a", 1)]).await, [Outcome::GivenUp]);
    assert_eq!(lists.load(Ordering::SeqCst), 16);
}

/// Between two queues of one order, guards find what came between, and the eighth attempt is alone.
#[tokio::test(flavor = "multi_thread")]
async fn queues_that_decide_side_by_side_lose_nothing() {
    let disk = Disk::new();
    let order = DecisionOrder::default();
    let queues: Vec<_> = (0..4).map(|_| Queue::new(WAITING, LIMITS, order.clone())).collect();
    queues.iter().for_each(|queue| drop(sound_worker(&disk, queue)));
    let receivers = (0..200_u8).map(|id| add(&queues[usize::from(id) % 4], "a", id)).collect();
    let outcomes = outcomes(receivers).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Added(_))), "{outcomes:?}");
    let mut ids = disk.set("a");
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<u8>>());
}

/// What follows an outcome must also happen for a caller that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn outcomes_are_observed_when_they_are_durable() {
    let disk = Disk::new();
    let queue = queue();
    let receiver = add(&queue, "a", 1);
    let list = queue.next_requests().await.with_turn().await;
    let decisions = decide(&disk.store().reader().applied(), &[Add { set: "a", id: 1 }]);
    drop(receiver);
    let (sender, observed) = mpsc::channel();
    disk.hold();
    assert!(apply(list, decisions, commit(), &decidable(&disk), Seeing(sender)).is_ok());
    disk.applied();
    assert!(observed.try_recv().is_err(), "it is not durable");
    disk.release(Ok(()));
    assert_eq!(observed.recv_timeout(Duration::from_secs(20)), Ok((1, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ends_instances_fails_alone_and_the_others_are_served() {
    const POISON: u8 = 66;
    let disk = Disk::new();
    let queue = queue();
    let ids = [0, 1, 2, POISON, 4, 5, 6, 7];
    let receivers = ids.map(|id| add(&queue, "a", id)).into();
    let lists = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lists);
    drop(work(&disk, &queue, move |reader, list| {
        seen.lock().push(list.len());
        let is_poisonous = list.iter().any(|add| add.id == POISON);
        (!is_poisonous).then(|| decide(&reader.applied(), list))
    }));
    let outcomes = outcomes(receivers).await;
    for (id, outcome) in ids.iter().zip(&outcomes) {
        assert_eq!(*outcome == Outcome::Failed, *id == POISON, "{outcomes:?}");
    }
    assert_eq!(disk.set("a"), [0, 1, 2, 4, 5, 6, 7]);
    assert_eq!(lists.lock()[..3], [8, 1, 1], "a list that ended an instance is divided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_bounded_and_drops_those_who_left() {
    // Each request has one byte.
    for limits in [QueueLimits { requests: 2, ..WAITING }, QueueLimits { bytes: 2, ..WAITING }] {
        let disk = Disk::new();
        let queue = Queue::new(limits, LIMITS, DecisionOrder::default());
        let left = add(&queue, "a", 1);
        let stays = add(&queue, "a", 2);
        assert_eq!(queue.push(Add { set: "a", id: 3 }, Trace::new()).err(), Some(Full), "{limits:?}");
        drop(left);
        sound_worker(&disk, &queue);
        assert_eq!(outcomes(vec![stays]).await, [Outcome::Added(0)]);
        assert_eq!(disk.set("a"), [2]);
        // There is room again.
        assert_eq!(outcomes(vec![add(&queue, "a", 3)]).await, [Outcome::Added(1)]);
    }
    let queue: Arc<Queue<Sets>> =
        Queue::new(QueueLimits { bytes: 0, ..WAITING }, LIMITS, DecisionOrder::default());
    assert!(
        queue.push(Add { set: "a", id: 1 }, Trace::new()).is_ok(),
        "an empty queue takes a request of any size"
    );
}

/// A list that was decided against the contract is put back as it was.
#[tokio::test(flavor = "multi_thread")]
async fn decisions_that_break_the_contract_write_nothing() {
    let disk = Disk::new();
    let queue = queue();
    let receiver = add(&queue, "a", 1);
    let list: List<Sets> = queue.next_requests().await.with_turn().await;
    let Err((_, list)) = apply(list, vec![Decision::Later], commit(), &decidable(&disk), Blind) else {
        panic!("it is refused")
    };
    drop(list);
    sound_worker(&disk, &queue);
    assert_eq!(outcomes(vec![receiver]).await, [Outcome::Added(0)]);
}
