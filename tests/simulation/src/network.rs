//! The network between simulated nodes: messages as datagrams of turmoil's simulated UDP.
//!
//! A transport promises nothing: messages may be lost, repeated and overtake each other. Datagrams do all of that, whereas a
//! connection would hide it, and each message takes a way of its own through latencies and partitions.
//!
//! ```text
//! frame    kind u8, number of the request u64, sender: replica u64, incarnation u64, node (bytes u8, name), content
//! content  request: the message; snapshot: bytes of the head u32, head, body; answer: 1, answer, or 0, reason
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use exesdb_cluster::{Member, Peer, SendError, SnapshotBody, Transport};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use turmoil::net::UdpSocket;

use crate::history::Recorder;
use crate::trace::{Event, hash_of};

/// The port of every node.
pub const PORT: u16 = 7000;
/// How long a node waits for the answer to a message.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How long a node waits until a snapshot is installed.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(5);

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message to a group.
    Request,
    /// The head of a snapshot with the snapshot.
    Snapshot,
    /// What a group answered.
    Answer,
}

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What is in it.
    pub kind: Kind,
    /// The request that it is or answers.
    pub number: u64,
    /// Who sent it.
    pub from: Peer,
    /// What follows.
    pub content: Bytes,
}

impl Frame {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Self { kind, number, from: Peer { replica, member }, content } = self;
        let mut out = vec![*kind as u8];
        for number in [*number, *replica, member.incarnation] {
            out.extend(number.to_be_bytes());
        }
        out.push(u8::try_from(member.node.len()).expect("names of nodes are short"));
        out.extend(member.node.as_bytes());
        out.extend(content);
        out
    }

    /// From bytes, which only [`encode`](Self::encode) makes.
    ///
    /// # Panics
    ///
    /// If it has not made them.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let kind = [Kind::Request, Kind::Snapshot, Kind::Answer][usize::from(bytes[0])];
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("it has 8 bytes"));
        let name_end = 26 + usize::from(bytes[25]);
        let node = String::from_utf8(bytes[26..name_end].to_vec()).expect("a name is text");
        let from = Peer { replica: number(9), member: Member { node, incarnation: number(17) } };
        Self { kind, number: number(1), from, content: Bytes::copy_from_slice(&bytes[name_end..]) }
    }

    fn what(&self) -> &'static str {
        const NAMES: [&str; 7] = ["?", "vote", "pre-vote", "append", "snapshot", "read-index", "successor"];
        match self.kind {
            Kind::Request => NAMES[usize::from(self.content[1]).min(6)],
            Kind::Snapshot => "snapshot",
            Kind::Answer => match self.content[0] {
                0 => "refusal",
                _ => ["?", "vote!", "pre-vote!", "append!", "snapshot!", "read-index!", "successor!"]
                    [usize::from(self.content[2]).min(6)],
            },
        }
    }

    /// A snapshot has the time of the machine in it, so nothing of its content is compared.
    fn hash(&self) -> u64 {
        if self.kind == Kind::Snapshot { 0 } else { hash_of(&self.content) }
    }
}

/// How unreliable the network is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// One in so many datagrams is lost, unless 0.
    pub lost: u32,
    /// One in so many datagrams arrives twice, unless 0.
    pub doubled: u32,
}

/// The network as one running node has it.
pub struct Wire {
    node: usize,
    me: Peer,
    socket: UdpSocket,
    addresses: Arc<BTreeMap<String, SocketAddr>>,
    loss: Loss,
    random: Mutex<fastrand::Rng>,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Result<Bytes, SendError>>>>,
    recorder: Recorder,
}

impl Wire {
    /// Opens the node's port.
    ///
    /// # Panics
    ///
    /// If it is open.
    pub async fn bind(
        node: usize,
        me: Peer,
        addresses: Arc<BTreeMap<String, SocketAddr>>,
        loss: Loss,
        seed: u64,
        recorder: Recorder,
    ) -> Arc<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).await.expect("the port is free");
        Arc::new(Self {
            node,
            me,
            socket,
            addresses,
            loss,
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            recorder,
        })
    }

    /// The next request of another node. Answers are given to who waits for them.
    ///
    /// # Panics
    ///
    /// If the port is closed.
    pub async fn request(&self, buffer: &mut [u8]) -> Frame {
        loop {
            let (length, _) = self.socket.recv_from(buffer).await.expect("the port is open");
            assert!(length < buffer.len(), "a datagram fits into the buffer");
            let frame = Frame::decode(&buffer[..length]);
            let (node, kind, bytes, hash) = (self.node, frame.what(), frame.content.len(), frame.hash());
            self.recorder.add(Event::Got { node, kind, bytes, hash });
            if frame.kind != Kind::Answer {
                return frame;
            }
            // An answer that comes twice, or too late, is for nobody.
            let Some(waiting) = self.waiting.lock().remove(&frame.number) else { continue };
            let content = frame.content.slice(1..);
            let refused = || SendError::Refused { reason: String::from_utf8_lossy(&content).into_owned() };
            drop(waiting.send(if frame.content[0] == 1 { Ok(content.clone()) } else { Err(refused()) }));
        }
    }

    /// Answers a request.
    pub fn answer(&self, request: &Frame, answer: Result<Bytes, String>) {
        let content = match answer {
            Ok(answer) => [&[1], &answer[..]].concat(),
            Err(reason) => [&[0], reason.as_bytes()].concat(),
        };
        self.send_frame(&request.from.member.node, Kind::Answer, request.number, content.into());
    }

    fn send_frame(&self, to: &str, kind: Kind, number: u64, content: Bytes) {
        let frame = Frame { kind, number, from: self.me.clone(), content };
        let copies = {
            let mut random = self.random.lock();
            let mut hits = |one_in: u32| one_in > 0 && random.u32(..one_in) == 0;
            if hits(self.loss.lost) { 0 } else { 1 + u8::from(hits(self.loss.doubled)) }
        };
        let (from, kind, bytes, hash) = (self.node, frame.what(), frame.content.len(), frame.hash());
        self.recorder.add(Event::Sent { from, to: to.to_owned(), kind, bytes, hash, copies });
        let Some(address) = self.addresses.get(to) else { return };
        let bytes = frame.encode();
        for _ in 0..copies {
            // A network that cannot take it has lost it.
            drop(self.socket.try_send_to(&bytes, *address));
        }
    }

    fn ask(
        self: &Arc<Self>,
        to: Peer,
        kind: Kind,
        content: Bytes,
        wait: Duration,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let wire = Arc::clone(self);
        Box::pin(async move {
            let number = wire.next.fetch_add(1, Ordering::Relaxed);
            let (tx, rx) = oneshot::channel();
            wire.waiting.lock().insert(number, tx);
            let _forget = Forget(&wire, number);
            wire.send_frame(&to.member.node, kind, number, content);
            match tokio::time::timeout(wait, rx).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) | Err(_) => Err(SendError::Unreachable { reason: "no answer".into() }),
            }
        })
    }
}

/// Nobody waits for an answer any more.
struct Forget<'a>(&'a Wire, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.waiting.lock().remove(&self.1);
    }
}

/// The handle that a group gets.
pub struct Handle(pub Arc<Wire>);

impl Transport for Handle {
    fn send(&self, to: Peer, message: Bytes) -> BoxFuture<'static, Result<Bytes, SendError>> {
        self.0.ask(to, Kind::Request, message, ANSWER_WAIT)
    }

    fn send_snapshot(
        &self,
        to: Peer,
        head: Bytes,
        mut body: SnapshotBody,
    ) -> BoxFuture<'static, Result<Bytes, SendError>> {
        let wire = Arc::clone(&self.0);
        Box::pin(async move {
            let length = u32::try_from(head.len()).expect("a head is short");
            let mut content = [&length.to_be_bytes()[..], &head].concat();
            while let Some(chunk) = body.recv().await {
                content.extend(chunk);
            }
            wire.ask(to, Kind::Snapshot, content.into(), SNAPSHOT_WAIT).await
        })
    }
}

/// The head and the body of a snapshot.
#[must_use]
pub fn split_snapshot(content: &Bytes) -> (Bytes, Bytes) {
    let (length, _) = content.split_first_chunk().expect("it has a length");
    let end = 4 + u32::from_be_bytes(*length) as usize;
    (content.slice(4..end), content.slice(end..))
}
