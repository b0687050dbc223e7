//! A store as it was when it had no more than some events.
//!
//! The backup is restored as a whole into a folder beside the store's; then its events are copied into a new store there,
//! through the streams component, which alone knows what they consist of. The new store gets its name as the last step.
//!
//! Where times do not rise with versions, age may hide an event between two that can be read, and a store takes the
//! versions of a stream without holes. So the whole store is read at a time of day at which nothing is too old: then all
//! that can be hidden of a stream is its beginning, and what age hides is copied to its place. In the new store it is as
//! old as it was, and as hidden.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use exesdb_plugin::contract::snapshots::{SnapshotData, SnapshotScope};
use exesdb_plugin::contract::streams::{
    Deletion, EventData, ImportedEvent, RecordedEvent, Retention, StreamInfo, StreamState,
};
use exesdb_plugin::contract::types::{Direction, Error, ExpectedVersion};
use exesdb_plugin::{Caller, Clock};
use exesdb_storage::dump::unfinished;
use exesdb_storage::{Histories, begin_history};

use super::stream::{self, Hidden, Outcome};
use super::{Backup, onward, whole};
use crate::command::export::format::{PLACEHOLDER_TYPE, placeholder_id};
use crate::command::progress;
use crate::config::StoreConfig;
use crate::maintenance::explain;
use crate::offline::{OfflineHost, OfflineStore, Opening};
use crate::tree::Persistence;

/// Events, streams or snapshots of a page: the most that the components give.
const PAGE: u32 = 1_000;
/// Bytes of events in one import: a component's memory holds them several times.
const IMPORT_BYTES_MAX: usize = 4 << 20;

/// What a new store has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copied {
    /// One more than the position of the last event copied.
    pub(super) end: u64,
    pub(super) events: u64,
    /// Streams with limits, and those without any event left.
    pub(super) streams: u64,
    pub(super) snapshots: u64,
}

/// Makes the store of the events up to a position, inclusive.
pub(super) async fn restore(
    store: &OfflineStore,
    backup: &mut Backup<'_>,
    position: u64,
) -> anyhow::Result<Copied> {
    let data = store.prepare()?;
    let target = data.join(&store.config.name);
    let beside = beside(&data, &store.config.name);
    remove(&beside)?;
    unfinished::begin(&target).with_context(|| format!("{} cannot be marked", target.display()))?;
    let copied = beside_target(store, backup, position, &data, &beside, &target).await;
    let removed = remove(&beside);
    let copied = copied?;
    removed?;
    Ok(copied)
}

/// Removes what a restore that was killed left beside the store's folder.
pub(super) fn clean_up(store: &OfflineStore) -> anyhow::Result<()> {
    remove(&beside(&store.data, &store.config.name))
}

/// Where stores are made before the target has its own. No store's name begins with a dot.
fn beside(data: &Path, store: &str) -> PathBuf {
    data.join(format!(".{store}.restoring"))
}

async fn beside_target(
    store: &OfflineStore,
    backup: &mut Backup<'_>,
    position: u64,
    data: &Path,
    beside: &Path,
    target: &Path,
) -> anyhow::Result<Copied> {
    let (from, to) = (beside.join("whole"), beside.join("part"));
    std::fs::create_dir_all(&from).with_context(|| format!("{} cannot be made", from.display()))?;
    std::fs::create_dir_all(&to).with_context(|| format!("{} cannot be made", to.display()))?;
    let summary = whole(&from, backup)?;
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
    // Clients may know positions up to here, and none of those that come next.
    let inherited = summary.histories.unwrap_or_else(Histories::begin);
    begin_history(&to, &inherited, copied.end)?;
    // The database last: until it is there, the folder's mark says that the restore is not finished.
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
    /// Which components the store has.
    config: &'a StoreConfig,
    position: u64,
    copied: Copied,
}

/// A component's refusal, with what it was about.
fn refused(what: impl Into<String>) -> impl FnOnce(Error) -> anyhow::Error {
    let what = what.into();
    move |error| anyhow!("{what}: {}", explain(&error))
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
            let read =
                self.whole.readers().read_all(Caller::operator(), Some(from), PAGE, Direction::Forward);
            let page = read.await.map_err(refused("reading the backup's events"))?;
            let next = onward::of_events(self.config, from, &page)?;
            let wanted = page.events.into_iter().take_while(|event| event.position <= self.position);
            let wanted: Vec<ImportedEvent> = wanted.map(imported).collect();
            for batch in batches(wanted) {
                let (count, first) = (batch.len() as u64, batch[0].position.unwrap_or(0));
                let last = batch.last().and_then(|event| event.position);
                let added = self.part.writers().import_events(Caller::operator(), batch, Vec::new()).await;
                added.map_err(refused(format!("copying {count} events from position {first} on")))?;
                self.copied.events += count;
                self.copied.end = last.map_or(self.copied.end, |last| last + 1);
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

    /// What is known of a stream in the new store, if it has events there.
    async fn info(&self, stream: &str) -> anyhow::Result<Option<StreamInfo>> {
        match self.part.readers().stream_info(Caller::operator(), stream.to_owned()).await {
            Ok(info) => Ok(Some(info)),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(refused(format!("stream {stream:?}"))(error)),
        }
    }

    /// Streams of which there is more to say than their events.
    async fn streams(&mut self) -> anyhow::Result<()> {
        let (mut after, whole) = (None, self.whole.readers());
        loop {
            let page = whole.list_streams(Caller::operator(), String::new(), after.clone(), PAGE, true).await;
            let page = page.map_err(refused("listing the streams"))?;
            for stream in &page.streams {
                self.stream(stream).await?;
            }
            let last = page.streams.into_iter().next_back();
            after = onward::of_streams(self.config, after.as_deref(), last, page.more)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn stream(&mut self, stream: &str) -> anyhow::Result<()> {
        let (whole, named) = (self.whole.readers(), || refused(format!("stream {stream:?}")));
        let info = whole.stream_info(Caller::operator(), stream.to_owned()).await.map_err(named())?;
        let lives = whole.stream_lives(Caller::operator(), vec![stream.to_owned()]).await.map_err(named())?;
        let copied = self.info(stream).await?.map(|there| there.last_version);
        let outcome = stream::outcome(&info, lives.into_iter().next().flatten(), copied, self.position);
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

    /// Makes a stream whose events are all hidden: it goes on counting after the last of them, unless it has a
    /// tombstone.
    async fn without_events(&mut self, stream: &str, hidden: Hidden) -> anyhow::Result<()> {
        let writers = self.part.writers();
        let refused = || refused(format!("stream {stream:?}"));
        let event = placeholder(stream, hidden.last_version, hidden.updated);
        writers.import_events(Caller::operator(), vec![event], Vec::new()).await.map_err(refused())?;
        self.set_retention(stream, hidden.retention).await?;
        self.copied.streams += 1;
        let deletion = match hidden.state {
            StreamState::Live => return Ok(()),
            StreamState::Deleted => Deletion::Soft,
            StreamState::Tombstoned => Deletion::Tombstone,
        };
        let (stream, expected) = (stream.to_owned(), ExpectedVersion::Any);
        writers.delete_stream(Caller::operator(), stream, expected, deletion).await.map_err(refused())
    }

    async fn set_retention(&self, stream: &str, retention: Retention) -> anyhow::Result<()> {
        let set = self.part.writers().set_retention(Caller::operator(), stream.to_owned(), retention).await;
        set.map_err(refused(format!("the retention of stream {stream:?}")))
    }

    async fn snapshots(&mut self) -> anyhow::Result<()> {
        let (from, to) = (self.whole.visible_snapshots(), self.part.visible_snapshots());
        let mut after = None;
        loop {
            let scope = SnapshotScope { stream_id: None, source_id: None };
            let page = from.list(Caller::operator(), scope, after.clone(), PAGE).await;
            let page = page.map_err(refused("listing the snapshots"))?;
            for info in &page.snapshots {
                let id = &info.id;
                let reached =
                    self.info(&id.stream_id).await?.is_some_and(|stream| stream.last_version >= id.version);
                if !reached {
                    continue;
                }
                let what = || format!("the snapshot of stream {:?} at version {}", id.stream_id, id.version);
                let snapshot = from.read(Caller::operator(), id.clone()).await.map_err(refused(what()))?;
                let data = SnapshotData {
                    content_type: snapshot.content_type,
                    data: snapshot.data,
                    metadata: snapshot.metadata,
                };
                let put = to.import(Caller::operator(), id.clone(), data, snapshot.created).await;
                put.map_err(refused(what()))?;
                self.copied.snapshots += 1;
            }
            let last = page.snapshots.last().map(|info| info.id.clone());
            after = onward::of_snapshots(self.config, after.as_ref(), last, page.more)?;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

fn imported(event: RecordedEvent) -> ImportedEvent {
    ImportedEvent {
        stream_id: event.stream_id,
        version: event.version,
        position: Some(event.position),
        created: event.created,
        event: EventData {
            id: event.id,
            event_type: event.event_type,
            content_type: event.content_type,
            data: event.data,
            metadata: event.metadata,
            tags: event.tags,
        },
    }
}

/// An event in place of those that a stream had and that are hidden.
fn placeholder(stream: &str, version: u64, created: u64) -> ImportedEvent {
    ImportedEvent {
        stream_id: stream.to_owned(),
        version,
        position: None,
        created,
        event: EventData {
            id: placeholder_id(version),
            event_type: PLACEHOLDER_TYPE.to_owned(),
            content_type: "application/json".to_owned(),
            data: b"null".to_vec(),
            metadata: Vec::new(),
            tags: Vec::new(),
        },
    }
}

/// The events in order, cut where their bytes would be too many.
fn batches(events: Vec<ImportedEvent>) -> Vec<Vec<ImportedEvent>> {
    let mut batches: Vec<Vec<ImportedEvent>> = Vec::new();
    let mut bytes = 0;
    for event in events {
        let size = event.event.data.len() + event.event.metadata.len();
        match batches.last_mut() {
            Some(batch) if bytes + size <= IMPORT_BYTES_MAX => {
                bytes += size;
                batch.push(event);
            }
            _ => {
                bytes = size;
                batches.push(vec![event]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::{IMPORT_BYTES_MAX, batches, imported};
    use exesdb_plugin::contract::streams::RecordedEvent;

    fn event(position: u64, bytes: usize) -> RecordedEvent {
        RecordedEvent {
            stream_id: "s".to_owned(),
            version: position,
            position,
            id: position.to_string(),
            event_type: "t".to_owned(),
            content_type: "a/b".to_owned(),
            data: vec![0; bytes],
            metadata: Vec::new(),
            tags: vec!["k:v".to_owned()],
            created: 7,
        }
    }

    #[test]
    fn imports_keep_within_their_bytes_and_in_order() {
        let sizes = [IMPORT_BYTES_MAX / 2, IMPORT_BYTES_MAX / 2, 1, IMPORT_BYTES_MAX * 2, 1];
        let events = (0..).zip(sizes).map(|(position, bytes)| imported(event(position, bytes))).collect();
        let positions: Vec<Vec<Option<u64>>> =
            batches(events).iter().map(|batch| batch.iter().map(|event| event.position).collect()).collect();
        assert_eq!(positions, [vec![Some(0), Some(1)], vec![Some(2)], vec![Some(3)], vec![Some(4)]]);
        assert!(batches(Vec::new()).is_empty());
    }
}
