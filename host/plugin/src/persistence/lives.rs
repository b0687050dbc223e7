//! Snapshots as far as their streams live: what every snapshots component is asked through.
//!
//! A snapshot is worth something as long as its stream has the version that it was computed from, in the stream's present
//! life. The streams component tells the lives. Snapshots outside of them are hidden from reads and lists, and refused where
//! they are to be recorded; a sweep deletes them. Hiding does not wait for the sweep, so a stream that was deleted for
//! privacy is gone with its snapshots at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::pool::{Caller, SnapshotsPool, StreamsPool};
use crate::bindings::snapshots::{
    RecordedSnapshot, SnapshotData, SnapshotId, SnapshotInfo, SnapshotPage, SnapshotScope,
};
use crate::bindings::types::{Error, MissingVersion, StreamLife};

/// Snapshots that one list looks at before it gives up finding one that is not hidden: a sweep removes the hidden ones.
const LOOKED_AT_MAX: usize = 100_000;

/// Snapshots that one step of a sweep looks at: the contract's largest page.
const SWEEP_PAGE: u32 = 1_000;

/// The snapshots of a store, as far as their streams live.
pub struct LivingSnapshots {
    snapshots: Arc<SnapshotsPool>,
    streams: Arc<StreamsPool>,
}

/// What one step of a sweep did.
pub struct Swept {
    /// The last snapshot that was looked at, if more follow.
    pub after: Option<SnapshotId>,
    /// How many were looked at.
    pub examined: u64,
    /// How many were deleted.
    pub removed: u64,
    /// Bytes of their data.
    pub bytes: u64,
}

impl LivingSnapshots {
    /// The snapshots of one pool, of the streams that another one reads.
    pub fn new(snapshots: Arc<SnapshotsPool>, streams: Arc<StreamsPool>) -> Self {
        Self { snapshots, streams }
    }

    pub(crate) async fn record(
        &self,
        caller: Caller,
        id: SnapshotId,
        snapshot: SnapshotData,
    ) -> Result<(), Error> {
        self.check(caller.clone(), &id).await?;
        self.snapshots.record(caller, id, snapshot).await
    }

    /// Records a snapshot with the time that it has elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchVersion`], and the component's.
    pub async fn import(
        &self,
        caller: Caller,
        id: SnapshotId,
        snapshot: SnapshotData,
        created: u64,
    ) -> Result<(), Error> {
        self.check(caller.clone(), &id).await?;
        self.snapshots.import(caller, id, snapshot, created).await
    }

    /// The snapshot at exactly this place.
    ///
    /// # Errors
    ///
    /// The component's, and [`Error::NotFound`] for one that is hidden.
    pub async fn read(&self, caller: Caller, id: SnapshotId) -> Result<RecordedSnapshot, Error> {
        let version = id.version;
        let life = self.life(caller.clone(), &id.stream_id, "id.stream-id").await?;
        let read = self.snapshots.read(caller, id).await?;
        if has(life, version) { Ok(read) } else { Err(Error::NotFound) }
    }

    pub(crate) async fn read_latest(
        &self,
        caller: Caller,
        stream_id: String,
        source_id: String,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        let life = self.life(caller.clone(), &stream_id, "stream-id").await?.ok_or(Error::NotFound)?;
        let at_most = at_most.unwrap_or(u64::MAX).min(life.last_version);
        let latest = self.snapshots.read_latest(caller, stream_id, source_id, Some(at_most)).await?;
        if has(Some(life), latest.id.version) { Ok(latest) } else { Err(Error::NotFound) }
    }

    /// Lists the snapshots of a scope that come after `after` and are not hidden. A page with `more` has at least one.
    ///
    /// # Errors
    ///
    /// The component's, and [`Error::TooLarge`] if very many of the next ones are hidden.
    pub async fn list(
        &self,
        caller: Caller,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        let (mut after, mut looked_at) = (after, 0);
        loop {
            let page = self.snapshots.list(caller.clone(), scope.clone(), after, count).await?;
            looked_at += page.snapshots.len();
            let last = page.snapshots.last().map(|info| info.id.clone());
            let (alive, _) = self.sorted(caller.clone(), page.snapshots).await?;
            if !alive.is_empty() || !page.more || last.is_none() {
                return Ok(SnapshotPage { snapshots: alive, more: page.more && last.is_some() });
            }
            if looked_at >= LOOKED_AT_MAX {
                let SnapshotId { stream_id, source_id, version } = last.unwrap_or_else(nowhere);
                return Err(Error::TooLarge(format!(
                    "list-snapshots: the {looked_at} snapshots up to version {version} of stream `{stream_id}` and source \
                     `{source_id}` are of deleted streams, and one call looks at no more than {LOOKED_AT_MAX}; scavenge \
                     the store, or ask for those after this one"
                )));
            }
            after = last;
        }
    }

    pub(crate) async fn delete(&self, caller: Caller, id: SnapshotId) -> Result<(), Error> {
        if !has(self.life(caller.clone(), &id.stream_id, "id.stream-id").await?, id.version) {
            return Err(Error::NotFound);
        }
        self.snapshots.delete(caller, id).await
    }

    pub(crate) async fn keep_newest(
        &self,
        caller: Caller,
        stream_id: String,
        source_id: String,
        keep: u32,
    ) -> Result<u64, Error> {
        // Those of a stream that is not live are hidden already, and are the sweep's to delete.
        let Some(life) = self.life(caller.clone(), &stream_id, "stream-id").await? else { return Ok(0) };
        if life.first_version > 0 {
            // Nor do those of an earlier life count. They come first in the list, so the first page that keeps one ends it.
            let scope =
                SnapshotScope { stream_id: Some(stream_id.clone()), source_id: Some(source_id.clone()) };
            let mut after = None;
            loop {
                let swept = self.sweep_page(&caller, scope.clone(), after).await?;
                after = swept.after.filter(|_| swept.removed == swept.examined);
                if after.is_none() {
                    break;
                }
            }
        }
        self.snapshots.keep_newest(caller, stream_id, source_id, keep).await
    }

    /// Deletes hidden snapshots of one page: those after `after`, or the first ones. A step may be repeated.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn sweep(&self, after: Option<SnapshotId>) -> Result<Swept, Error> {
        let everything = SnapshotScope { stream_id: None, source_id: None };
        self.sweep_page(&Caller::operator(), everything, after).await
    }

    async fn sweep_page(
        &self,
        caller: &Caller,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
    ) -> Result<Swept, Error> {
        let page = self.snapshots.list(caller.clone(), scope, after, SWEEP_PAGE).await?;
        let last = page.snapshots.last().map(|info| info.id.clone());
        let mut swept = Swept {
            after: last.filter(|_| page.more),
            examined: page.snapshots.len() as u64,
            removed: 0,
            bytes: 0,
        };
        let (_, dead) = self.sorted(caller.clone(), page.snapshots).await?;
        for info in dead {
            match self.snapshots.delete(caller.clone(), info.id).await {
                Ok(()) => {
                    swept.removed += 1;
                    swept.bytes = swept.bytes.saturating_add(info.size);
                }
                // Somebody else was faster.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(swept)
    }

    /// The snapshots that are not hidden, and those that are, each in their order.
    async fn sorted(
        &self,
        caller: Caller,
        snapshots: Vec<SnapshotInfo>,
    ) -> Result<(Vec<SnapshotInfo>, Vec<SnapshotInfo>), Error> {
        let ids: BTreeSet<&str> = snapshots.iter().map(|info| info.id.stream_id.as_str()).collect();
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        if ids.is_empty() {
            return Ok((snapshots, Vec::new()));
        }
        let lives = self.streams.stream_lives(caller, ids.clone()).await?;
        let lives: HashMap<String, Option<StreamLife>> = ids.into_iter().zip(lives).collect();
        let is_alive =
            |info: &SnapshotInfo| has(lives.get(&info.id.stream_id).copied().flatten(), info.id.version);
        Ok(snapshots.into_iter().partition(is_alive))
    }

    /// Refuses a snapshot of a version that the stream does not have.
    async fn check(&self, caller: Caller, id: &SnapshotId) -> Result<(), Error> {
        let life = self.life(caller, &id.stream_id, "id.stream-id").await?;
        if has(life, id.version) {
            return Ok(());
        }
        let missing = MissingVersion { stream_id: id.stream_id.clone(), version: id.version, life };
        Err(Error::NoSuchVersion(missing))
    }

    /// A stream's present life. `argument` is what the caller calls the stream's id.
    async fn life(
        &self,
        caller: Caller,
        stream_id: &str,
        argument: &str,
    ) -> Result<Option<StreamLife>, Error> {
        let lives = self.streams.stream_lives(caller, vec![stream_id.to_owned()]).await;
        match lives {
            Ok(lives) => Ok(lives.into_iter().next().flatten()),
            Err(Error::Invalid(mut invalid)) => {
                argument.clone_into(&mut invalid.argument);
                Err(Error::Invalid(invalid))
            }
            Err(error) => Err(error),
        }
    }
}

fn has(life: Option<StreamLife>, version: u64) -> bool {
    life.is_some_and(|life| (life.first_version..=life.last_version).contains(&version))
}

fn nowhere() -> SnapshotId {
    SnapshotId { stream_id: String::new(), source_id: String::new(), version: 0 }
}

#[cfg(test)]
mod tests {
    use super::has;
    use crate::bindings::types::StreamLife;

    #[test]
    fn a_life_has_its_versions_and_no_others() {
        let life = Some(StreamLife { first_version: 3, last_version: 5 });
        assert_eq!([2, 3, 4, 5, 6].map(|version| has(life, version)), [false, true, true, true, false]);
        assert!(!has(None, 0));
        assert!(has(Some(StreamLife { first_version: 0, last_version: u64::MAX }), u64::MAX));
    }
}
