//! What callers and the writer share: the groups, the queue, and whether the log takes anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::disk::FolderFile;
use crate::error::LogError;
use crate::held::{Held, counts};
use crate::limits::{WRITE_BYTES, groups_max};
use crate::options::Options;
use crate::record::{OVERHEAD_BYTES, Op};
use crate::view::{View, Views};

/// Called once, on the writer's thread, in the order in which the records were accepted.
pub(crate) type Callback = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// A record that waits for the writer.
pub(crate) struct Request {
    pub(crate) group: u64,
    pub(crate) op: Op,
    pub(crate) payload: Bytes,
    /// For entries.
    pub(crate) held: Option<Held>,
    pub(crate) callback: Option<Callback>,
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    arrived: Condvar,
    options: Options,
}

pub(crate) struct Inner {
    pub(crate) views: Views,
    /// The files of the segments. The last one is written to.
    pub(crate) segments: BTreeMap<u64, Arc<dyn FolderFile>>,
    /// Why there is no room for entries.
    pub(crate) disk_full: Option<String>,
    /// Groups because of which the oldest segment cannot be used again.
    pub(crate) holding_back: Vec<u64>,
    /// Since when the writer is busy with what it has taken.
    pub(crate) writing_since: Option<Instant>,
    queue: VecDeque<Request>,
    queue_bytes: usize,
    is_closed: bool,
    poisoned: Option<String>,
}

/// The outcome of waiting for records.
pub(crate) enum Next {
    /// The oldest ones, at most [`WRITE_BYTES`] unless one has more.
    Requests(Vec<Request>),
    /// None came until the deadline.
    Deadline,
    /// The queue is empty, and nothing more will come.
    Closed,
}

impl Request {
    fn bytes(&self) -> usize {
        self.payload.len() + OVERHEAD_BYTES
    }
}

impl Shared {
    pub(crate) fn new(views: Views, segments: BTreeMap<u64, Arc<dyn FolderFile>>, options: Options) -> Self {
        let inner = Inner {
            views,
            segments,
            disk_full: None,
            holding_back: Vec::new(),
            writing_since: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            is_closed: false,
            poisoned: None,
        };
        Self { inner: Mutex::new(inner), arrived: Condvar::new(), options }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Accepts a record: readers see it from now on, and the writer writes it after everything accepted before.
    pub(crate) fn submit(&self, request: Request) -> Result<(), LogError> {
        let mut inner = self.inner.lock();
        inner.check(&request, &self.options)?;
        let Inner { views, queue, queue_bytes, .. } = &mut *inner;
        views.apply(request.group, &request.op, request.held.as_ref());
        *queue_bytes += request.bytes();
        queue.push_back(request);
        drop(inner);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for records until `deadline` (`None`: without end).
    pub(crate) fn next(&self, deadline: Option<Instant>) -> Next {
        let mut inner = self.inner.lock();
        inner.writing_since = None;
        loop {
            let requests = inner.take();
            if !requests.is_empty() {
                return Next::Requests(requests);
            }
            if inner.is_closed {
                return Next::Closed;
            }
            match deadline {
                None => self.arrived.wait(&mut inner),
                Some(deadline) if self.arrived.wait_until(&mut inner, deadline).timed_out() => {
                    let requests = inner.take();
                    return if requests.is_empty() { Next::Deadline } else { Next::Requests(requests) };
                }
                Some(_) => {}
            }
        }
    }

    /// Refuses all further records.
    pub(crate) fn close(&self) {
        self.inner.lock().is_closed = true;
        self.arrived.notify_one();
    }

    /// Refuses all further records because of a failure. Returns those that wait. Later reasons are ignored.
    pub(crate) fn poison(&self, reason: &str) -> Vec<Request> {
        let mut inner = self.inner.lock();
        if inner.poisoned.is_none() {
            tracing::error!(reason, "the log stopped writing");
            inner.poisoned = Some(reason.to_owned());
        }
        inner.queue_bytes = 0;
        inner.writing_since = None;
        std::mem::take(&mut inner.queue).into()
    }
}

impl Inner {
    pub(crate) fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether entries of so many bytes would be taken by a queue of half the size.
    pub(crate) fn check_room_early(
        &self,
        group: u64,
        bytes: usize,
        options: &Options,
    ) -> Result<(), LogError> {
        self.check_open()?;
        if self.views.get(group).is_some_and(|view| view.is_broken) {
            return Err(LogError::Broken { group });
        }
        self.check_room(group, counts(bytes + OVERHEAD_BYTES), options)?;
        self.check_queue(bytes + OVERHEAD_BYTES, options.queue_records / 2, options.queue_bytes / 2)
    }

    fn check(&self, request: &Request, options: &Options) -> Result<(), LogError> {
        self.check_open()?;
        let group = request.group;
        match self.views.get(group) {
            Some(View { is_broken: true, .. }) if request.op != Op::Remove => {
                return Err(LogError::Broken { group });
            }
            Some(view) => view.group.check(&request.op).map_err(|misfit| LogError::misfit(group, misfit))?,
            None if request.op == Op::Remove => {}
            None => {
                let max = groups_max(options.segment_bytes);
                if self.views.len() >= max {
                    return Err(LogError::TooManyGroups { max });
                }
            }
        }
        if let Some(entries) = &request.held {
            self.check_room(group, entries.counts(), options)?;
        }
        self.check_queue(request.bytes(), options.queue_records, options.queue_bytes)
    }

    fn check_open(&self) -> Result<(), LogError> {
        match &self.poisoned {
            Some(reason) => Err(LogError::Poisoned { reason: reason.clone() }),
            None if self.is_closed => Err(LogError::Closed),
            None => Ok(()),
        }
    }

    fn check_queue(&self, bytes: usize, records_max: usize, bytes_max: usize) -> Result<(), LogError> {
        if self.queue.len() >= records_max {
            return Err(LogError::Overloaded { limit: format!("{records_max} records") });
        }
        // An empty queue takes a record of any size.
        if !self.queue.is_empty() && self.queue_bytes + bytes > bytes_max {
            return Err(LogError::Overloaded { limit: format!("{bytes_max} bytes") });
        }
        Ok(())
    }

    /// Whether there is room for entries that count so much. The last segment of the limit is kept for everything else, by
    /// which room is made.
    fn check_room(&self, group: u64, counts: u64, options: &Options) -> Result<(), LogError> {
        let held = self.views.get(group).map_or(0, |view| view.held);
        if held + counts > options.group_bytes {
            return Err(LogError::GroupFull { group, held, max: options.group_bytes });
        }
        let used = self.segments.len() as u64 * options.segment_bytes;
        if used >= options.node_bytes {
            let reason = format!("its segments have {used} bytes, and {} are allowed", options.node_bytes);
            return Err(LogError::Full { reason });
        }
        match &self.disk_full {
            Some(reason) => Err(LogError::Full { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn take(&mut self) -> Vec<Request> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while bytes < WRITE_BYTES
            && let Some(request) = self.queue.pop_front()
        {
            bytes += request.bytes();
            if bytes > WRITE_BYTES && !taken.is_empty() {
                self.queue.push_front(request);
                break;
            }
            taken.push(request);
        }
        self.queue_bytes -= taken.iter().map(Request::bytes).sum::<usize>();
        self.writing_since = (!taken.is_empty()).then(Instant::now);
        taken
    }
}
