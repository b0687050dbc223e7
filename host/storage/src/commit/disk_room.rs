//! Whether the disk has room for a commit. Without room for ordinary commits the store is read-only.

use std::time::Instant;

use super::health::HealthState;
use super::request::CommitError;
use crate::space::{CHECK_INTERVAL, DiskSpace, Purpose};

pub(super) struct DiskRoom {
    space: DiskSpace,
    read_only: bool,
}

impl DiskRoom {
    pub(super) fn new(space: DiskSpace) -> Self {
        Self { space, read_only: false }
    }

    /// When to check again even if nobody commits.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.read_only.then(|| Instant::now() + CHECK_INTERVAL)
    }

    /// Brings the store's health up to date.
    pub(super) fn refresh(&mut self, health: &HealthState) {
        // Sets the health; there is no commit to refuse.
        let _ = self.check(0, Purpose::Ordinary, health);
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether `bytes` can be taken that no commit needs yet: the whole reserve must be left. Reads the free space each time.
    pub(super) fn has_spare(&self, bytes: u64) -> bool {
        !self.read_only && self.space.shortage_for(bytes, Purpose::Ordinary).is_none()
    }

    /// Refuses a group of `bytes` if there is no room for its purpose.
    pub(super) fn check(
        &mut self,
        bytes: u64,
        purpose: Purpose,
        health: &HealthState,
    ) -> Result<(), CommitError> {
        let now = Instant::now();
        let shortage = self.space.shortage(bytes, now, Purpose::Ordinary);
        if self.read_only || shortage.is_some() {
            self.read_only = shortage.is_some();
            health.set_read_only(shortage.clone());
        }
        let shortage = match purpose {
            Purpose::Ordinary => shortage,
            Purpose::MakesRoom => self.space.shortage(0, now, purpose),
        };
        shortage.map_or(Ok(()), |reason| Err(CommitError::ReadOnly { reason }))
    }
}
