//! Files, folders and names, in the visible and in the durable state.
//!
//! Plain data: no kernel, no threads. Changes of names are kept in order until they are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::io::Errno;

use super::bytes::{Bytes, PAGE};

/// The number of the root folder.
pub(super) const ROOT: u64 = 1;

pub(super) type Result<T> = std::result::Result<T, Errno>;

/// Names in a folder.
pub(super) type Names = BTreeMap<OsString, u64>;

#[derive(Debug, Clone)]
pub(super) enum Content {
    File {
        now: Bytes,
        durable: Bytes,
        /// Pages that differ from the durable ones, with the number of the last write to each.
        changed: BTreeMap<u64, u64>,
    },
    Folder {
        now: Names,
        durable: Names,
    },
    Socket,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) content: Content,
    /// Permission bits.
    pub(super) mode: u16,
    pub(super) modified: SystemTime,
    /// The folder that it was created in or last renamed to.
    pub(super) parent: u64,
    /// The number of open handles.
    pub(super) opened: u64,
    /// The number of visible names.
    pub(super) links: u32,
}

/// A change of names.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Add { folder: u64, name: OsString, node: u64 },
    Remove { folder: u64, name: OsString },
    Rename { folder: u64, name: OsString, to_folder: u64, to_name: OsString, node: u64 },
}

impl Change {
    fn folders(&self) -> impl Iterator<Item = u64> {
        let (first, second) = match self {
            Self::Add { folder, .. } | Self::Remove { folder, .. } => (*folder, None),
            Self::Rename { folder, to_folder, .. } => (*folder, Some(*to_folder)),
        };
        std::iter::once(first).chain(second)
    }

    fn places(&self) -> impl Iterator<Item = (u64, &OsStr)> {
        let (first, second) = match self {
            Self::Add { folder, name, .. } | Self::Remove { folder, name } => ((*folder, &**name), None),
            Self::Rename { folder, name, to_folder, to_name, .. } => {
                ((*folder, &**name), Some((*to_folder, &**to_name)))
            }
        };
        std::iter::once(first).chain(second)
    }

    fn node(&self) -> Option<u64> {
        match self {
            Self::Add { node, .. } | Self::Rename { node, .. } => Some(*node),
            Self::Remove { .. } => None,
        }
    }
}

/// The content of a disk.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) nodes: BTreeMap<u64, Node>,
    /// Changes of names that are not durable yet, in order.
    pub(super) open_changes: Vec<Change>,
    /// The number of pages in visible files.
    pub(super) used_pages: u64,
    next_node: u64,
    writes: u64,
}

impl Image {
    /// An empty folder.
    pub(super) fn new() -> Self {
        let folder = Content::Folder { now: Names::new(), durable: Names::new() };
        let root = Node {
            content: folder,
            mode: 0o755,
            modified: SystemTime::now(),
            parent: ROOT,
            opened: 0,
            links: 1,
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            open_changes: Vec::new(),
            used_pages: 0,
            next_node: ROOT + 1,
            writes: 0,
        }
    }

    pub(super) fn node(&self, number: u64) -> Result<&Node> {
        self.nodes.get(&number).ok_or(Errno::NOENT)
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Result<&mut Node> {
        self.nodes.get_mut(&number).ok_or(Errno::NOENT)
    }

    /// The visible names in a folder.
    pub(super) fn names(&self, folder: u64) -> Result<&Names> {
        match &self.node(folder)?.content {
            Content::Folder { now, .. } => Ok(now),
            Content::File { .. } | Content::Socket => Err(Errno::NOTDIR),
        }
    }

    fn names_mut(&mut self, folder: u64) -> Result<&mut Names> {
        match &mut self.node_mut(folder)?.content {
            Content::Folder { now, .. } => Ok(now),
            Content::File { .. } | Content::Socket => Err(Errno::NOTDIR),
        }
    }

    pub(super) fn lookup(&self, folder: u64, name: &OsStr) -> Result<u64> {
        self.names(folder)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// The name at the root under which a node lies.
    pub(super) fn top_of(&self, number: u64) -> Option<&OsStr> {
        let mut number = number;
        loop {
            let parent = self.nodes.get(&number)?.parent;
            if parent == ROOT {
                let names = self.names(ROOT).ok()?;
                return names.iter().find(|(_, node)| **node == number).map(|(name, _)| name.as_os_str());
            }
            number = parent;
        }
    }

    /// Creates a file, a folder or a socket.
    pub(super) fn create(&mut self, folder: u64, name: &OsStr, content: Content, mode: u16) -> Result<u64> {
        let number = self.next_node;
        let names = self.names_mut(folder)?;
        if names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        names.insert(name.to_owned(), number);
        self.next_node += 1;
        let node = Node { content, mode, modified: SystemTime::now(), parent: folder, opened: 0, links: 1 };
        self.nodes.insert(number, node);
        self.open_changes.push(Change::Add { folder, name: name.to_owned(), node: number });
        Ok(number)
    }

    /// Removes the name of a file or socket.
    pub(super) fn unlink(&mut self, folder: u64, name: &OsStr) -> Result<()> {
        let number = self.lookup(folder, name)?;
        if matches!(self.node(number)?.content, Content::Folder { .. }) {
            return Err(Errno::ISDIR);
        }
        self.remove(folder, name, number)
    }

    /// Removes an empty folder.
    pub(super) fn rmdir(&mut self, folder: u64, name: &OsStr) -> Result<()> {
        let number = self.lookup(folder, name)?;
        if !self.names(number)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.remove(folder, name, number)
    }

    fn remove(&mut self, folder: u64, name: &OsStr, number: u64) -> Result<()> {
        self.names_mut(folder)?.remove(name);
        self.open_changes.push(Change::Remove { folder, name: name.to_owned() });
        self.unlinked(number);
        Ok(())
    }

    /// Renames a node. A node that has the new name loses it.
    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<()> {
        let number = self.lookup(from.0, from.1)?;
        let replaced = self.names(to.0)?.get(to.1).copied();
        if replaced == Some(number) {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            let folder = matches!(self.node(number)?.content, Content::Folder { .. });
            match (&self.node(replaced)?.content, folder) {
                (Content::Folder { now, .. }, true) if !now.is_empty() => return Err(Errno::NOTEMPTY),
                (Content::Folder { .. }, false) => return Err(Errno::ISDIR),
                (Content::File { .. } | Content::Socket, true) => return Err(Errno::NOTDIR),
                _ => {}
            }
        }
        self.names_mut(from.0)?.remove(from.1);
        self.names_mut(to.0)?.insert(to.1.to_owned(), number);
        self.node_mut(number)?.parent = to.0;
        self.open_changes.push(Change::Rename {
            folder: from.0,
            name: from.1.to_owned(),
            to_folder: to.0,
            to_name: to.1.to_owned(),
            node: number,
        });
        if let Some(replaced) = replaced {
            self.unlinked(replaced);
        }
        Ok(())
    }

    fn unlinked(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.links -= 1;
        }
        self.release_if_unused(number);
    }

    pub(super) fn opened(&mut self, number: u64) -> Result<()> {
        self.node_mut(number)?.opened += 1;
        Ok(())
    }

    pub(super) fn closed(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.opened = node.opened.saturating_sub(1);
        }
        self.release_if_unused(number);
    }

    /// Frees a node that programs can no longer reach. Its durable state stays until the removal is durable.
    fn release_if_unused(&mut self, number: u64) {
        let Some(node) = self.nodes.get_mut(&number) else { return };
        if node.links > 0 || node.opened > 0 {
            return;
        }
        if let Content::File { now, changed, .. } = &mut node.content {
            self.used_pages -= now.pages.len() as u64;
            *now = Bytes::default();
            changed.clear();
        }
    }

    pub(super) fn read(&self, number: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        let Content::File { now, .. } = &self.node(number)?.content else { return Err(Errno::ISDIR) };
        let end = now.size.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let (page, start) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let take = (PAGE - start).min((end - at) as usize);
            match now.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[start..start + take]),
                None => bytes.resize(bytes.len() + take, 0),
            }
            at += take as u64;
        }
        Ok(bytes)
    }

    /// Writes, if the result fits into `capacity` pages.
    pub(super) fn write(&mut self, number: u64, offset: u64, bytes: &[u8], capacity: u64) -> Result<()> {
        self.writes += 1;
        let write = self.writes;
        let used = self.used_pages;
        let node = self.node_mut(number)?;
        let Content::File { now, changed, .. } = &mut node.content else { return Err(Errno::ISDIR) };
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
        let pages = offset / PAGE as u64..end.div_ceil(PAGE as u64);
        let added = pages.clone().filter(|page| !now.pages.contains_key(page)).count() as u64;
        if used + added > capacity {
            return Err(Errno::NOSPC);
        }
        let mut rest = bytes;
        let mut start = (offset % PAGE as u64) as usize;
        for number in pages {
            let (part, after) = rest.split_at(rest.len().min(PAGE - start));
            let page = now.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[start..start + part.len()].copy_from_slice(part);
            changed.insert(number, write);
            (rest, start) = (after, 0);
        }
        now.size = now.size.max(end);
        node.modified = SystemTime::now();
        self.used_pages += added;
        Ok(())
    }

    /// Truncates a file, or extends it by a hole.
    pub(super) fn truncate(&mut self, number: u64, size: u64) -> Result<()> {
        self.writes += 1;
        let write = self.writes;
        let node = self.node_mut(number)?;
        let Content::File { now, changed, .. } = &mut node.content else { return Err(Errno::ISDIR) };
        let before = now.pages.len();
        let touched = now.cut_to(size);
        changed.extend(touched.into_iter().map(|page| (page, write)));
        let freed = before - now.pages.len();
        node.modified = SystemTime::now();
        self.used_pages -= freed as u64;
        Ok(())
    }

    /// Makes a file's data and size, or a folder's names, durable; and the names that lead to it.
    pub(super) fn sync(&mut self, number: u64) -> Result<()> {
        let mut whole = None;
        match &mut self.node_mut(number)?.content {
            Content::File { now, durable, changed } => {
                std::mem::take(changed).into_keys().for_each(|page| durable.take(page, now));
                durable.size = now.size;
            }
            Content::Folder { .. } => whole = Some(number),
            Content::Socket => {}
        }
        self.settle(number, whole);
        Ok(())
    }

    /// A failed sync: the changes are lost. Returns the pages that programs still see while the kernel caches them: offset
    /// and bytes, up to the end of the file.
    pub(super) fn sync_failed(&mut self, number: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        let mut seen = Vec::new();
        let Content::File { now, durable, changed } = &mut self.node_mut(number)?.content else {
            return Ok(seen);
        };
        let before = now.pages.len();
        for page in std::mem::take(changed).into_keys() {
            let offset = page * PAGE as u64;
            if let Some(bytes) = now.pages.get(&page) {
                let length = (PAGE as u64).min(now.size - offset) as usize;
                seen.push((offset, bytes[..length].to_vec()));
            }
            now.take(page, durable);
        }
        let after = now.pages.len();
        self.used_pages = self.used_pages + after as u64 - before as u64;
        Ok(seen)
    }

    /// Makes changes of names durable: those that created `node` and the folders above it, all that touch a name in
    /// `whole` and in folders that a rename binds to it, and what came before them for the same names.
    fn settle(&mut self, node: u64, whole: Option<u64>) {
        let mut folders: BTreeSet<u64> = whole.into_iter().collect();
        loop {
            let before = folders.len();
            let bound =
                self.open_changes.iter().filter(|change| change.folders().any(|f| folders.contains(&f)));
            let bound: Vec<u64> = bound.flat_map(Change::folders).collect();
            folders.extend(bound);
            if folders.len() == before {
                break;
            }
        }
        let mut created = BTreeSet::from([node]);
        let mut places: BTreeSet<(u64, OsString)> = BTreeSet::new();
        let (mut kept, mut settled) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.open_changes).into_iter().rev() {
            let creates = matches!(&change, Change::Add { .. })
                && change.node().is_some_and(|it| created.contains(&it));
            let chosen = creates
                || change.folders().any(|folder| folders.contains(&folder))
                || change.places().any(|(folder, name)| places.contains(&(folder, name.to_owned())));
            if chosen {
                created.extend(change.folders());
                places.extend(change.places().map(|(folder, name)| (folder, name.to_owned())));
                settled.push(change);
            } else {
                kept.push(change);
            }
        }
        kept.reverse();
        self.open_changes = kept;
        settled.reverse();
        self.apply(&settled);
        self.forget_unreachable(&settled);
    }

    /// Applies changes to the durable names.
    pub(super) fn apply(&mut self, changes: &[Change]) {
        let mut set = |folder: u64, name: &OsStr, node: Option<u64>| {
            // A folder that was freed keeps no names.
            let Some(Node { content: Content::Folder { durable, .. }, .. }) = self.nodes.get_mut(&folder)
            else {
                return;
            };
            match node {
                Some(node) => drop(durable.insert(name.to_owned(), node)),
                None => drop(durable.remove(name)),
            }
        };
        for change in changes {
            match change {
                Change::Add { folder, name, node } => set(*folder, name, Some(*node)),
                Change::Remove { folder, name } => set(*folder, name, None),
                Change::Rename { folder, name, to_folder, to_name, node } => {
                    set(*folder, name, None);
                    set(*to_folder, to_name, Some(*node));
                }
            }
        }
    }

    /// Frees nodes that lost their last durable name, if nothing else refers to them.
    fn forget_unreachable(&mut self, changes: &[Change]) {
        if !changes.iter().any(|change| !matches!(change, Change::Add { .. })) {
            return;
        }
        let mut reachable: BTreeSet<u64> = self.open_changes.iter().filter_map(Change::node).collect();
        for node in self.nodes.values() {
            if let Content::Folder { durable, .. } = &node.content {
                reachable.extend(durable.values());
            }
        }
        self.nodes.retain(|number, node| {
            *number == ROOT || node.links > 0 || node.opened > 0 || reachable.contains(number)
        });
    }

    /// Drops everything that is not durable.
    pub(super) fn restart(&mut self) {
        self.open_changes.clear();
        let mut reached: BTreeMap<u64, u64> = BTreeMap::from([(ROOT, ROOT)]);
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            let Some(Node { content: Content::Folder { durable, .. }, .. }) = self.nodes.get(&folder) else {
                continue;
            };
            for node in durable.values() {
                if reached.insert(*node, folder).is_none() {
                    folders.push(*node);
                }
            }
        }
        self.nodes.retain(|number, _| reached.contains_key(number));
        self.used_pages = 0;
        for (number, node) in &mut self.nodes {
            (node.opened, node.links, node.parent) = (0, 1, reached[number]);
            match &mut node.content {
                Content::File { now, durable, changed } => {
                    changed.clear();
                    *now = durable.clone();
                    self.used_pages += now.pages.len() as u64;
                }
                Content::Folder { now, durable } => now.clone_from(durable),
                Content::Socket => {}
            }
        }
    }
}
