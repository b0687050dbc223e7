//! A supervisor's mailbox: one queue, read one message at a time.
//!
//! It is bounded, although posting never waits:
//! - exit notices: each process posts one. A child's next process is started only after the notice of the last one
//!   was read or became obsolete, so at most one notice per child and message read is added;
//! - retries: reading an exit notice or a retry adds at most one;
//! - calls: [`CALLS_MAX`] wait in the queue, further callers wait outside.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::decide::{Call, CallRejection, Reply};
use crate::pid::{Key, Pid};
use crate::reason::Reason;
use crate::spec::ChildSpec;

/// Calls that wait in one mailbox: far more than consoles and tests make at once. It bounds how many calls a runaway
/// caller can put before the exit notices.
const CALLS_MAX: usize = 64;

/// Sends the reply to a call; dropped if the supervisor does not run any more.
pub(crate) type ReplySender = oneshot::Sender<Result<Reply, CallRejection>>;

/// A call in the mailbox.
pub(crate) struct CallMessage {
    pub(crate) call: Call,
    /// The specification of a start_child call.
    pub(crate) spec: Option<ChildSpec>,
    pub(crate) reply: ReplySender,
    _permit: OwnedSemaphorePermit,
}

/// Notifies a supervisor of the end of a child.
#[derive(Clone, Debug)]
pub(crate) struct ExitNotice {
    pub(crate) pid: Pid,
    pub(crate) reason: Reason,
    /// The child is a supervisor that ended because of its intensity.
    pub(crate) gave_up: bool,
    /// When the child ended, if that is not now. A killed supervisor posts its notice when its subtree has ended, too; its
    /// restart is counted as of the kill.
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
    call_permits: Arc<Semaphore>,
}

impl Mailbox {
    pub(crate) fn new() -> Mailbox {
        Mailbox {
            queue: Mutex::new(Queue::default()),
            more: Notify::new(),
            call_permits: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    pub(crate) fn post(&self, message: Message) {
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue); // dropping a message ends its call, so it is done without the lock
            return;
        }
        queue.messages.push_back(message);
        drop(queue);
        self.more.notify_one();
    }

    /// Waits for a permit, then for the reply; `None` if the supervisor does not run any more.
    pub(crate) async fn call(
        &self,
        call: Call,
        spec: Option<ChildSpec>,
    ) -> Option<Result<Reply, CallRejection>> {
        let permit = Arc::clone(&self.call_permits).acquire_owned().await.ok()?;
        let (sender, reply) = oneshot::channel();
        self.post(Message::Call(Box::new(CallMessage { call, spec, reply: sender, _permit: permit })));
        reply.await.ok()
    }

    /// Waits for the next message, and while the mailbox is suspended. Cancel safe. There is only one reader.
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

    /// Lets messages queue up.
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

    /// Drops all messages and refuses new ones; waiting callers get no reply.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        let unread = std::mem::take(&mut queue.messages);
        drop(queue);
        self.call_permits.close();
        drop(unread);
    }
}
