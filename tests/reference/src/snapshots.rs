//! Snapshots, which belong to a life of their stream. The model has their versions only.

use exesdb_sdk::types::{Error, MissingVersion, Version};

use crate::Reference;

impl Reference {
    /// Records a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchVersion`] if the present life of the stream does not have the version.
    pub fn record_snapshot(
        &mut self,
        stream_id: &str,
        source_id: &str,
        version: Version,
    ) -> Result<(), Error> {
        if !self.is_in_life(stream_id, version) {
            let life = self.stream_life(stream_id);
            return Err(Error::NoSuchVersion(MissingVersion {
                stream_id: stream_id.to_owned(),
                version,
                life,
            }));
        }
        self.snapshots.entry((stream_id.to_owned(), source_id.to_owned())).or_default().insert(version);
        Ok(())
    }

    /// The version of the latest snapshot, or of the latest at or before a version.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if there is none.
    pub fn read_latest(
        &self,
        stream_id: &str,
        source_id: &str,
        at_most: Option<Version>,
    ) -> Result<Version, Error> {
        let versions = self.visible_snapshots(stream_id, source_id).into_iter();
        versions.filter(|version| at_most.is_none_or(|most| *version <= most)).max().ok_or(Error::NotFound)
    }

    /// Deletes all but the newest `keep` snapshots, and returns how many.
    pub fn keep_newest(&mut self, stream_id: &str, source_id: &str, keep: usize) -> usize {
        let versions = self.visible_snapshots(stream_id, source_id);
        let kept = versions.iter().rev().take(keep).copied().collect();
        self.snapshots.insert((stream_id.to_owned(), source_id.to_owned()), kept);
        versions.len().saturating_sub(keep)
    }

    /// The versions of the visible snapshots, in ascending order. A snapshot of an earlier life never becomes visible again.
    fn visible_snapshots(&self, stream_id: &str, source_id: &str) -> Vec<Version> {
        let versions = self.snapshots.get(&(stream_id.to_owned(), source_id.to_owned()));
        versions
            .into_iter()
            .flatten()
            .copied()
            .filter(|version| self.is_in_life(stream_id, *version))
            .collect()
    }

    fn is_in_life(&self, stream_id: &str, version: Version) -> bool {
        self.stream_life(stream_id)
            .is_some_and(|life| (life.first_version..=life.last_version).contains(&version))
    }
}
