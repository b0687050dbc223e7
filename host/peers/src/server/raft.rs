//! The stream of frames that another node has opened: its messages go to their groups, and the answers back.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use exesdb_cluster::addressed;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::body::{Body, boxed};
use crate::clock::now_us;
use crate::dial::explain;
use crate::endpoint::Endpoint;
use crate::frame::{Decoder, Frame, Side};
use crate::identity::Remote;
use crate::limits::{
    ANSWER_BYTES_MAX, ANSWERS_WAITING_MAX, GROUP_BYTES_MAX, GROUP_FRAMES_MAX, PEER_BYTES_MAX,
    PEER_FRAMES_MAX, PING_EVERY,
};
use crate::meter::{Meter, Permit};
use crate::node::Node;
use crate::queue::{Frames, Waiting};

/// Begins to take frames. The answer is a stream of frames, too.
pub(super) fn receive(node: Arc<Node>, remote: Remote, body: Incoming) -> Response<Body> {
    let (answers, queue) = mpsc::channel(ANSWERS_WAITING_MAX);
    let taking = Taking {
        node,
        remote,
        answers,
        all: Meter::new(PEER_FRAMES_MAX, PEER_BYTES_MAX),
        groups: HashMap::new(),
    };
    // It ends with the connection, which ends the body.
    tokio::spawn(taking.run(body));
    Response::new(boxed(Frames::new(queue)))
}

struct Taking {
    node: Arc<Node>,
    remote: Remote,
    answers: mpsc::Sender<Waiting>,
    /// What is handled of all groups, and of each.
    all: Arc<Meter>,
    groups: HashMap<u64, Arc<Meter>>,
}

impl Taking {
    async fn run(mut self, body: Incoming) {
        let reason = self.take(body).await;
        let peer = self.remote.name.as_str();
        tracing::info!(peer, reason, "a stream of messages ended");
        // Whoever has closed the connection does not read it.
        drop(self.answers.try_send(Frame::End { reason }.into()));
    }

    /// Takes frames until they end. Returns why they did.
    async fn take(&mut self, mut body: Incoming) -> String {
        let mut decoder = Decoder::new(Side::Asks);
        let mut ticks = interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let part = tokio::select! {
                part = body.frame() => part,
                // A large message in transit delays the ping that follows it.
                _ = ticks.tick() => {
                    drop(self.answers.try_send(Frame::Alive { id: 0, clock: now_us() }.into()));
                    continue;
                }
            };
            let data = match part {
                None => return decoder.end().map_or_else(|e| e.to_string(), |()| "it was closed".to_owned()),
                Some(Err(error)) => return explain(&error),
                Some(Ok(part)) => part.into_data().unwrap_or_default(),
            };
            decoder.push(&data);
            loop {
                let answer = match decoder.next() {
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                    Ok(Some(Frame::Ask { id, message })) => match self.begin(id, message) {
                        Ok(()) => continue,
                        Err(reason) => Frame::Refused { id, reason },
                    },
                    Ok(Some(Frame::Ping { id })) => Frame::Alive { id, clock: now_us() },
                    // The decoder lets none of the other side's kinds through.
                    Ok(Some(_)) => continue,
                };
                // Nothing more is read from a node that does not take its answers.
                if self.answers.send(answer.into()).await.is_err() {
                    return "the answers are not taken any more".to_owned();
                }
            }
        }
    }

    /// Has a message handled, beside the others.
    fn begin(&mut self, id: u64, message: Bytes) -> Result<(), String> {
        let group = addressed(&message).map_err(|error| error.to_string())?.group;
        let node = Arc::clone(&self.node);
        let name = &node.identity.name;
        let endpoint = node.endpoints.get(group);
        let endpoint = endpoint.ok_or_else(|| format!("node {name} has no replica of group {group}"))?;
        let permits = self.admit(group, message.len());
        let permits = permits.ok_or_else(|| format!("node {name} has too much to do for group {group}"))?;
        let handling = handle(endpoint, self.remote.clone(), id, message, permits, self.answers.clone());
        tokio::spawn(handling);
        Ok(())
    }

    fn admit(&mut self, group: u64, bytes: usize) -> Option<(Permit, Permit)> {
        // Only groups of this node get here.
        let new = || Meter::new(GROUP_FRAMES_MAX, GROUP_BYTES_MAX);
        let meter = self.groups.entry(group).or_insert_with(new);
        Some((meter.admit(bytes)?, self.all.admit(bytes)?))
    }
}

/// A message that has arrived is handled, whether its sender still waits or not.
async fn handle(
    endpoint: Arc<dyn Endpoint>,
    remote: Remote,
    id: u64,
    message: Bytes,
    permits: (Permit, Permit),
    answers: mpsc::Sender<Waiting>,
) {
    let frame = match endpoint.receive(remote, message).await {
        Ok(answer) if answer.len() <= ANSWER_BYTES_MAX => Frame::Answer { id, answer },
        Ok(answer) => Frame::Refused { id, reason: format!("the answer has {} bytes", answer.len()) },
        Err(reason) => Frame::Refused { id, reason },
    };
    // Without a connection nobody waits for it.
    drop(answers.send(frame.into()).await);
    drop(permits);
}
