//! Opening a log: look at everything, decide, then change what has to be changed.

mod decide;
#[cfg(test)]
mod hostile;
mod replay;
mod scan;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::sync::Arc;

use self::decide::{Decision, FoundSegment, Refusal, decide};
use self::replay::{Records, replay};
use self::scan::{Found, Scan};
use crate::checkpoint::{self, Groups, Header};
use crate::disk::{Folder, FolderFile};
use crate::error::OpenError;
use crate::limits::{CUT_FILES_MAX, SEGMENT_BYTES_MAX, SPARES_MAX};
use crate::mark::{self, FoundMark, Mark, Place};
use crate::options::Options;
use crate::record::{self, Kind, NO_GROUP};
use crate::segment::{LOCK_FILE, NEW_MARK_FILE, NEW_SEGMENT_FILE, Name, NewFile};
use crate::view::Views;

/// What was found when a log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whether the log was created.
    pub is_new: bool,
    /// Groups that lost entries that were synced. They take nothing but their removal: their replicas have to be replaced,
    /// under ids that never voted.
    pub broken: Vec<u64>,
    /// The file that keeps the torn end of the log, which was never synced.
    pub kept: Option<String>,
}

/// An open folder, ready for the writer.
pub(crate) struct Opened {
    pub(crate) folder: Arc<dyn Folder>,
    pub(crate) lock: Arc<dyn Send + Sync>,
    pub(crate) mark: Mark,
    pub(crate) views: Views,
    pub(crate) groups: Groups,
    pub(crate) segments: BTreeMap<u64, Arc<dyn FolderFile>>,
    /// The end of the newest segment.
    pub(crate) end: Place,
    /// Bytes of the newest segment's file.
    pub(crate) capacity: u64,
    pub(crate) spares: Vec<String>,
    pub(crate) recovery: Recovery,
}

/// A segment that was read.
struct Read {
    id: u64,
    file: Arc<dyn FolderFile>,
    len: u64,
    found: Found,
}

/// Opens the log in a folder, or creates it.
pub(crate) fn open(folder: Arc<dyn Folder>, options: &Options) -> Result<Opened, OpenError> {
    options.check().map_err(|error| OpenError::InvalidOption {
        option: error.option,
        actual: error.actual,
        range: error.range,
    })?;
    let path = folder.describe();
    let lock = folder.lock(LOCK_FILE).map_err(failed("locking", &path))?;
    let lock: Arc<dyn Send + Sync> = Arc::from(lock.ok_or_else(|| OpenError::Locked { path: path.clone() })?);
    let names = names(&*folder).map_err(failed("listing", &path))?;
    let found_mark = mark::read(&*folder).map_err(failed("reading the mark of", &path))?;
    let mark_place = match found_mark {
        FoundMark::Whole(mark) => mark.synced,
        FoundMark::Missing | FoundMark::Damaged => Place::default(),
    };
    let (segments, records) = read_all(&*folder, &names, mark_place, &path)?;
    let found: Vec<FoundSegment> = segments.iter().map(Read::found).collect();
    match decide(&found_mark, &found).map_err(|refusal| refused(refusal, path.clone()))? {
        Decision::Create => {
            let mark = Mark::of_new(random());
            mark::create(&*folder, mark).map_err(failed("creating the mark of", &path))?;
            create(folder, lock, mark, options).map_err(failed("creating", &path))
        }
        Decision::Begin(mark) => create(folder, lock, mark, options).map_err(failed("creating", &path)),
        Decision::Continue { mark, newest } => {
            let resumed = resume(Arc::clone(&folder), lock, mark, (segments, newest), &records);
            let (mut opened, later, torn_end) =
                resumed.map_err(|what| OpenError::PromisesBroken { path: path.clone(), what })?;
            opened
                .tidy(&names, &later, options)
                .and_then(|()| opened.keep_torn_end(torn_end))
                .map_err(failed("preparing", &path))?;
            Ok(opened)
        }
    }
}

/// Reads all segments. Returns also the entries of all but the newest one that was begun; what else is in those, the newest
/// one's checkpoint has.
fn read_all(
    folder: &dyn Folder,
    names: &[Name],
    mark: Place,
    path: &str,
) -> Result<(Vec<Read>, Records), OpenError> {
    let (mut segments, mut records, mut newest) = (Vec::<Read>::new(), Records::default(), None);
    for name in names {
        let Name::Segment(id) = *name else { continue };
        let read = read(folder, id, mark).map_err(failed("reading the segments of", path))?;
        match read.found {
            Found::NotBegun => {}
            Found::OfVersion(version) => {
                return Err(OpenError::UnknownFormat {
                    path: path.into(),
                    segment: name.to_string(),
                    version,
                });
            }
            Found::Begun(_) => {
                let before = newest.replace(segments.len()).map(|before: usize| &mut segments[before]);
                if let Some(Read { id, found: Found::Begun(scan), .. }) = before {
                    records.add(*id, std::mem::take(&mut scan.records));
                }
            }
        }
        segments.push(read);
    }
    Ok((segments, records))
}

/// What the segments up to the newest one amount to, the segments after it, and where its torn end ends.
fn resume(
    folder: Arc<dyn Folder>,
    lock: Arc<dyn Send + Sync>,
    mark: Mark,
    (mut segments, newest): (Vec<Read>, usize),
    records: &Records,
) -> Result<(Opened, Vec<Read>, u64), String> {
    let later = segments.split_off(newest + 1);
    let newest = segments.last_mut().expect("there is a newest segment");
    let Found::Begun(scan) = &mut newest.found else { unreachable!("the newest segment was begun") };
    let groups = std::mem::take(&mut scan.groups);
    let replayed = replay(groups, records, std::mem::take(&mut scan.records))?;
    let recovery = Recovery { broken: replayed.views.broken(), ..Recovery::default() };
    let end = Place { segment: newest.id, offset: scan.end, link: scan.link };
    let (torn_end, capacity) = (scan.torn_end, newest.len);
    let opened = Opened {
        folder,
        lock,
        mark,
        views: replayed.views,
        groups: replayed.groups,
        segments: segments.into_iter().map(|read| (read.id, read.file)).collect(),
        end,
        capacity,
        spares: Vec::new(),
        recovery,
    };
    Ok((opened, later, torn_end))
}

fn failed(action: &'static str, path: &str) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { action, path: path.to_owned(), source }
}

fn refused(refusal: Refusal, path: String) -> OpenError {
    match refusal {
        Refusal::MarkUnusable(what) => OpenError::MarkUnusable { path, what: what.into() },
        Refusal::OtherLog { segment } => {
            OpenError::OtherLog { path, segment: Name::Segment(segment).to_string() }
        }
        Refusal::Broken(what) => OpenError::PromisesBroken { path, what },
    }
}

/// A number that no other log has. The hasher's keys come from the system's random numbers.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn names(folder: &dyn Folder) -> io::Result<Vec<Name>> {
    let mut names: Vec<Name> = folder.names()?.iter().filter_map(|name| Name::parse(name)).collect();
    names.sort();
    Ok(names)
}

fn read(folder: &dyn Folder, id: u64, mark: Place) -> io::Result<Read> {
    let file = folder.open(&Name::Segment(id).to_string())?.ok_or(io::ErrorKind::NotFound)?;
    // What is found counts as synced from now on. And it is read from the disk: after a failed sync the cache may hold,
    // as clean, what never reached it.
    file.sync()?;
    file.evict();
    let len = file.len()?;
    let mut bytes = vec![0; usize::try_from(len.min(SEGMENT_BYTES_MAX)).map_err(io::Error::other)?];
    file.read(0, &mut bytes)?;
    let found = scan::scan(&bytes, id, (mark.segment == id).then_some(mark.offset));
    Ok(Read { id, file, len: bytes.len() as u64, found })
}

impl Read {
    fn scan(&self) -> Option<&Scan> {
        match &self.found {
            Found::Begun(scan) => Some(scan),
            Found::NotBegun | Found::OfVersion(_) => None,
        }
    }

    fn found(&self) -> FoundSegment {
        FoundSegment {
            id: self.id,
            incarnation: self.scan().map(|scan| scan.incarnation),
            end: self.scan().map_or(0, |scan| scan.end),
            link_at_mark: self.scan().and_then(|scan| scan.link_at_mark),
        }
    }
}

/// Makes the first segment. It gets its name once it is whole.
fn create(
    folder: Arc<dyn Folder>,
    lock: Arc<dyn Send + Sync>,
    mark: Mark,
    options: &Options,
) -> io::Result<Opened> {
    let file = NewFile::begin(&*folder, options.segment_bytes)?.finish()?;
    let header = Header { incarnation: mark.incarnation, segment: 1, before: 0 };
    let mut bytes = Vec::new();
    let payload = checkpoint::encode(&header, &Groups::new());
    let link = record::push(&mut bytes, Kind::Checkpoint, NO_GROUP, &payload, header.before);
    file.write(0, &bytes)?;
    file.sync()?;
    folder.rename(NEW_SEGMENT_FILE, &Name::Segment(1).to_string())?;
    folder.sync()?;
    Ok(Opened {
        folder,
        lock,
        mark,
        views: Views::default(),
        groups: Groups::new(),
        segments: [(1, file)].into(),
        end: Place { segment: 1, offset: bytes.len() as u64, link },
        capacity: options.segment_bytes,
        spares: Vec::new(),
        recovery: Recovery { is_new: true, ..Recovery::default() },
    })
}

impl Opened {
    /// Collects spare files, and removes what an earlier process left unfinished or what is too much. `later` are files
    /// that got their names as segments and hold nothing.
    fn tidy(&mut self, names: &[Name], later: &[Read], options: &Options) -> io::Result<()> {
        for read in later {
            self.folder.rename(&Name::Segment(read.id).to_string(), &Name::Spare(read.id).to_string())?;
        }
        let spares = names.iter().copied().filter(|name| matches!(name, Name::Spare(_)));
        let spares: BTreeSet<Name> = spares.chain(later.iter().map(|read| Name::Spare(read.id))).collect();
        for name in spares.iter().map(ToString::to_string) {
            let len = self.folder.open(&name)?.map(|file| file.len()).transpose()?;
            if self.spares.len() < SPARES_MAX && len == Some(options.segment_bytes) {
                self.spares.push(name);
            } else {
                self.folder.remove(&name)?;
            }
        }
        let cut: Vec<_> = names.iter().filter(|name| matches!(name, Name::Cut { .. })).collect();
        for name in &cut[..cut.len().saturating_sub(CUT_FILES_MAX - 1)] {
            self.folder.remove(&name.to_string())?;
        }
        for name in [NEW_MARK_FILE, NEW_SEGMENT_FILE] {
            if self.folder.open(name)?.is_some() {
                self.folder.remove(name)?;
            }
        }
        self.folder.sync()
    }

    /// Copies what looks like records after the end to a file of its own. They were never synced, and the next record
    /// replaces them.
    fn keep_torn_end(&mut self, torn_end: u64) -> io::Result<()> {
        let Place { segment, offset: at, .. } = self.end;
        if torn_end <= at {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(torn_end - at).map_err(io::Error::other)?];
        self.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?.read(at, &mut bytes)?;
        let name = Name::Cut { segment, at }.to_string();
        let copy = self.folder.create(&name)?;
        copy.write(0, &bytes)?;
        copy.sync()?;
        self.folder.sync()?;
        tracing::warn!(
            log = self.folder.describe(),
            segment,
            at,
            kept = name,
            "the record at this offset is not whole and was never synced; the log was cut off there"
        );
        self.recovery.kept = Some(name);
        Ok(())
    }
}
