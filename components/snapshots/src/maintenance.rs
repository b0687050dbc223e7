//! Cross-checks the component's keyspaces, and repairs what the snapshots determine.
//!
//! First `snapshots` and `infos` are walked in parallel, and each snapshot's entry in `sources` is looked up. Then
//! `sources` is walked for entries without a snapshot. Data is read once.

use std::cmp::Ordering;
use std::collections::HashMap;

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::maintenance::{Cursor, Findings, ScavengeStep, VerifyStep, cursor};
use exesdb_sdk::types::{Direction, Error, Range};
use exesdb_sdk::view::{Entry, Page, View};

use crate::layout::{
    INFOS, SNAPSHOTS, SOURCES, decode_snapshot, encode_info, id_by_source, id_by_stream, key_by_source,
    key_by_stream,
};

/// Maximum number of entries of each keyspace per step.
pub const STEP_ENTRIES: u32 = 1_000;

/// Maximum bytes of each keyspace per step, unless a single snapshot is larger.
const STEP_BYTES: u32 = 2 << 20;

/// Does nothing: deleted snapshots are removed at once.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor, because this function returns none.
pub fn scavenge(from: Option<&Cursor>) -> Result<ScavengeStep, Error> {
    match from {
        None => Ok(ScavengeStep { batches: Vec::new(), next: None, examined: 0, removed: 0, bytes: 0 }),
        Some(_) => Err(cursor::unknown()),
    }
}

/// Runs one step.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor that this function did not return; those of the storage.
pub fn verify(view: &impl View, from: Option<&Cursor>, repair: bool) -> Result<VerifyStep, Error> {
    let place = from.map_or(Ok(Start::Snapshots(Vec::new())), |cursor| Start::decode(cursor))?;
    let mut step = Step { view, examined: 0, findings: Findings::new(repair) };
    let next = match place {
        Start::Snapshots(start) => step.snapshots(start)?,
        Start::Sources(start) => step.sources(start)?,
    };
    Ok(step.findings.step(step.examined, next.map(|place| place.encode())))
}

/// The start of a step: the first key to read.
enum Start {
    Snapshots(Vec<u8>),
    Sources(Vec<u8>),
}

impl Start {
    const SNAPSHOTS: u8 = 1;
    const SOURCES: u8 = 2;

    fn encode(&self) -> Cursor {
        match self {
            Self::Snapshots(key) => cursor::of_key(Self::SNAPSHOTS, key),
            Self::Sources(key) => cursor::of_key(Self::SOURCES, key),
        }
    }

    fn decode(cursor: &[u8]) -> Result<Self, Error> {
        match cursor::parts(cursor)? {
            (Self::SNAPSHOTS, key) => Ok(Self::Snapshots(key.to_owned())),
            (Self::SOURCES, key) => Ok(Self::Sources(key.to_owned())),
            _ => Err(cursor::unknown()),
        }
    }
}

struct Step<'a, V> {
    view: &'a V,
    examined: u64,
    findings: Findings,
}

impl<V: View> Step<'_, V> {
    fn snapshots(&mut self, start: Vec<u8>) -> Result<Option<Start>, Error> {
        let snapshots = self.page(SNAPSHOTS, start.clone())?;
        let infos = self.page(INFOS, start)?;
        // Entries after the end of a page are unknown unless it is the last page.
        let horizon = [&snapshots, &infos].into_iter().filter(|page| page.more);
        let horizon = horizon.filter_map(|page| page.last()).map(|last| last.key).min();
        let is_seen = |entry: &Entry<'_>| horizon.is_none_or(|horizon| entry.key <= horizon);
        let snapshots: Vec<Entry<'_>> = snapshots.entries().take_while(is_seen).collect();
        let infos: Vec<Entry<'_>> = infos.entries().take_while(is_seen).collect();

        let places: Vec<Vec<u8>> =
            snapshots.iter().filter_map(|entry| Some(key_by_source(&id_by_stream(entry.key)?))).collect();
        let values = self.view.get_all(SOURCES, &places)?;
        let sources: HashMap<Vec<u8>, Option<Vec<u8>>> = places.into_iter().zip(values).collect();

        let mut infos = infos.into_iter().peekable();
        for snapshot in snapshots {
            while let Some(orphan) = infos.next_if(|info| info.key.cmp(snapshot.key) == Ordering::Less) {
                self.orphaned_info(orphan);
            }
            let info = infos.next_if(|info| info.key == snapshot.key);
            self.snapshot(snapshot, info, &sources);
        }
        for orphan in infos {
            self.orphaned_info(orphan);
        }
        let next = horizon.and_then(cursor::following);
        Ok(Some(next.map_or(Start::Sources(Vec::new()), Start::Snapshots)))
    }

    /// Checks a snapshot with its info and its entry in the index of sources.
    fn snapshot(
        &mut self,
        entry: Entry<'_>,
        info: Option<Entry<'_>>,
        sources: &HashMap<Vec<u8>, Option<Vec<u8>>>,
    ) {
        self.examined += 1;
        let Some(id) = id_by_stream(entry.key) else {
            let problem = "the key is not a stream id, a source id and a version; nothing reads this entry";
            self.findings.entry(SNAPSHOTS, entry.key, problem, None);
            return;
        };
        let by_source = key_by_source(&id);
        let snapshot = match decode_snapshot(id, entry.value) {
            Ok(snapshot) => snapshot,
            Err(reason) => {
                let problem = format!(
                    "the snapshot cannot be read: {reason}; delete it, its source can compute it again from the stream"
                );
                self.findings.entry(SNAPSHOTS, entry.key, problem, None);
                return;
            }
        };
        let wanted =
            encode_info(snapshot.created, &snapshot.snapshot.content_type, snapshot.snapshot.data.len());
        let info = info.map(|info| info.value);
        self.derived(entry, INFOS, entry.key, info, &wanted);
        let source = sources.get(&by_source).and_then(Option::as_deref);
        self.derived(entry, SOURCES, &by_source, source, &wanted);
    }

    /// Checks an entry that a snapshot determines.
    fn derived(
        &mut self,
        snapshot: Entry<'_>,
        keyspace: &str,
        key: &[u8],
        found: Option<&[u8]>,
        wanted: &[u8],
    ) {
        let problem = match found {
            Some(found) if found == wanted => return,
            Some(_) => "it does not say what the snapshot is; lists show it wrongly or fail",
            None => "it is missing, but the snapshot is there; lists lack it",
        };
        let mut batch = BatchBuilder::new();
        batch.require(SNAPSHOTS, snapshot.key, Some(snapshot.value));
        batch.require(keyspace, key, found);
        batch.put(keyspace, key, wanted);
        self.findings.entry(keyspace, key, problem, Some(batch));
    }

    fn orphaned_info(&mut self, info: Entry<'_>) {
        self.examined += 1;
        let mut batch = BatchBuilder::new();
        batch.require(SNAPSHOTS, info.key, None);
        batch.require(INFOS, info.key, Some(info.value));
        batch.delete(INFOS, info.key);
        self.findings.entry(
            INFOS,
            info.key,
            "there is no such snapshot; lists show one that cannot be read",
            Some(batch),
        );
    }

    fn sources(&mut self, start: Vec<u8>) -> Result<Option<Start>, Error> {
        let page = self.page(SOURCES, start)?;
        self.examined += page.len() as u64;
        let keys: Vec<Option<Vec<u8>>> =
            page.entries().map(|entry| Some(key_by_stream(&id_by_source(entry.key)?))).collect();
        let known: Vec<Vec<u8>> = keys.iter().flatten().cloned().collect();
        let mut infos = self.view.get_all(INFOS, &known)?.into_iter();
        for (entry, key) in page.entries().zip(keys) {
            let Some(key) = key else {
                let problem = "the key is not a source id, a stream id and a version; lists by source fail";
                let mut batch = BatchBuilder::new();
                batch.require(SOURCES, entry.key, Some(entry.value));
                batch.delete(SOURCES, entry.key);
                self.findings.entry(SOURCES, entry.key, problem, Some(batch));
                continue;
            };
            // If there is an info, the walk of both keyspaces has checked for its snapshot, and compared the
            // snapshot's entry.
            let info = infos.next().flatten();
            if info.is_some() && info.as_deref() == Some(entry.value)
                || self.view.get(SNAPSHOTS, &key)?.is_some()
            {
                continue;
            }
            let mut batch = BatchBuilder::new();
            batch.require(SNAPSHOTS, &key, None);
            batch.require(SOURCES, entry.key, Some(entry.value));
            batch.delete(SOURCES, entry.key);
            let problem = "there is no such snapshot; lists by source show one that cannot be read";
            self.findings.entry(SOURCES, entry.key, problem, Some(batch));
        }
        let last = page.last().filter(|_| page.more);
        Ok(last.and_then(|last| cursor::following(last.key)).map(Start::Sources))
    }

    fn page(&self, keyspace: &str, start: Vec<u8>) -> Result<Page, Error> {
        let range = Range { keyspace: keyspace.to_owned(), start, end: None };
        Ok(self.view.scan(&range, Direction::Forward, STEP_ENTRIES, STEP_BYTES)?)
    }
}
