//! Streams of frames, and snapshots, when the other side is hostile, slow or gone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nodes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use exesdb_cluster::limits::LEASE;
use exesdb_cluster::{Member, Peer, SendError, SnapshotBody};
use exesdb_peers::limits::{
    ANSWERS_WAITING_MAX, GROUP_BYTES_MAX, GROUP_FRAMES_MAX, MESSAGE_BYTES_MAX, PEER_BYTES_MAX,
};
use exesdb_peers::{Endpoint, Remote};
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use nodes::raw::{Requests, frame, message};
use nodes::{Cluster, Node, raw, wait_for, within};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const GROUP: u64 = 7;
const MIB: usize = 1024 * 1024;

/// Answers messages with themselves, and snapshots with their sizes.
struct Echo {
    calls: AtomicUsize,
    /// Each call takes one.
    gate: Semaphore,
}

impl Echo {
    fn new(open: bool) -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), gate: Semaphore::new(if open { 1 << 20 } else { 0 }) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Endpoint for Echo {
    fn receive(&self, from: Remote, message: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            assert!(from.name.starts_with("node-"));
            Ok(message)
        })
    }

    fn receive_snapshot(
        &self,
        _: Remote,
        head: Bytes,
        mut body: SnapshotBody,
    ) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let mut bytes = 0;
            while let Some(part) = body.recv().await {
                bytes += part.len();
            }
            self.gate.acquire().await.unwrap().forget();
            if bytes == 0 { Err("it is empty".into()) } else { Ok(format!("{} {bytes}", head.len()).into()) }
        })
    }
}

/// Opens a stream of frames as node 2.
async fn open(cluster: &Cluster, node: &Node) -> (Sender<Bytes>, Incoming, Requests) {
    let mut requests = raw::connect_as(cluster, "node-2", &node.address, "node-1").await;
    let (status, _) = raw::say_hello(&mut requests, &raw::hello(2, 1, "raft")).await;
    assert_eq!(status, StatusCode::OK);
    let (frames, body) = Channel::<Bytes>::new(1);
    let request = Request::post("https://node/raft").body(body.boxed_unsync()).unwrap();
    let response = requests.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    (frames, response.into_body(), requests)
}

/// The next frame that is no sign of life: its kind, id and content.
async fn next(answers: &mut Incoming, bytes: &mut BytesMut) -> Option<(u8, u64, Bytes)> {
    loop {
        if let Some(length) = bytes.first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if bytes.len() >= 4 + length {
                let frame = bytes.split_to(4 + length).freeze();
                let id = u64::from_be_bytes(*frame[5..].first_chunk().unwrap());
                match frame[4] {
                    5 if id == 0 => continue,
                    kind => return Some((kind, id, frame.slice(13..))),
                }
            }
        }
        bytes.extend_from_slice(&answers.frame().await?.ok()?.into_data().unwrap_or_default());
    }
}

fn peer(number: u64) -> Peer {
    let member = Member { node: nodes::name(number), incarnation: 1_000 + number };
    Peer { replica: number, member }
}

#[tokio::test]
async fn hostile_frames_end_their_own_stream_with_a_reason() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    cluster.register(2);
    let echo = Echo::new(true);
    let attached = node.peers.attach(GROUP, echo.clone());
    let too_long = u32::try_from(MESSAGE_BYTES_MAX + 10).unwrap();
    let table: [(&str, Vec<u8>, &str); 7] = [
        ("of an unknown kind", frame(99, 1, b"x"), "of kind 99"),
        ("of the other side's kind", frame(3, 1, b"x"), "of kind 3"),
        ("too short for its head", [&8u32.to_be_bytes()[..], &[0; 8]].concat(), "of 8 bytes"),
        ("too long", too_long.to_be_bytes().to_vec(), "bytes, where 9 to"),
        ("as long as can be", u32::MAX.to_be_bytes().to_vec(), "bytes, where 9 to"),
        ("a ping with content", frame(2, 1, b"x"), "of kind 2 with 1 bytes"),
        ("cut short", frame(1, 1, &message(GROUP, 2, 1))[..20].to_vec(), "cut short"),
    ];
    for (case, bytes, reason) in table {
        within(async {
            let (mut frames, mut answers, _requests) = open(&cluster, &node).await;
            // A good one before it is answered.
            frames.send_data(frame(1, 5, &message(GROUP, 2, 1)).into()).await.unwrap();
            let read = &mut BytesMut::new();
            let (kind, id, _) = next(&mut answers, read).await.unwrap();
            assert_eq!((kind, id), (3, 5), "{case}");
            frames.send_data(bytes.into()).await.unwrap();
            drop(frames);
            let (kind, _, said) = next(&mut answers, read).await.unwrap();
            let said = String::from_utf8(said.to_vec()).unwrap();
            assert!(kind == 6 && said.contains(reason), "{case}: {said}");
            assert_eq!(next(&mut answers, read).await, None, "{case}");
        })
        .await;
    }
    assert_eq!(echo.calls(), 7, "only the good ones got there");

    let (mut frames, mut answers, _requests) = open(&cluster, &node).await;
    let read = &mut BytesMut::new();
    let table = [
        (message(8, 2, 1), "has no replica of group 8"),
        (vec![], "cut short"),
        (message(GROUP, 2, 1)[..25].to_vec(), "cut short"),
        (vec![9; 100], "has version 9"),
    ];
    for (id, (message, reason)) in (1..).zip(table) {
        frames.send_data(frame(1, id, &message).into()).await.unwrap();
        let (kind, answered, said) = within(next(&mut answers, read)).await.unwrap();
        let said = String::from_utf8(said.to_vec()).unwrap();
        assert!((kind, answered) == (4, id) && said.contains(reason), "{said}");
    }
    frames.send_data(frame(2, 77, &[]).into()).await.unwrap();
    let (kind, id, clock) = within(next(&mut answers, read)).await.unwrap();
    assert_eq!((kind, id, clock.len()), (5, 77, 8));
    drop(attached);
    frames.send_data(frame(1, 9, &message(GROUP, 2, 1)).into()).await.unwrap();
    let (kind, id, _) = within(next(&mut answers, read)).await.unwrap();
    assert_eq!((kind, id), (4, 9), "a group that was detached takes nothing");
}

#[tokio::test]
async fn a_node_that_takes_no_answers_is_read_no_further_and_others_are_served() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    let (echo, other) = (Echo::new(true), Echo::new(true));
    let _attached = (node.peers.attach(GROUP, echo.clone()), node.peers.attach(8, other));
    cluster.register(2);
    let (mut frames, answers, _requests) = open(&cluster, &node).await;
    let long = [&message(GROUP, 2, 1)[..], &[0; 10_000]].concat();
    let ask = Bytes::from(frame(1, 1, &long));
    let mut sent = 0;
    while timeout(Duration::from_secs(1), frames.send_data(ask.clone())).await.is_ok() {
        sent += 1;
        assert!(sent < 100_000, "it is read without end");
    }
    // Those that are handled and those that wait, and what the windows hold: 2 MiB of 10 kB each.
    let most = GROUP_FRAMES_MAX + ANSWERS_WAITING_MAX + 300;
    assert!(echo.calls() <= most, "{} of {sent} were handled", echo.calls());
    let three = cluster.start(3).await;
    three.connect(&[("node-1", &node.address)]);
    three.connected("node-1").await;
    let answer = within(three.peers.transport(8).send(peer(1), message(8, 3, 1).into())).await;
    assert_eq!(answer, Ok(message(8, 3, 1).into()));
    drop(answers);
}

#[tokio::test]
async fn answers_that_nobody_waits_for_are_ignored() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    cluster.register(2);
    let (address, _serving) = raw::stand_in(&cluster, 2, |request| {
        let (mut answers, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            let mut asked = request.into_body();
            let read = &mut BytesMut::new();
            while let Some((kind, id, content)) = next(&mut asked, read).await {
                if kind == 1 {
                    let all = [
                        frame(3, id + 1_000, b"unknown"),
                        frame(4, 0, b"unknown"),
                        frame(5, 12, &[0xff; 8]),
                        frame(3, id, &content),
                        frame(3, id, b"twice"),
                    ];
                    answers.send_data(all.concat().into()).await.unwrap();
                }
            }
        });
        Response::new(body.boxed_unsync())
    })
    .await;
    node.connect(&[("node-2", &address)]);
    node.connected("node-2").await;
    let transport = node.peers.transport(GROUP);
    for content in [&b"one"[..], b"two", b"three"] {
        let answer = within(transport.send(peer(2), Bytes::from_static(content))).await;
        assert_eq!(answer, Ok(Bytes::from_static(content)));
    }
    assert_eq!(node.status("node-2").unwrap().in_flight, 0);
}

#[tokio::test]
async fn answers_that_are_no_frames_end_the_connection_and_another_is_made() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    cluster.register(2);
    let streams = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&streams);
    let (address, _serving) = raw::stand_in(&cluster, 2, move |_| {
        let bytes = match counted.fetch_add(1, Ordering::SeqCst) {
            0 => vec![0xff; 1_000],
            1 => frame(1, 1, b"not its kind"),
            2 => frame(6, 0, b"enough"),
            3 => return Response::new(Full::default().boxed_unsync()),
            4 => {
                let mut refused = Response::new(Full::from("no JSON").boxed_unsync());
                *refused.status_mut() = StatusCode::FORBIDDEN;
                return refused;
            }
            _ => frame(5, 0, &[0; 8]),
        };
        let (mut answers, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            drop(answers.send_data(bytes.into()).await);
            std::future::pending::<()>().await;
        });
        Response::new(body.boxed_unsync())
    })
    .await;
    node.connect(&[("node-2", &address)]);
    // The last one is silent after its first frame, and is given up, too.
    wait_for("the next streams", || streams.load(Ordering::SeqCst) >= 7).await;
    node.says("node-2", "is silent").await;
}

#[tokio::test]
async fn a_clock_that_differs_is_reported() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    cluster.register(2);
    let (address, _serving) = raw::stand_in(&cluster, 2, |request| {
        let (mut answers, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            let mut asked = request.into_body();
            let read = &mut BytesMut::new();
            while let Some((_, id, _)) = next(&mut asked, read).await {
                let clock = nodes::now_us() - 3_600_000_000;
                drop(answers.send_data(frame(5, id, &clock.to_be_bytes()).into()).await);
            }
        });
        Response::new(body.boxed_unsync())
    })
    .await;
    node.connect(&[("node-2", &address)]);
    wait_for("the skew", || node.status("node-2").is_some_and(|status| status.is_skewed)).await;
    let skew = node.status("node-2").unwrap().clock_skew.unwrap();
    assert!((-3_700_000_000..-3_590_000_000).contains(&skew), "{skew}");
}

#[tokio::test]
async fn what_waits_for_a_node_that_reads_nothing_is_bounded_and_others_are_served() {
    let cluster = Cluster::new();
    let (node, three) = (cluster.start(1).await, cluster.start(3).await);
    let echo = Echo::new(true);
    let _attached = three.peers.attach(GROUP, echo);
    cluster.register(2);
    let (address, serving) = raw::stand_in(&cluster, 2, |request| {
        let (mut answers, body) = Channel::<Bytes>::new(1);
        tokio::spawn(async move {
            let _never_read = request;
            // It says that it is there, so that the connection is kept.
            while answers.send_data(frame(5, 0, &[0; 8]).into()).await.is_ok() {
                tokio::time::sleep(LEASE / 4).await;
            }
        });
        Response::new(body.boxed_unsync())
    })
    .await;
    node.connect(&[("node-2", &address), ("node-3", &three.address)]);
    for name in ["node-2", "node-3"] {
        node.connected(name).await;
    }
    let status = || node.status("node-2").unwrap();
    let content = Bytes::from(vec![0; MIB]);
    // Whoever asks gives up, and what waits is counted all the same.
    let ask = |group| {
        let asking = node.peers.transport(group).send(peer(2), content.clone());
        async move { timeout(Duration::from_millis(5), asking).await.ok() }
    };
    let mut refused = 0;
    for _ in 0..64 {
        match ask(GROUP).await {
            None => {}
            Some(Err(SendError::Unreachable { reason })) if reason.contains("too much waits") => refused += 1,
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(refused > 0 && status().in_flight_bytes <= GROUP_BYTES_MAX, "{:?}", status());
    for group in 100..120 {
        for _ in 0..16 {
            drop(ask(group).await);
        }
    }
    let waiting = status();
    assert!(waiting.in_flight_bytes <= PEER_BYTES_MAX, "{waiting:?}");
    assert!(waiting.in_flight_bytes > PEER_BYTES_MAX / 2, "{waiting:?}");
    let sent = message(GROUP, 1, 3);
    let answer = within(node.peers.transport(GROUP).send(peer(3), sent.clone().into())).await;
    assert_eq!(answer, Ok(sent.into()));

    serving.abort();
    wait_for("the end of what waits", || status().in_flight == 0 && status().in_flight_bytes == 0).await;
}

#[tokio::test]
async fn messages_that_a_group_does_not_handle_in_time_are_bounded() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.start(1).await, cluster.start(2).await);
    let (stuck, other) = (Echo::new(false), Echo::new(true));
    let _attached = (two.peers.attach(GROUP, stuck.clone()), two.peers.attach(8, other));
    one.connect(&[("node-2", &two.address)]);
    one.connected("node-2").await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..GROUP_FRAMES_MAX + 10 {
        asking.spawn(one.peers.transport(GROUP).send(peer(2), message(GROUP, 1, 2).into()));
    }
    for _ in 0..10 {
        let refused = within(asking.join_next()).await.unwrap().unwrap();
        assert!(matches!(refused, Err(SendError::Unreachable { .. })), "{refused:?}");
    }
    let sent = message(8, 1, 2);
    let answer = within(one.peers.transport(8).send(peer(2), sent.clone().into())).await;
    assert_eq!(answer, Ok(sent.into()), "another group goes on");
    stuck.gate.add_permits(1 << 20);
    while let Some(answer) = within(asking.join_next()).await {
        assert_eq!(answer.unwrap(), Ok(message(GROUP, 1, 2).into()));
    }
    assert_eq!(one.status("node-2").unwrap().in_flight, 0);
}

#[tokio::test]
async fn a_snapshot_arrives_whole_and_one_at_a_time() {
    let cluster = Cluster::new();
    let (one, two, three) = (cluster.start(1).await, cluster.start(2).await, cluster.start(3).await);
    let echo = Echo::new(false);
    let _attached = two.peers.attach(GROUP, echo.clone());
    for node in [&one, &three] {
        node.connect(&[("node-2", &two.address)]);
        node.connected("node-2").await;
    }
    let send = |node: &Node, from| {
        let (parts, body) = tokio::sync::mpsc::channel(4);
        let transport = node.peers.transport(GROUP);
        let sending = tokio::spawn(transport.send_snapshot(peer(2), message(GROUP, from, 2).into(), body));
        (parts, sending)
    };
    let (parts, sending) = send(&one, 1);
    for _ in 0..40 {
        parts.send(Bytes::from(vec![0; 256 * 1024])).await.unwrap();
    }
    let busy =
        |answer| matches!(answer, Err(SendError::Unreachable { reason }) if reason.contains("snapshot"));
    let (_parts, second) = send(&one, 1);
    assert!(busy(within(second).await.unwrap()), "one is sent at a time");
    wait_for("the snapshot to begin", || echo.calls() == 1).await;
    let (_parts, second) = send(&three, 3);
    assert!(busy(within(second).await.unwrap()), "one is received at a time");
    drop(parts);
    echo.gate.add_permits(1);
    assert_eq!(within(sending).await.unwrap(), Ok(format!("26 {}", 10 * MIB).into()));

    // One that is given up makes room for the next.
    let (parts, sending) = send(&three, 3);
    parts.send(Bytes::from_static(b"part")).await.unwrap();
    wait_for("the snapshot to begin", || echo.calls() == 2).await;
    sending.abort();
    echo.gate.add_permits(2);
    within(async {
        loop {
            let (parts, sending) = send(&one, 1);
            parts.send(Bytes::from_static(b"part")).await.ok();
            drop(parts);
            if sending.await.unwrap() == Ok("26 4".into()) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn hostile_snapshots_are_refused() {
    let cluster = Cluster::new();
    let node = cluster.start(1).await;
    cluster.register(2);
    let _attached = node.peers.attach(GROUP, Echo::new(true));
    let mut requests = raw::connect_as(&cluster, "node-2", &node.address, "node-1").await;
    raw::say_hello(&mut requests, &raw::hello(2, 1, "bulk")).await;
    let with_head = |head: &[u8], rest: &[u8]| {
        [&u32::try_from(head.len()).unwrap().to_be_bytes()[..], head, rest].concat()
    };
    let head = message(GROUP, 2, 1);
    let table = [
        (vec![], StatusCode::BAD_REQUEST),
        (vec![0, 0], StatusCode::BAD_REQUEST),
        (vec![0xff; 100], StatusCode::BAD_REQUEST),
        (with_head(&head, &[])[..20].to_vec(), StatusCode::BAD_REQUEST),
        (with_head(&[9; 26], b"dump"), StatusCode::BAD_REQUEST),
        (with_head(&message(8, 2, 1), b"dump"), StatusCode::NOT_FOUND),
        (with_head(&head, b""), StatusCode::CONFLICT),
        (with_head(&head, b"dump"), StatusCode::OK),
    ];
    for (content, expected) in table {
        let (status, _) = within(raw::post(&mut requests, "/snapshot", content.clone())).await.unwrap();
        assert_eq!(status, expected, "{content:?}");
    }
}
