//! A connection for messages: frames in one direction, answers in the other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use exesdb_cluster::SendError;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::body::{boxed, read};
use crate::clock::now_us;
use crate::dial::{Dialed, explain, skew};
use crate::frame::{Decoder, Frame, Side};
use crate::hello::Refusal;
use crate::identity::Remote;
use crate::limits::{
    ADMISSION_EVERY, HELLO_BYTES_MAX, HELLO_WAIT, PEER_FRAMES_MAX, PING_EVERY, PING_WAIT, SILENCE_MAX,
};
use crate::meter::Permit;
use crate::queue::{Frames, Waiting};

type Answer = Result<Bytes, SendError>;

/// The side that sends messages.
pub(crate) struct Live {
    pub(crate) remote: Remote,
    pub(crate) address: String,
    frames: mpsc::Sender<Waiting>,
    last: AtomicU64,
    /// Who waits for which answer. `None` once the connection has ended.
    pending: Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>,
}

/// The side that reads answers.
pub(crate) struct Running {
    dialed: Dialed,
    answers: Incoming,
}

/// A ping that was not answered yet.
struct Ping {
    id: u64,
    sent_at: Instant,
    clock: u64,
}

/// Whether a connection is of no use any more, by what was heard last, and by when a ping was last answered.
fn gives_up(since_heard: Duration, since_answered: Duration) -> Option<&'static str> {
    match () {
        () if since_heard > SILENCE_MAX => Some("the node is silent"),
        () if since_answered > PING_WAIT => Some("the node takes no messages"),
        () => None,
    }
}

/// Opens the stream of frames.
pub(crate) async fn start(name: &str, mut dialed: Dialed) -> Result<(Arc<Live>, Running), String> {
    let (frames, queue) = mpsc::channel(PEER_FRAMES_MAX);
    let request = Request::post(format!("https://{name}/raft")).body(boxed(Frames::new(queue)));
    let request = request.map_err(|error| error.to_string())?;
    let response = timeout(HELLO_WAIT, dialed.requests.send_request(request)).await;
    let response = response.map_err(|_| "the stream of frames was not opened in time")?;
    let response = response.map_err(|error| explain(&error))?;
    if response.status() != StatusCode::OK {
        let bytes = timeout(HELLO_WAIT, read(response.into_body(), HELLO_BYTES_MAX)).await;
        let bytes = bytes.map_err(|_| "the refusal did not come in time")??;
        let refusal: Refusal = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        return Err(format!("refused by the other node: {refusal}"));
    }
    let live = Live {
        remote: dialed.remote.clone(),
        address: dialed.address.clone(),
        frames,
        last: AtomicU64::new(0),
        pending: Mutex::new(Some(HashMap::new())),
    };
    Ok((Arc::new(live), Running { dialed, answers: response.into_body() }))
}

impl Live {
    /// Sends a message, and waits for the answer. It is on its way until it was written, and until it was answered or is not
    /// waited for any more.
    pub(crate) async fn ask(&self, message: Bytes, permits: (Permit, Permit)) -> Answer {
        let lost = || SendError::Unreachable { reason: "the connection ended".to_owned() };
        let id = self.next_id();
        let (answered, answer) = oneshot::channel();
        self.pending.lock().as_mut().ok_or_else(lost)?.insert(id, answered);
        let _forget = Forget { live: self, id };
        let permits = Arc::new(permits);
        let waiting =
            Waiting { frame: Frame::Ask { id, message }, held: Some(Box::new(Arc::clone(&permits))) };
        self.frames.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                SendError::Unreachable { reason: "too much waits for the node".to_owned() }
            }
            mpsc::error::TrySendError::Closed(_) => lost(),
        })?;
        let answer = answer.await;
        drop(permits);
        answer.unwrap_or_else(|_| Err(lost()))
    }

    /// Tells all who wait that no answer comes any more.
    pub(crate) fn close(&self) {
        *self.pending.lock() = None;
    }

    fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Gives an answer to who waits for it. One that nobody waits for came too late, or was made up.
    fn answer(&self, id: u64, answer: Answer) {
        let waiting = self.pending.lock().as_mut().and_then(|pending| pending.remove(&id));
        if let Some(waiting) = waiting {
            // Whoever waited may have given up just now.
            drop(waiting.send(answer));
        }
    }
}

/// Ends the waiting for an answer, also when the future is dropped.
struct Forget<'a> {
    live: &'a Live,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(pending) = self.live.pending.lock().as_mut() {
            pending.remove(&self.id);
        }
    }
}

impl Running {
    /// Reads answers until the connection ends, or the node is silent or not admitted any more. Returns why it ended.
    pub(crate) async fn run(
        mut self,
        live: &Live,
        still: impl Fn() -> Result<(), Refusal>,
        on_clock: impl Fn(Duration, i64),
    ) -> String {
        let address = &self.dialed.address;
        let mut decoder = Decoder::new(Side::Answers);
        let mut ticks = interval(PING_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let [mut heard_at, mut answered_at, mut checked_at] = [Instant::now(); 3];
        let mut ping: Option<Ping> = None;
        loop {
            let part = tokio::select! {
                part = self.answers.frame() => part,
                _ = ticks.tick() => {
                    if let Some(reason) = gives_up(heard_at.elapsed(), answered_at.elapsed()) {
                        return format!("{address}: {reason}");
                    }
                    if checked_at.elapsed() >= ADMISSION_EVERY {
                        checked_at = Instant::now();
                        if let Err(refusal) = still() {
                            return format!("{address}: refused by this node: {refusal}");
                        }
                    }
                    if ping.is_none() {
                        ping = live.ping();
                    }
                    continue;
                }
            };
            let data = match part {
                None => return format!("{address}: the node ended the connection"),
                Some(Err(error)) => return format!("{address}: {}", explain(&error)),
                Some(Ok(part)) => part.into_data().unwrap_or_default(),
            };
            heard_at = Instant::now();
            decoder.push(&data);
            loop {
                match decoder.next() {
                    Ok(None) => break,
                    Err(error) => return format!("{address}: the node sent {error}"),
                    Ok(Some(Frame::Answer { id, answer })) => live.answer(id, Ok(answer)),
                    Ok(Some(Frame::Refused { id, reason })) => {
                        live.answer(id, Err(SendError::Refused { reason }));
                    }
                    Ok(Some(Frame::Alive { id, clock })) => {
                        if let Some(Ping { sent_at, clock: sent, .. }) = ping.take_if(|ping| ping.id == id) {
                            answered_at = Instant::now();
                            let round_trip = sent_at.elapsed();
                            on_clock(round_trip, skew(clock, sent, round_trip));
                        }
                    }
                    Ok(Some(Frame::End { reason })) => {
                        return format!("{address}: the node ended the connection: {reason:?}");
                    }
                    // The decoder lets none of the other side's kinds through.
                    Ok(Some(Frame::Ask { .. } | Frame::Ping { .. })) => {}
                }
            }
        }
    }
}

impl Live {
    /// Sends a ping, unless the queue is full: then the next tick tries again.
    fn ping(&self) -> Option<Ping> {
        let id = self.next_id();
        let ping = Ping { id, sent_at: Instant::now(), clock: now_us() };
        self.frames.try_send(Frame::Ping { id }.into()).ok().map(|()| ping)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::gives_up;
    use crate::limits::{PING_WAIT, SILENCE_MAX};

    #[test]
    fn a_node_that_says_or_takes_nothing_is_given_up() {
        let more = Duration::from_millis(1);
        assert_eq!(gives_up(SILENCE_MAX, PING_WAIT), None);
        assert_eq!(gives_up(SILENCE_MAX + more, more), Some("the node is silent"));
        assert_eq!(gives_up(more, PING_WAIT + more), Some("the node takes no messages"));
    }
}
