//! The writer: one thread that takes whatever waits of all groups, writes it at once, syncs it once, notes that in the
//! mark, and calls back.

mod cache;
mod copy;
mod files;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use self::cache::Cache;
use self::copy::Copied;
use self::files::Spares;
use crate::checkpoint::{self, Groups, Header};
use crate::disk::{Folder, FolderFile};
use crate::error::LogError;
use crate::fail_point::FailPoint;
#[cfg(feature = "faults")]
use crate::fault::Fault;
use crate::held::{Held, RecordPlace};
use crate::limits::{WRITE_BYTES, record_bytes_max};
use crate::mark::{MarkFile, Place};
use crate::open::{Opened, random};
use crate::options::Options;
use crate::panic::catch_panic;
use crate::record::{self, Kind, NO_GROUP, OVERHEAD_BYTES, Op};
use crate::shared::{Callback, Next, Request, Shared};

/// Why the log is poisoned.
#[derive(Debug)]
pub(crate) struct PoisonReason(pub(crate) String);

impl PoisonReason {
    fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self(format!("{what}: {error}"))
    }
}

/// The segment that is written to.
struct Active {
    id: u64,
    file: Arc<dyn FolderFile>,
    /// Bytes of its file.
    capacity: u64,
    /// Where the next record goes, and the link of the one before.
    offset: u64,
    link: u64,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    folder: Arc<dyn Folder>,
    /// Held for as long as anything may be written.
    _lock: Arc<dyn Send + Sync>,
    incarnation: u64,
    mark: MarkFile,
    /// The groups as of the last record in the buffer.
    groups: Groups,
    active: Active,
    /// Records that are not in the file yet, and where they go.
    buffer: Vec<u8>,
    buffer_at: u64,
    /// What is in the buffer: entries to cache, and copies of others.
    in_buffer: Vec<Held>,
    copied: Vec<Copied>,
    /// Callbacks of what is being written, in order.
    callbacks: Vec<Callback>,
    /// Whether the records at hand have to be synced.
    must_sync: bool,
    /// Whether a segment was begun since the mark was synced.
    has_begun_segment: bool,
    /// Whether an old segment may have lost its last entries.
    may_release: bool,
    spares: Spares,
    cache: Cache,
}

impl Writer {
    /// Continues an opened log: its first record differs in each life, so that no record after the end can ever
    /// follow a new record. What was found is durable then, and so is the mark.
    pub(crate) fn begin(opened: Opened, shared: Arc<Shared>) -> Result<Self, PoisonReason> {
        let Opened { folder, lock, mark, groups, end, capacity, spares, .. } = opened;
        let file = Arc::clone(shared.lock().segments.get(&end.segment).expect("the newest segment is there"));
        let mark_file = MarkFile::open(&*folder, mark).map_err(PoisonReason::failed("opening the mark"))?;
        let cache = Cache::new(shared.options().cache_bytes);
        let mut writer = Self {
            shared,
            folder,
            _lock: lock,
            incarnation: mark.incarnation,
            mark: mark_file,
            groups,
            active: Active { id: end.segment, file, capacity, offset: end.offset, link: end.link },
            buffer: Vec::new(),
            buffer_at: end.offset,
            in_buffer: Vec::new(),
            copied: Vec::new(),
            callbacks: Vec::new(),
            must_sync: true,
            has_begun_segment: true,
            may_release: true,
            spares: Spares::new(spares),
            cache,
        };
        writer.push(Kind::Opened, NO_GROUP, &random().to_be_bytes())?;
        writer.flush()?;
        writer.sync()?;
        writer.tidy()?;
        Ok(writer)
    }

    /// Writes until the log is closed, or poisoned.
    pub(crate) fn run(mut self) {
        loop {
            let outcome = match self.shared.next(self.deadline()) {
                Next::Requests(requests) => {
                    catch_panic(|| self.write(requests)).unwrap_or_else(|panic| Err(PoisonReason(panic)))
                }
                Next::Deadline => Ok(()),
                Next::Closed => break,
            };
            let outcome = outcome.and_then(|()| {
                self.call_back(&Ok(()));
                catch_panic(|| self.tidy()).unwrap_or_else(|panic| Err(PoisonReason(panic)))
            });
            if let Err(PoisonReason(reason)) = outcome {
                return self.fail(reason);
            }
        }
        // What was not worth a sync is synced now, so that a log that was closed is found as it was.
        if let Err(PoisonReason(reason)) = self.sync().and_then(|()| self.sync_mark()) {
            self.fail(reason);
        }
    }

    /// When there is something to do without records.
    fn deadline(&self) -> Option<Instant> {
        self.mark.sync_due().into_iter().chain(self.spares.retry_at()).min()
    }

    /// Writes records, and syncs them if any of them must be.
    fn write(&mut self, mut requests: Vec<Request>) -> Result<(), PoisonReason> {
        self.callbacks.extend(requests.iter_mut().filter_map(|request| request.callback.take()));
        for Request { group, op, payload, held, .. } in requests {
            self.must_sync |= self.is_to_be_synced(&op);
            self.append(group, &op, &payload, held)?;
        }
        self.flush()?;
        #[cfg(feature = "faults")]
        if self.options().injects(Fault::CallbackBeforeSync) {
            self.call_back(&Ok(()));
        }
        if self.must_sync { self.sync() } else { Ok(()) }
    }

    fn is_to_be_synced(&self, op: &Op) -> bool {
        #[cfg(feature = "faults")]
        if self.options().injects(Fault::StateNotSynced) && matches!(op, Op::State(_)) {
            return false;
        }
        !matches!(op, Op::Committed(_))
    }

    /// Puts an operation into the buffer.
    fn append(
        &mut self,
        group: u64,
        op: &Op,
        payload: &[u8],
        held: Option<Held>,
    ) -> Result<(), PoisonReason> {
        let place = self.push(op.kind(), group, payload)?;
        if let Some(held) = held {
            held.written_to(place);
            self.in_buffer.push(held);
        }
        if *op == Op::Remove {
            self.groups.remove(&group);
        } else {
            self.groups.entry(group).or_default().apply(op, place.segment);
        }
        self.may_release |= matches!(op, Op::Truncate { .. } | Op::Purge(_) | Op::Remove | Op::Copied(_));
        Ok(())
    }

    /// Puts a record into the buffer. If the segment has no room, another one is begun before.
    fn push(&mut self, kind: Kind, group: u64, payload: &[u8]) -> Result<RecordPlace, PoisonReason> {
        let len = (payload.len() + OVERHEAD_BYTES) as u64;
        if self.active.offset + len > self.active.capacity {
            self.begin_segment()?;
        }
        let Active { id, offset, link: before, .. } = self.active;
        let link = record::push(&mut self.buffer, kind, group, payload, before);
        self.active.offset += len;
        self.active.link = link;
        Ok(RecordPlace { segment: id, offset, before, link })
    }

    /// Begins another segment, once everything in this one is synced.
    fn begin_segment(&mut self) -> Result<(), PoisonReason> {
        self.flush()?;
        self.sync()?;
        self.pass(FailPoint::BeforeNewSegment)?;
        let (id, before) = (self.active.id + 1, self.active.link);
        let file = self
            .spares
            .name_segment(&*self.folder, id, self.options().segment_bytes)
            .map_err(PoisonReason::failed("beginning a segment failed"))?;
        self.pass(FailPoint::AfterNewSegment)?;
        self.shared.lock().segments.insert(id, Arc::clone(&file));
        let capacity = self.options().segment_bytes;
        self.active = Active { id, file, capacity, offset: 0, link: before };
        self.buffer_at = 0;
        let header = Header { incarnation: self.incarnation, segment: id, before };
        let checkpoint = checkpoint::encode(&header, &self.groups);
        if checkpoint.len() as u64 > record_bytes_max(capacity) {
            return Err(PoisonReason(format!(
                "a checkpoint has {} bytes, too many for a segment",
                checkpoint.len()
            )));
        }
        self.push(Kind::Checkpoint, NO_GROUP, &checkpoint)?;
        self.must_sync = true;
        self.has_begun_segment = true;
        self.copy_forward()
    }

    /// Writes the buffer to the segment.
    fn flush(&mut self) -> Result<(), PoisonReason> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.pass(FailPoint::BeforeWrite)?;
        self.active
            .file
            .write(self.buffer_at, &self.buffer)
            .map_err(PoisonReason::failed("writing records failed"))?;
        self.pass(FailPoint::AfterWrite)?;
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_BYTES);
        self.buffer_at = self.active.offset;
        for held in self.in_buffer.drain(..) {
            self.cache.add(held);
        }
        if !self.copied.is_empty() {
            let mut inner = self.shared.lock();
            for Copied { group, span, old, new } in self.copied.drain(..) {
                inner.views.replace(group, span, &old, &new);
            }
        }
        Ok(())
    }

    /// Syncs the segment, and notes that in the mark.
    fn sync(&mut self) -> Result<(), PoisonReason> {
        self.active.file.sync().map_err(PoisonReason::failed("syncing records failed"))?;
        self.pass(FailPoint::AfterSync)?;
        self.must_sync = false;
        let Active { id: segment, offset, link, .. } = self.active;
        self.mark
            .advance(Place { segment, offset, link })
            .map_err(PoisonReason::failed("writing the mark failed"))?;
        self.pass(FailPoint::AfterMark)
    }

    fn sync_mark(&mut self) -> Result<(), PoisonReason> {
        self.has_begun_segment = false;
        self.mark.sync().map_err(PoisonReason::failed("syncing the mark failed"))
    }

    /// What follows the callbacks: the mark's sync if it is due, old segments that can be used again, and zeroes for the
    /// next one.
    fn tidy(&mut self) -> Result<(), PoisonReason> {
        self.pass(FailPoint::AfterCallbacks)?;
        // A mark of the segment before would say nothing about this one.
        if self.has_begun_segment || self.mark.sync_due().is_some_and(|due| due <= Instant::now()) {
            self.sync_mark()?;
        }
        if std::mem::take(&mut self.may_release) {
            self.release()?;
        }
        self.prepare_spare();
        Ok(())
    }

    /// Calls back for everything that was written.
    fn call_back(&mut self, outcome: &Result<(), LogError>) {
        for callback in self.callbacks.drain(..) {
            call_back(callback, outcome.clone());
        }
    }

    /// Stops the log after a failure: calls every waiting callback with the error, in order. Nothing is written after that.
    fn fail(mut self, reason: String) {
        let waiting = self.shared.poison(&reason);
        let outcome = Err(LogError::Poisoned { reason });
        self.call_back(&outcome);
        for request in waiting {
            if let Some(callback) = request.callback {
                call_back(callback, outcome.clone());
            }
        }
    }

    fn pass(&self, point: FailPoint) -> Result<(), PoisonReason> {
        match &self.options().fail_points {
            None => Ok(()),
            Some(hook) => hook(point).map_err(PoisonReason::failed(format!("failed at {point:?}"))),
        }
    }

    fn options(&self) -> &Options {
        self.shared.options()
    }
}

/// A callback's panic is no reason to doubt the disk, and must not keep others from theirs.
fn call_back(callback: Callback, outcome: Result<(), LogError>) {
    if let Err(panic) = catch_panic(|| callback(outcome)) {
        tracing::error!(panic, "a callback panicked on the log's thread");
    }
}
