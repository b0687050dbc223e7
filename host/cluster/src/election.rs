//! Elections: who campaigns, who is ready, and who falls silent.
//!
//! The engine runs no election of its own. [`decide`] says what a replica does, as a pure function of what it knows, and the
//! [`driver`] does it. Votes and their rules stay the engine's, so nothing here can make two leaders of one term: a wrong
//! decision costs availability only.

mod decide;
mod driver;
mod heard;
mod quorum;

pub(crate) use self::decide::{Standing, Transfer, grants_pre_vote};
pub(crate) use self::driver::Driver;
pub(crate) use self::heard::Heard;
pub(crate) use self::quorum::quorum_age;

/// What became of a replica's wish to lead, counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Campaigns {
    /// Campaigns that were begun.
    pub begun: u64,
    /// Pre-votes that no majority granted.
    pub pre_votes_lost: u64,
    /// Times that a lease had lapsed and the replica was not fit to lead.
    pub unfit: u64,
}
