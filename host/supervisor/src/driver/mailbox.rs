//! A supervisor's mailbox: one queue, read one message at a time.
//!
//! It cannot grow without bound although posting never waits:
//! - exit notices: one for each process, and a process is started only while its predecessor's notice is
//!   either read or old news, so there are at most as many as processes were started since the last read,
//!   which is at most one for each child and message read;
//! - retries: reading one exit or one retry makes at most one;
//! - calls: [`CALLS_MAX`] wait in the queue, further callers wait outside.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::decide::{Call, CallRefusal, Key, Pid, Reply};
use crate::reason::Reason;
use crate::spec::ChildSpec;

/// Calls that wait in one mailbox: far more than consoles and tests make at once, and a bound for what a
/// runaway caller can pile up in front of the exit notices.
const CALLS_MAX: usize = 64;

/// How a call is answered; a dropped one means that there is no such supervisor any more.
pub(crate) type Answer = oneshot::Sender<Result<Reply, CallRefusal>>;

/// A call on its way.
pub(crate) struct CallMessage {
    pub(crate) call: Call,
    /// What start_child is to start.
    pub(crate) spec: Option<ChildSpec>,
    pub(crate) answer: Answer,
    _place: OwnedSemaphorePermit,
}

/// The end of a child, as its supervisor hears of it.
#[derive(Clone, Debug)]
pub(crate) struct ExitNotice {
    pub(crate) pid: Pid,
    pub(crate) reason: Reason,
    /// It was a supervisor that ended because of its intensity.
    pub(crate) gave_up: bool,
    /// When it was, if that is not now: a killed supervisor tells its end when its subtree has ended too, and
    /// the time that takes must not move its restart in its parent's count.
    pub(crate) at: Option<Duration>,
}

pub(crate) enum Message {
    Exited(ExitNotice),
    Retry(Key),
    Call(Box<CallMessage>),
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    suspended: bool,
    closed: bool,
}

pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    /// Wakes the one reader.
    more: Notify,
    places: Arc<Semaphore>,
}

impl Mailbox {
    pub(crate) fn new() -> Mailbox {
        Mailbox {
            queue: Mutex::new(Queue::default()),
            more: Notify::new(),
            places: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    pub(crate) fn post(&self, message: Message) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue); // the message may answer somebody when it is dropped
            return;
        }
        queue.messages.push_back(message);
        drop(queue);
        self.more.notify_one();
    }

    /// Waits for a place in the queue, then for the answer; `None` if the supervisor does not run any more.
    pub(crate) async fn call(
        &self,
        call: Call,
        spec: Option<ChildSpec>,
    ) -> Option<Result<Reply, CallRefusal>> {
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let (answer, answered) = oneshot::channel();
        self.post(Message::Call(Box::new(CallMessage { call, spec, answer, _place: place })));
        answered.await.ok()
    }

    /// The next message; waits for it, and while the mailbox is suspended. Cancel safe. One reader only.
    pub(crate) async fn recv(&self) -> Message {
        loop {
            {
                let mut queue = self.queue.lock();
                if !queue.suspended
                    && let Some(message) = queue.messages.pop_front()
                {
                    return message;
                }
            }
            self.more.notified().await;
        }
    }

    /// Messages queue up from now on.
    pub(crate) fn suspend(&self) {
        self.queue.lock().suspended = true;
    }

    pub(crate) fn resume(&self) {
        self.queue.lock().suspended = false;
        self.more.notify_one();
    }

    /// Whether a reader would wait.
    pub(crate) fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.suspended || queue.messages.is_empty()
    }

    /// Whoever waits for an answer gets none.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let unread = std::mem::take(&mut queue.messages);
        drop(queue);
        self.places.close();
        drop(unread);
    }
}
