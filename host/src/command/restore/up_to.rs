//! Restores the events of a backup up to a position.
//!
//! The backup is restored as a whole into a temporary folder. Then its events are copied into a new store there, through the
//! streams component, which alone knows their form on disk. The last step moves the new store to its place.
//!
//! If times do not increase with versions, age may hide an event between two visible ones, but a store takes the versions of
//! a stream without gaps. So the whole store is read with a clock at which no event is too old: then only the beginning of a
//! stream can be hidden, and events that age hides are copied too. In the new store they are as old as before, and hidden.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use exesdb_plugin::contract::snapshot_types::{NewSnapshot, SnapshotScope};
use exesdb_plugin::contract::types::{
    AllSelection, Deletion, DeletionRequest, Direction, Error, ExpectedVersion, ImportRequest, Retention,
    RetentionRequest, Selection, Source, StreamInfo, StreamState,
};
use exesdb_plugin::{Caller, Clock};
use exesdb_storage::dump::unfinished;
use exesdb_storage::{Histories, begin_history};

use super::backup::Backup;
use super::events::{Wanted, placeholder};
use super::paging;
use super::stream_rules::{Hidden, Outcome, outcome};
use crate::command::progress;
use crate::config::StoreConfig;
use crate::maintenance::explain;
use crate::offline::{OfflineHost, OfflineStore, Opening};
use crate::tree::Persistence;

/// Events, streams or snapshots in a page: the maximum of the components.
const PAGE_COUNT: u32 = 1_000;
/// Bytes of events in a page, which is one import. A component's memory holds them several times.
const PAGE_BYTES: u32 = 2 << 20;

/// The content of the new store.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copied {
    /// The position after the last copied event.
    pub(super) end: u64,
    pub(super) events: u64,
    /// Streams with retention, and those without any visible event.
    pub(super) streams: u64,
    pub(super) snapshots: u64,
}

/// Creates a store with the events up to a position, inclusive.
pub(super) async fn restore(
    store: &OfflineStore,
    backup: &mut Backup<'_>,
    position: u64,
) -> anyhow::Result<Copied> {
    let data = store.prepare()?;
    let target = data.join(&store.config.name);
    let temporary = temporary_folder(&data, &store.config.name);
    remove(&temporary)?;
    unfinished::begin(&target).with_context(|| format!("{} cannot be marked", target.display()))?;
    let copied = copy_to(store, backup, position, &data, &temporary, &target).await;
    let removed = remove(&temporary);
    let copied = copied?;
    removed?;
    Ok(copied)
}

/// Removes the temporary folder of a restore that was killed.
pub(super) fn clean_up(store: &OfflineStore) -> anyhow::Result<()> {
    remove(&temporary_folder(&store.data, &store.config.name))
}

/// The folder in which both stores are created. No store has a name with a dot at its beginning.
fn temporary_folder(data: &Path, store: &str) -> PathBuf {
    data.join(format!(".{store}.restoring"))
}

/// Restores the backup in the temporary folder, copies its events, and moves the new store to the target.
async fn copy_to(
    store: &OfflineStore,
    backup: &mut Backup<'_>,
    position: u64,
    data: &Path,
    temporary: &Path,
    target: &Path,
) -> anyhow::Result<Copied> {
    let (from, to) = (temporary.join("whole"), temporary.join("part"));
    std::fs::create_dir_all(&from).with_context(|| format!("{} cannot be made", from.display()))?;
    std::fs::create_dir_all(&to).with_context(|| format!("{} cannot be made", to.display()))?;
    let summary = backup.restore(&from)?;
    let opening = |name: &str, folder: &Path, clock| {
        let config = StoreConfig { name: name.to_owned(), ..store.config.clone() };
        Opening { config, folder: folder.to_owned(), clock }
    };
    let stores = vec![opening("whole", &from, Clock::Epoch), opening("part", &to, Clock::System)];
    let host = OfflineHost::start(data, stores).await?;
    let [whole, part] = host.stores() else { bail!("two stores were started, and others run") };
    let copied = Copy { whole, part, config: &store.config, position, copied: Copied::default() }.run().await;
    host.stop().await;
    let copied = copied?;
    // Clients may know positions up to here; the next ones belong to the new history.
    let inherited = summary.histories.unwrap_or_else(Histories::begin);
    begin_history(&to, &inherited, copied.end)?;
    // The database comes last: until then, the folder is marked as an unfinished restore.
    let parts = ["durable.mark", "data"];
    let moved = parts.iter().try_for_each(|part| {
        std::fs::rename(to.join(part), target.join(part))?;
        File::open(target)?.sync_all()
    });
    moved
        .and_then(|()| unfinished::finish(target))
        .with_context(|| format!("{} cannot be moved to {}", to.display(), target.display()))?;
    Ok(copied)
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

struct Copy<'a> {
    whole: &'a Persistence,
    part: &'a Persistence,
    /// The configuration of the store.
    config: &'a StoreConfig,
    position: u64,
    copied: Copied,
}

/// Adds what was attempted to the error of a component.
fn failed(action: impl Into<String>) -> impl FnOnce(Error) -> anyhow::Error {
    let action = action.into();
    move |error| anyhow!("{action}: {}", explain(&error))
}

impl Copy<'_> {
    async fn run(mut self) -> anyhow::Result<Copied> {
        self.events().await?;
        self.streams().await?;
        self.snapshots().await?;
        Ok(self.copied)
    }

    async fn events(&mut self) -> anyhow::Result<()> {
        let bar = progress::count("events");
        let mut from = 0;
        loop {
            let read = self.whole.readers().read(Caller::operator(), page_from(from));
            let page = read.await.map_err(failed("reading the backup's events"))?;
            let next = paging::next_events(self.config, from, &page)?;
            let wanted = Wanted::of(&page.events, self.position).map_err(|broken| {
                anyhow!(
                    "the component streams returned a broken page from position {from} on: {broken}; report this to the \
                     component's author"
                )
            })?;
            if let Some(Wanted { events, count, first, end }) = wanted {
                let added = self.part.writers().import(Caller::operator(), import(events, true)).await;
                added.map_err(failed(format!("copying {count} events from position {first} on")))?;
                self.copied.events += count;
                self.copied.end = end;
                bar.set_position(self.copied.events);
            }
            match next.filter(|next| *next <= self.position) {
                Some(next) => from = next,
                None => {
                    bar.finish_and_clear();
                    return Ok(());
                }
            }
        }
    }

    /// The state of a stream in the new store, if it exists there.
    async fn info(&self, stream: &str) -> anyhow::Result<Option<StreamInfo>> {
        match self.part.readers().describe_stream(Caller::operator(), stream.to_owned()).await {
            Ok(info) => Ok(Some(info)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(failed(format!("stream {stream:?}"))(error)),
        }
    }

    /// Copies retention and deletion of all streams.
    async fn streams(&mut self) -> anyhow::Result<()> {
        let (mut after, whole) = (None, self.whole.readers());
        loop {
            let page =
                whole.list_streams(Caller::operator(), String::new(), after.clone(), PAGE_COUNT, true).await;
            let page = page.map_err(failed("listing the streams"))?;
            for stream in &page.streams {
                self.stream(stream).await?;
            }
            let last = page.streams.into_iter().next_back();
            after = paging::next_streams(self.config, after.as_deref(), last, page.more)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn stream(&mut self, stream: &str) -> anyhow::Result<()> {
        let (whole, error) = (self.whole.readers(), || failed(format!("stream {stream:?}")));
        let info = whole.describe_stream(Caller::operator(), stream.to_owned()).await.map_err(error())?;
        let lives = whole.stream_lives(Caller::operator(), vec![stream.to_owned()]).await.map_err(error())?;
        let copied = self.info(stream).await?.map(|info| info.last_version);
        let outcome = outcome(&info, lives.into_iter().next().flatten(), copied, self.position);
        let outcome = outcome.map_err(|why| {
            anyhow!("the component streams contradicts itself about stream {stream:?}: {why}; report this to the component's author")
        })?;
        match outcome {
            Outcome::Absent => Ok(()),
            Outcome::Copied(retention) => {
                let Retention { max_count, max_age_seconds, truncate_before } = retention;
                if (max_count, max_age_seconds, truncate_before) == (None, None, None) {
                    return Ok(());
                }
                self.set_retention(stream, retention).await?;
                self.copied.streams += 1;
                Ok(())
            }
            Outcome::Hidden(hidden) => self.without_events(stream, hidden).await,
        }
    }

    /// Creates a stream whose events are all hidden. It continues after the last of them, unless it has a tombstone.
    async fn without_events(&mut self, stream: &str, hidden: Hidden) -> anyhow::Result<()> {
        let writers = self.part.writers();
        let error = || failed(format!("stream {stream:?}"));
        let event = placeholder(stream, hidden.last_version, hidden.updated)?;
        writers.import(Caller::operator(), import(event, false)).await.map_err(error())?;
        self.set_retention(stream, hidden.retention).await?;
        self.copied.streams += 1;
        let deletion = match hidden.state {
            StreamState::Live => return Ok(()),
            StreamState::Deleted => Deletion::Soft,
            StreamState::Tombstoned => Deletion::Tombstone,
        };
        let request = DeletionRequest {
            stream_id: stream.to_owned(),
            expected: ExpectedVersion::Any,
            deletion,
            options: Vec::new(),
        };
        writers.remove(Caller::operator(), request).await.map_err(error())?;
        Ok(())
    }

    async fn set_retention(&self, stream: &str, retention: Retention) -> anyhow::Result<()> {
        let request = RetentionRequest { stream_id: stream.to_owned(), retention, options: Vec::new() };
        let set = self.part.writers().retain(Caller::operator(), request).await;
        set.map_err(failed(format!("the retention of stream {stream:?}")))?;
        Ok(())
    }

    async fn snapshots(&mut self) -> anyhow::Result<()> {
        let (from, to) = (self.whole.visible_snapshots(), self.part.visible_snapshots());
        let mut after = None;
        loop {
            let scope = SnapshotScope { stream_id: None, source_id: None };
            let page = from.list(Caller::operator(), scope, after.clone(), PAGE_COUNT).await;
            let page = page.map_err(failed("listing the snapshots"))?;
            for info in &page.snapshots {
                let id = &info.id;
                let reached =
                    self.info(&id.stream_id).await?.is_some_and(|stream| stream.last_version >= id.version);
                if !reached {
                    continue;
                }
                let subject =
                    || format!("the snapshot of stream {:?} at version {}", id.stream_id, id.version);
                let snapshot = from.read(Caller::operator(), id.clone()).await.map_err(failed(subject()))?;
                let (snapshot, created) = (snapshot.snapshot, Some(snapshot.created));
                let put = NewSnapshot { id: id.clone(), snapshot, created };
                to.put(Caller::operator(), put).await.map_err(failed(subject()))?;
                self.copied.snapshots += 1;
            }
            let last = page.snapshots.last().map(|info| info.id.clone());
            after = paging::next_snapshots(self.config, after.as_ref(), last, page.more)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// A page of the whole store from a position on.
fn page_from(position: u64) -> Selection {
    Selection {
        source: Source::All(AllSelection { from: Some(position), until: None }),
        direction: Direction::Forward,
        count: PAGE_COUNT,
        max_bytes: PAGE_BYTES,
        options: Vec::new(),
    }
}

/// An import of these events, at their positions or at the next ones.
fn import(events: Vec<u8>, at_positions: bool) -> ImportRequest {
    ImportRequest { events, at_positions, marks: Vec::new(), options: Vec::new() }
}
