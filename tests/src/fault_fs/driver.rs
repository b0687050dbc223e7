//! Maps each FUSE request of the kernel to an operation on the image.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{FallocateFlags, FileType as Kind};
use rustix::io::Errno;

use super::bytes::{Bytes, PAGE};
use super::disk::{Disk, State};
use super::fault::Operation;
use super::image::{Content, Names, Node, Result};

/// How long the kernel may cache names and attributes: all changes come through the kernel.
const KEPT: Duration = Duration::from_secs(60);

/// Longest name, in bytes, as on other file systems.
const NAME_BYTES_MAX: u32 = 255;

/// The number of files that `statfs` reports. There is no limit.
const FILES: u64 = 1 << 20;

/// Serves a disk to the kernel.
#[derive(Debug)]
pub(super) struct Driver {
    disk: Disk,
}

impl Driver {
    pub(super) fn new(disk: Disk) -> Self {
        Self { disk }
    }

    fn created(&self, parent: INodeNo, name: &OsStr, content: Content, mode: u32) -> Result<FileAttr> {
        let mut state = self.disk.lock();
        let number = state.image.create(parent.0, name, content, (mode & 0o7777) as u16)?;
        Ok(attributes(number, state.image.node(number)?))
    }

    fn sync(&self, number: u64) -> Result<()> {
        let mut state = self.disk.lock_for_sync()?;
        if state.lies_about(number) {
            return Ok(());
        }
        let Err(errno) = state.check(Operation::Sync, number) else { return state.image.sync(number) };
        let seen = state.image.sync_failed(number)?;
        let notifier = state.notifier.clone();
        // The kernel may wait for a page that a reader needs, so readers must be served meanwhile.
        drop(state);
        for (offset, bytes) in seen {
            // The kernel refuses a page that it has not cached.
            let _ = notifier.as_ref().map(|notifier| notifier.store(INodeNo(number), offset, &bytes));
        }
        Err(errno)
    }
}

fn new_file() -> Content {
    Content::File { now: Bytes::default(), durable: Bytes::default(), changed: BTreeMap::new() }
}

fn kind(content: &Content) -> FileType {
    match content {
        Content::File { .. } => FileType::RegularFile,
        Content::Folder { .. } => FileType::Directory,
        Content::Socket => FileType::Socket,
    }
}

fn attributes(number: u64, node: &Node) -> FileAttr {
    let (size, pages) = match &node.content {
        Content::File { now, .. } => (now.size, now.pages.len() as u64),
        Content::Folder { .. } | Content::Socket => (0, 0),
    };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: pages * PAGE as u64 / 512,
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind: kind(&node.content),
        perm: node.mode,
        nlink: node.links,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    }
}

fn code(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.raw_os_error())
}

fn done(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(code(errno)),
    }
}

fn entry(result: Result<FileAttr>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&KEPT, &attributes, Generation(0)),
        Err(errno) => reply.error(code(errno)),
    }
}

fn changed(
    state: &mut State,
    number: u64,
    mode: Option<u32>,
    size: Option<u64>,
    modified: Option<TimeOrNow>,
) -> Result<FileAttr> {
    if let Some(size) = size {
        state.image.truncate(number, size)?;
    }
    let node = state.image.node_mut(number)?;
    if let Some(mode) = mode {
        node.mode = (mode & 0o7777) as u16;
    }
    match modified {
        Some(TimeOrNow::SpecificTime(time)) => node.modified = time,
        Some(TimeOrNow::Now) => node.modified = SystemTime::now(),
        None => {}
    }
    Ok(attributes(number, node))
}

impl Filesystem for Driver {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.disk.lock();
        let found = state.image.lookup(parent.0, name);
        entry(found.and_then(|number| Ok(attributes(number, state.image.node(number)?))), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk.lock().image.node(ino.0) {
            Ok(node) => reply.attr(&KEPT, &attributes(ino.0, node)),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match changed(&mut self.disk.lock(), ino.0, mode, size, modified) {
            Ok(attributes) => reply.attr(&KEPT, &attributes),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let content = match Kind::from_raw_mode(mode) {
            Kind::RegularFile => new_file(),
            Kind::Socket => Content::Socket,
            _ => return reply.error(fuser::Errno::EPERM),
        };
        entry(self.created(parent, name, content, mode & !umask), reply);
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let folder = Content::Folder { now: Names::new(), durable: Names::new() };
        entry(self.created(parent, name, folder, mode & !umask), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk.lock().image.unlink(parent.0, name), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.disk.lock().image.rmdir(parent.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.disk.lock();
        if flags == RenameFlags::RENAME_NOREPLACE && state.image.lookup(to_parent.0, to_name).is_ok() {
            return reply.error(fuser::Errno::EEXIST);
        }
        if flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT) {
            return reply.error(fuser::Errno::EINVAL);
        }
        done(state.image.rename((parent.0, name), (to_parent.0, to_name)), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.disk.lock().image.opened(ino.0) {
            // The kernel's cache of a file stays valid when the file is opened again, as on other file systems.
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let created = self.created(parent, name, new_file(), mode & !umask);
        match created.and_then(|file| self.disk.lock().image.opened(file.ino.0).map(|()| file)) {
            Ok(file) => {
                reply.created(&KEPT, &file, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE)
            }
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let bytes = self.disk.lock().image.read(ino.0, offset, size as usize);
        match bytes {
            Ok(bytes) => reply.data(&bytes),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.disk.lock();
        let capacity = state.capacity_pages;
        let checked = state.check(Operation::Write, ino.0);
        match checked.and_then(|()| state.image.write(ino.0, offset, data, capacity)) {
            Ok(()) => reply.written(u32::try_from(data.len()).expect("a request has less than 4 GiB")),
            Err(errno) => reply.error(code(errno)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.disk.lock().image.closed(ino.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.sync(ino.0), reply);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.disk.lock();
        let names = match state.image.names(ino.0) {
            Ok(names) => names,
            Err(errno) => return reply.error(code(errno)),
        };
        // A listing continues after a node's number, in the order of creation, so that the removal of one name skips
        // no other.
        let mut children: Vec<(u64, &OsStr)> = names.iter().map(|(name, node)| (*node, &**name)).collect();
        children.sort_unstable();
        for (number, name) in children.into_iter().filter(|(number, _)| *number > offset) {
            let Ok(node) = state.image.node(number) else { continue };
            if reply.add(INodeNo(number), number, kind(&node.content), name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let state = self.disk.lock();
        let free = state.capacity_pages.saturating_sub(state.image.used_pages);
        let page = PAGE as u32;
        reply.statfs(state.capacity_pages, free, free, FILES, FILES, page, NAME_BYTES_MAX, page);
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        // No space is reserved: a write beyond the capacity fails at the write.
        let keep_size = mode == FallocateFlags::KEEP_SIZE.bits().cast_signed();
        if mode != 0 && !keep_size {
            return reply.error(fuser::Errno::EOPNOTSUPP);
        }
        let mut state = self.disk.lock();
        let end = offset.saturating_add(length);
        let shorter = match state.image.node(ino.0).map(|node| &node.content) {
            Ok(Content::File { now, .. }) => now.size < end,
            Ok(Content::Folder { .. } | Content::Socket) => return reply.error(fuser::Errno::EINVAL),
            Err(errno) => return reply.error(code(errno)),
        };
        let extended = if shorter && !keep_size { state.image.truncate(ino.0, end) } else { Ok(()) };
        done(extended, reply);
    }
}
