//! Hides the snapshots of deleted streams. Every snapshots component is called through this.
//!
//! A snapshot is visible as long as its stream has the version that it was computed from, in the stream's current life. The
//! streams component knows the lives. Other snapshots are hidden from reads and lists, cannot be recorded, and are deleted
//! by a sweep. Hiding does not wait for the sweep, so a stream that is deleted for privacy disappears with its snapshots
//! at once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::snapshots::SnapshotsPool;
use super::streams::StreamsPool;
use crate::bindings::store::snapshot_types::{
    NewSnapshot, Newest, RecordedSnapshot, SnapshotId, SnapshotInfo, SnapshotPage, SnapshotRequest,
    SnapshotScope,
};
use crate::bindings::store::types::{Error, MissingVersion, StreamLife};
use crate::caller::Caller;
use crate::problem::{code, problem};

/// Snapshots that one list call examines. If all are hidden, it fails and suggests a sweep.
const SCAN_BUDGET: usize = 100_000;

/// Requests for the newest snapshots that one call sends, because a component may delete only a part of the others for
/// each: 2,000 the built-in one.
const KEEP_REQUESTS_MAX: u32 = 1_000;

/// Snapshots that one step of a sweep examines: the contract's largest page.
const SWEEP_PAGE: u32 = 1_000;

/// The visible snapshots of a store.
pub struct VisibleSnapshots {
    snapshots: Arc<SnapshotsPool>,
    streams: Arc<StreamsPool>,
}

/// The outcome of one step of a sweep.
pub struct SweepStep {
    /// The last snapshot that was examined, if more follow.
    pub after: Option<SnapshotId>,
    /// Snapshots that were examined.
    pub examined: u64,
    /// Snapshots that were deleted.
    pub removed: u64,
    /// Bytes of the deleted snapshots' data.
    pub bytes: u64,
}

impl VisibleSnapshots {
    /// The visible ones of the snapshots in one pool, by the lives of the streams in another.
    pub fn new(snapshots: Arc<SnapshotsPool>, streams: Arc<StreamsPool>) -> Self {
        Self { snapshots, streams }
    }

    /// Records a snapshot, at the time that it has in another store, or now.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchVersion`], and the component's errors.
    pub async fn put(&self, caller: Caller, snapshot: NewSnapshot) -> Result<(), Error> {
        self.check(caller.clone(), &snapshot.id).await?;
        self.snapshots.change(caller, SnapshotRequest::Put(snapshot)).await?;
        Ok(())
    }

    /// The snapshot with exactly this id.
    ///
    /// # Errors
    ///
    /// The component's errors, and [`Error::NotFound`] for a hidden snapshot.
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

    /// Lists the visible snapshots of a scope after `after`. A page with `more` has at least one.
    ///
    /// # Errors
    ///
    /// The component's errors, and the problem `too-large` if the next [`SCAN_BUDGET`] snapshots are all hidden.
    pub async fn list(
        &self,
        caller: Caller,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        let (mut after, mut examined) = (after, 0);
        loop {
            let page = self.snapshots.list(caller.clone(), scope.clone(), after, count).await?;
            examined += page.snapshots.len();
            let last = page.snapshots.last().map(|info| info.id.clone());
            let (visible, _) = self.partitioned(caller.clone(), page.snapshots).await?;
            if !visible.is_empty() || !page.more || last.is_none() {
                return Ok(SnapshotPage { snapshots: visible, more: page.more && last.is_some() });
            }
            if examined >= SCAN_BUDGET {
                let SnapshotId { stream_id, source_id, version } = last.unwrap_or_else(no_snapshot);
                let message = format!(
                    "list-snapshots: the {examined} snapshots up to version {version} of stream `{stream_id}` and source \
                     `{source_id}` are of deleted streams, and one call looks at no more than {SCAN_BUDGET}; scavenge \
                     the store, or ask for those after this one"
                );
                return Err(problem(code::TOO_LARGE, message));
            }
            after = last;
        }
    }

    pub(crate) async fn remove(&self, caller: Caller, id: SnapshotId) -> Result<(), Error> {
        if !has(self.life(caller.clone(), &id.stream_id, "id.stream-id").await?, id.version) {
            return Err(Error::NotFound);
        }
        self.snapshots.change(caller, SnapshotRequest::Remove(id)).await?;
        Ok(())
    }

    pub(crate) async fn keep_newest(&self, caller: Caller, newest: Newest) -> Result<u64, Error> {
        // The snapshots of a stream that is not live are hidden; the sweep deletes them.
        let Some(life) = self.life(caller.clone(), &newest.stream_id, "stream-id").await? else {
            return Ok(0);
        };
        if life.first_version > 0 {
            // Snapshots of an earlier life do not count. They come first in the list, so the first page with a visible one
            // is the last one to sweep.
            let scope = SnapshotScope {
                stream_id: Some(newest.stream_id.clone()),
                source_id: Some(newest.source_id.clone()),
            };
            let mut after = None;
            loop {
                let swept = self.sweep_page(&caller, scope.clone(), after).await?;
                after = swept.after.filter(|_| swept.removed == swept.examined);
                if after.is_none() {
                    break;
                }
            }
        }
        let mut deleted = 0_u64;
        for _ in 0..KEEP_REQUESTS_MAX {
            let request = SnapshotRequest::KeepNewest(newest.clone());
            match self.snapshots.change(caller.clone(), request).await?.count {
                0 => return Ok(deleted),
                count => deleted = deleted.saturating_add(count),
            }
        }
        let message = format!(
            "the snapshots component has deleted {deleted} snapshots at {KEEP_REQUESTS_MAX} requests, and has not come to \
             an end; try again for the rest"
        );
        Err(problem(code::OTHER, message))
    }

    /// Deletes the hidden snapshots of the first page, or of the page after `after`. A step may be repeated.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn sweep(&self, after: Option<SnapshotId>) -> Result<SweepStep, Error> {
        let everything = SnapshotScope { stream_id: None, source_id: None };
        self.sweep_page(&Caller::operator(), everything, after).await
    }

    async fn sweep_page(
        &self,
        caller: &Caller,
        scope: SnapshotScope,
        after: Option<SnapshotId>,
    ) -> Result<SweepStep, Error> {
        let page = self.snapshots.list(caller.clone(), scope, after, SWEEP_PAGE).await?;
        let last = page.snapshots.last().map(|info| info.id.clone());
        let mut swept = SweepStep {
            after: last.filter(|_| page.more),
            examined: page.snapshots.len() as u64,
            removed: 0,
            bytes: 0,
        };
        let (_, hidden) = self.partitioned(caller.clone(), page.snapshots).await?;
        for info in hidden {
            match self.snapshots.change(caller.clone(), SnapshotRequest::Remove(info.id)).await {
                Ok(_) => {
                    swept.removed += 1;
                    swept.bytes = swept.bytes.saturating_add(info.size);
                }
                // Another call has deleted it.
                Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(swept)
    }

    /// The visible snapshots and the hidden ones, each in order.
    async fn partitioned(
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
        let is_visible =
            |info: &SnapshotInfo| has(lives.get(&info.id.stream_id).copied().flatten(), info.id.version);
        Ok(snapshots.into_iter().partition(is_visible))
    }

    /// Fails for a snapshot of a version that its stream does not have.
    async fn check(&self, caller: Caller, id: &SnapshotId) -> Result<(), Error> {
        let life = self.life(caller, &id.stream_id, "id.stream-id").await?;
        if has(life, id.version) {
            return Ok(());
        }
        let missing = MissingVersion { stream_id: id.stream_id.clone(), version: id.version, life };
        Err(Error::NoSuchVersion(missing))
    }

    /// A stream's current life. `argument` is the name of the caller's argument that has the stream's id.
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

fn no_snapshot() -> SnapshotId {
    SnapshotId { stream_id: String::new(), source_id: String::new(), version: 0 }
}

#[cfg(test)]
mod tests {
    use super::has;
    use crate::bindings::store::types::StreamLife;

    #[test]
    fn a_life_has_exactly_its_versions() {
        let life = Some(StreamLife { first_version: 3, last_version: 5 });
        assert_eq!([2, 3, 4, 5, 6].map(|version| has(life, version)), [false, true, true, true, false]);
        assert!(!has(None, 0));
        assert!(has(Some(StreamLife { first_version: 0, last_version: u64::MAX }), u64::MAX));
    }
}
