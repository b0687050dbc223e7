//! The medium: an image, its capacity and the failures to come, shared with whoever has it mounted.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use fuser::Notifier;
use rustix::io::Errno;

use super::bytes::PAGE;
use super::cut::Cut;
use super::fault::{Fault, Operation};
use super::image::{Content, Image, ROOT, Result};
use exesdb_test_support::Rng;

/// Largest capacity, in bytes. All data is in memory, and what was overwritten and not synced twice.
pub const CAPACITY_MAX: u64 = 1 << 30;

/// A medium. Cheap to clone: clones are the same medium.
#[derive(Debug, Clone)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    /// Wakes syncs that wait for what becomes of the power.
    power_changed: Arc<Condvar>,
}

/// Whether what is synced becomes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    On,
    /// It has just gone: nothing becomes durable, and no sync is answered.
    Going,
    /// It is gone: nothing becomes durable, and who still asks is told of an error.
    Gone,
}

/// A part of a file that was written to: the rest of the file is holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The file, relative to the top.
    pub path: PathBuf,
    /// Where the part begins.
    pub offset: u64,
    /// How many bytes of it belong to the file.
    pub length: u64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) image: Image,
    pub(super) capacity_pages: u64,
    pub(super) mounted: bool,
    /// Tells the kernel, while mounted.
    pub(super) notifier: Option<Notifier>,
    faults: Vec<Fault>,
    /// Failures count operations below this folder alone, and lies are told about it.
    counted: OsString,
    lies: bool,
    failed: u64,
    pub(super) power: Power,
    /// How long a sync takes.
    pub(super) sync_takes: Duration,
}

impl State {
    /// Whether an operation on a node fails because a test said so.
    pub(super) fn check(&mut self, operation: Operation, node: u64) -> Result<()> {
        if self.faults.is_empty() || self.image.top_of(node) != Some(&*self.counted) {
            return Ok(());
        }
        for fault in &mut self.faults {
            if let Some(code) = fault.passes(operation) {
                self.failed += 1;
                return Err(code);
            }
        }
        Ok(())
    }

    /// Whether a sync of a node is a lie.
    pub(super) fn lies_about(&self, node: u64) -> bool {
        self.lies && self.image.top_of(node) == Some(&*self.counted)
    }
}

impl Disk {
    /// An empty medium of so many bytes.
    ///
    /// # Panics
    ///
    /// When that is more than [`CAPACITY_MAX`].
    pub fn new(capacity: u64) -> Self {
        let state = State {
            image: Image::new(),
            capacity_pages: 0,
            mounted: false,
            notifier: None,
            faults: Vec::new(),
            counted: OsString::new(),
            lies: false,
            failed: 0,
            power: Power::On,
            sync_takes: Duration::ZERO,
        };
        let disk = Self { state: Arc::new(Mutex::new(state)), power_changed: Arc::default() };
        disk.set_capacity(capacity);
        disk
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no operation panics")
    }

    /// The state for a sync, after its time, if there still is power then.
    pub(super) fn lock_for_sync(&self) -> Result<MutexGuard<'_, State>> {
        let takes = self.lock().sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let waiting = self.power_changed.wait_while(self.lock(), |state| state.power == Power::Going);
        let state = waiting.expect("no operation panics");
        if state.power == Power::On { Ok(state) } else { Err(Errno::IO) }
    }

    /// Kills who uses the medium as a loss of power does: from now on nothing becomes durable, and no sync is answered
    /// before `kill` has been called, which must leave nobody able to act on the response. There is power again
    /// with [`Disk::power_returns`].
    pub fn power_goes(&self, kill: impl FnOnce()) {
        self.lock().power = Power::Going;
        kill();
        self.lock().power = Power::Gone;
        self.power_changed.notify_all();
    }

    /// Ends a loss of power. What was seen before is still seen, until a [`Disk::cut`].
    pub fn power_returns(&self) {
        self.lock().power = Power::On;
    }

    /// Sets how long a sync takes.
    pub fn syncs_take(&self, time: Duration) {
        self.lock().sync_takes = time;
    }

    /// The image, of a medium that is not mounted: what a kernel has cached of it would otherwise hide a change.
    fn unmounted(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        assert!(!state.mounted, "the medium is changed while it is not mounted");
        state
    }

    /// Sets the capacity in bytes. What is there stays, also if it is more.
    ///
    /// # Panics
    ///
    /// When that is more than [`CAPACITY_MAX`].
    pub fn set_capacity(&self, capacity: u64) {
        assert!(capacity <= CAPACITY_MAX, "a medium of {capacity} bytes, where {CAPACITY_MAX} are the most");
        self.lock().capacity_pages = capacity / PAGE as u64;
    }

    /// Bytes in files.
    pub fn used(&self) -> u64 {
        self.lock().image.used_pages * PAGE as u64
    }

    /// Makes everything durable, as `sync` does.
    pub fn sync(&self) {
        let mut state = self.lock();
        let nodes: Vec<u64> = state.image.nodes.keys().copied().collect();
        for node in nodes {
            // One that goes while the names settle needs no sync.
            let _ = state.image.sync(node);
        }
    }

    /// Adds a failure to come. It counts operations below `folder`, a name at the top; all failures share it.
    pub fn fail(&self, folder: &str, fault: Fault) {
        let mut state = self.lock();
        state.counted = folder.into();
        state.faults.push(fault);
    }

    /// From now on `fsync` below `folder`, a name at the top, says that all is well and does nothing.
    pub fn lie(&self, folder: &str) {
        let mut state = self.lock();
        state.counted = folder.into();
        state.lies = true;
    }

    /// Forgets the failures and lies to come, and tells how many operations failed since the last call.
    pub fn heal(&self) -> u64 {
        let mut state = self.lock();
        state.faults.clear();
        state.lies = false;
        std::mem::take(&mut state.failed)
    }

    /// Operations that failed because of [`Disk::fail`] since the last [`Disk::heal`].
    pub fn failed(&self) -> u64 {
        self.lock().failed
    }

    /// Cuts the power. The medium is not mounted; what used it is dead.
    pub fn cut(&self, cut: Cut, random: &mut Rng) {
        self.unmounted().image.cut(cut, random);
    }

    /// A copy, which changes by itself from then on. Cheap: pages are shared until one side changes.
    pub fn copy(&self) -> Self {
        let state = self.unmounted();
        let copy = Self::new(state.capacity_pages * PAGE as u64);
        copy.lock().image = state.image.clone();
        copy
    }

    /// The parts of all files below a folder, in the order of their paths.
    pub fn extents(&self, folder: &Path) -> Vec<Extent> {
        let state = self.lock();
        let mut extents = Vec::new();
        if let Ok(node) = find(&state.image, folder) {
            collect(&state.image, node, folder, &mut extents);
        }
        extents
    }

    /// Flips bits of one byte, at rest and durably.
    ///
    /// # Panics
    ///
    /// When there is no such byte.
    pub fn flip(&self, path: &Path, offset: u64, mask: u8) {
        let mut state = self.unmounted();
        let node = find(&state.image, path).expect("the file is there");
        let byte = state.image.read(node, offset, 1).expect("it is a file");
        let [byte] = byte.as_slice() else { panic!("{} has no byte {offset}", path.display()) };
        state.image.write(node, offset, &[byte ^ mask], u64::MAX).expect("it is a file");
        state.image.sync(node).expect("it is a file");
    }

    /// Cuts a file off, at rest and durably.
    ///
    /// # Panics
    ///
    /// When there is no such file.
    pub fn truncate(&self, path: &Path, size: u64) {
        let mut state = self.unmounted();
        let node = find(&state.image, path).expect("the file is there");
        state.image.truncate(node, size).expect("it is a file");
        state.image.sync(node).expect("it is a file");
    }
}

fn find(image: &Image, path: &Path) -> Result<u64> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_)));
    names.map(Component::as_os_str).try_fold(ROOT, |folder, name: &OsStr| image.lookup(folder, name))
}

fn collect(image: &Image, node: u64, path: &Path, extents: &mut Vec<Extent>) {
    match &image.nodes[&node].content {
        Content::File { now, .. } => {
            for page in now.pages.keys() {
                let offset = page * PAGE as u64;
                let length = (PAGE as u64).min(now.size - offset);
                match extents.last_mut() {
                    Some(last) if last.path == path && last.offset + last.length == offset => {
                        last.length += length;
                    }
                    _ => extents.push(Extent { path: path.to_owned(), offset, length }),
                }
            }
        }
        Content::Folder { now, .. } => {
            now.iter().for_each(|(name, node)| collect(image, *node, &path.join(name), extents));
        }
        Content::Socket => {}
    }
}
