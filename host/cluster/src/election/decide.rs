//! What a replica does about leadership.

use std::cmp::Ordering;

use exesdb_storage::LogId;
use tokio::time::Duration;

use crate::health::Health;
use crate::limits::{CAMPAIGN_DELAY_MAX, CAMPAIGN_PAUSE, LEASE};

/// After how many leases without a majority a leader falls silent, so that followers whom it still reaches elect another.
const SILENT_AFTER: u32 = 2;

/// Of so many leases a silent leader speaks for one. The engine's leader cannot step down by itself: if it has entries that
/// nobody else has, nobody else of a majority may be electable, and it must find its followers again.
const SPEAKS_EVERY: u32 = 4;

/// What a replica knows of itself and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) is_voter: bool,
    /// Nobody else votes, so there is nobody to wait for.
    pub(crate) is_only_voter: bool,
    /// It has a replica: its first snapshot is installed.
    pub(crate) is_admitted: bool,
    /// Since a leader was heard.
    pub(crate) since_heard: Duration,
    /// The random pause after the lease.
    pub(crate) delay: Duration,
    /// A leader that gives up its place has named a successor, and whether that is this replica.
    pub(crate) successor: Option<bool>,
    /// Since the vote of its last campaign was saved.
    pub(crate) since_campaign: Option<Duration>,
    /// How long that took. The disks of the others may be as slow.
    pub(crate) vote_took: Duration,
    /// Since a timer fired much too late.
    pub(crate) since_gap: Option<Duration>,
    pub(crate) health: Health,
    /// What it knows as leader, if it is.
    pub(crate) leading: Option<Leading>,
}

/// What a leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leading {
    /// Since a majority answered; `None` if none has since it leads.
    pub(crate) quorum_age: Option<Duration>,
    /// Since it leads.
    pub(crate) since_start: Duration,
    /// Its first own entry is applied.
    pub(crate) is_barrier_passed: bool,
    pub(crate) transfer: Transfer,
}

/// How far a leader is with giving up its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// It does not.
    #[default]
    None,
    /// It waits until its successor has everything.
    Waiting,
    /// It lets its lease lapse.
    Silent,
}

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Follows, or waits for a leader.
    Waits(Why),
    /// Asks the others whether they would vote for it, and campaigns if a majority says so.
    AsksPreVote,
    Leads {
        is_ready: bool,
        /// Nothing is sent for the group.
        is_muted: bool,
    },
}

/// Why a replica does not campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    NoVoter,
    NotAdmitted,
    LeaseHolds,
    JustCampaigned,
    Starved,
    LogStuck,
    DiskFull,
    Draining,
}

impl Why {
    /// Whether a replica could have campaigned otherwise.
    pub(crate) fn is_unfit(self) -> bool {
        matches!(self, Self::Starved | Self::LogStuck | Self::DiskFull | Self::Draining)
    }
}

pub(crate) fn decide(view: &View) -> Standing {
    if let Some(leading) = &view.leading {
        return lead(leading);
    }
    let delay = match view.successor {
        None => view.delay,
        Some(true) => Duration::ZERO,
        // After the successor had its time.
        Some(false) => view.delay + CAMPAIGN_DELAY_MAX,
    };
    let is_shorter = |since: Option<Duration>, than| since.is_some_and(|since| since < than);
    let Health { is_log_stuck, is_disk_full, is_draining } = view.health;
    let reasons = [
        (!view.is_voter, Why::NoVoter),
        (!view.is_admitted, Why::NotAdmitted),
        (!view.is_only_voter && view.since_heard < LEASE + delay, Why::LeaseHolds),
        (is_shorter(view.since_campaign, CAMPAIGN_PAUSE + view.vote_took * 2 + delay), Why::JustCampaigned),
        (!view.is_only_voter && is_shorter(view.since_gap, LEASE), Why::Starved),
        (is_log_stuck, Why::LogStuck),
        // Nobody else would serve what frees room.
        (!view.is_only_voter && is_disk_full, Why::DiskFull),
        (!view.is_only_voter && is_draining, Why::Draining),
    ];
    let reason = reasons.into_iter().find(|(applies, _)| *applies);
    reason.map_or(Standing::AsksPreVote, |(_, why)| Standing::Waits(why))
}

fn lead(leading: &Leading) -> Standing {
    let age = leading.quorum_age.unwrap_or(leading.since_start);
    let is_ready = leading.is_barrier_passed && age < LEASE && leading.transfer == Transfer::None;
    let is_muted = leading.transfer == Transfer::Silent || is_silent(age);
    Standing::Leads { is_ready, is_muted }
}

fn is_silent(quorum_age: Duration) -> bool {
    let leases = u32::try_from(quorum_age.as_millis() / LEASE.as_millis()).unwrap_or(u32::MAX);
    leases >= SILENT_AFTER && !(leases - SILENT_AFTER + 1).is_multiple_of(SPEAKS_EVERY)
}

/// Whether a replica would vote for a candidate whose last entry is `candidate`.
pub(crate) fn grants_pre_vote(
    candidate: Option<LogId>,
    own: Option<LogId>,
    since_heard: Duration,
    leads_and_speaks: bool,
) -> bool {
    let key = |id: LogId| (id.term, id.leader, id.index);
    let has_enough = candidate.map(key).cmp(&own.map(key)) != Ordering::Less;
    has_enough && !leads_and_speaks && since_heard >= LEASE
}

#[cfg(test)]
mod tests {
    use exesdb_storage::LogId;
    use tokio::time::Duration;

    use super::{Leading, Standing, Transfer, View, Why, decide, grants_pre_vote};
    use crate::health::Health;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const LAPSED: View = View {
        is_voter: true,
        is_only_voter: false,
        is_admitted: true,
        since_heard: ms(1_100),
        delay: ms(200),
        successor: None,
        since_campaign: None,
        vote_took: ms(0),
        since_gap: None,
        health: Health { is_log_stuck: false, is_disk_full: false, is_draining: false },
        leading: None,
    };

    #[test]
    fn a_fit_voter_campaigns_once_the_lease_has_lapsed() {
        let waits = Standing::Waits;
        let health = LAPSED.health;
        let alone = View { is_only_voter: true, ..LAPSED };
        let table = [
            ("lapsed", LAPSED, Standing::AsksPreVote),
            ("a learner", View { is_voter: false, ..LAPSED }, waits(Why::NoVoter)),
            ("without its snapshot", View { is_admitted: false, ..LAPSED }, waits(Why::NotAdmitted)),
            ("within its delay", View { since_heard: ms(1_099), ..LAPSED }, waits(Why::LeaseHolds)),
            (
                "the successor",
                View { since_heard: ms(900), successor: Some(true), ..LAPSED },
                Standing::AsksPreVote,
            ),
            (
                "the successor within the lease",
                View { since_heard: ms(899), successor: Some(true), ..LAPSED },
                waits(Why::LeaseHolds),
            ),
            (
                "another is the successor",
                View { since_heard: ms(1_399), successor: Some(false), ..LAPSED },
                waits(Why::LeaseHolds),
            ),
            (
                "the successor did not campaign",
                View { since_heard: ms(1_400), successor: Some(false), ..LAPSED },
                Standing::AsksPreVote,
            ),
            (
                "after a campaign",
                View { since_campaign: Some(ms(499)), ..LAPSED },
                waits(Why::JustCampaigned),
            ),
            (
                "long after a campaign",
                View { since_campaign: Some(ms(500)), ..LAPSED },
                Standing::AsksPreVote,
            ),
            (
                "after a campaign on a slow disk",
                View { since_campaign: Some(ms(1_699)), vote_took: ms(600), ..LAPSED },
                waits(Why::JustCampaigned),
            ),
            (
                "long after a campaign on a slow disk",
                View { since_campaign: Some(ms(1_700)), vote_took: ms(600), ..LAPSED },
                Standing::AsksPreVote,
            ),
            ("after a gap", View { since_gap: Some(ms(899)), ..LAPSED }, waits(Why::Starved)),
            ("long after a gap", View { since_gap: Some(ms(900)), ..LAPSED }, Standing::AsksPreVote),
            (
                "log stuck",
                View { health: Health { is_log_stuck: true, ..health }, ..LAPSED },
                waits(Why::LogStuck),
            ),
            (
                "disk full",
                View { health: Health { is_disk_full: true, ..health }, ..LAPSED },
                waits(Why::DiskFull),
            ),
            (
                "draining",
                View { health: Health { is_draining: true, ..health }, ..LAPSED },
                waits(Why::Draining),
            ),
            ("alone, at once", View { since_heard: ms(0), ..alone }, Standing::AsksPreVote),
            (
                "alone, with a full disk",
                View { health: Health { is_disk_full: true, ..health }, ..alone },
                Standing::AsksPreVote,
            ),
        ];
        for (case, view, expected) in table {
            assert_eq!(decide(&view), expected, "{case}");
        }
    }

    #[test]
    fn a_leader_is_ready_after_its_barrier_and_falls_silent_without_a_majority() {
        let leading = Leading {
            quorum_age: Some(ms(100)),
            since_start: ms(60_000),
            is_barrier_passed: true,
            transfer: Transfer::None,
        };
        let of_age = |age| Leading { quorum_age: Some(ms(age)), ..leading };
        let table = [
            ("ready", leading, (true, false)),
            ("before its barrier", Leading { is_barrier_passed: false, ..leading }, (false, false)),
            ("never heard, new", Leading { quorum_age: None, since_start: ms(10), ..leading }, (true, false)),
            ("never heard, old", Leading { quorum_age: None, ..of_age(0) }, (false, true)),
            ("within the lease", of_age(899), (true, false)),
            ("after the lease", of_age(900), (false, false)),
            ("after two leases", of_age(1_800), (false, true)),
            ("after four leases", of_age(4_499), (false, true)),
            ("it looks for its followers", of_age(4_500), (false, false)),
            ("and falls silent again", of_age(5_400), (false, true)),
            ("gives up its place", Leading { transfer: Transfer::Waiting, ..leading }, (false, false)),
            ("has given up its place", Leading { transfer: Transfer::Silent, ..leading }, (false, true)),
        ];
        for (case, leading, (is_ready, is_muted)) in table {
            let view = View { leading: Some(leading), ..LAPSED };
            assert_eq!(decide(&view), Standing::Leads { is_ready, is_muted }, "{case}");
        }
    }

    #[test]
    fn a_pre_vote_is_granted_to_a_log_that_is_not_behind_when_no_leader_is_heard() {
        let id = |term, leader, index| Some(LogId { term, leader, index });
        let own = id(3, 2, 10);
        let table = [
            (own, 900, false, true),
            (own, 899, false, false),
            (own, 900, true, false),
            (id(3, 2, 11), 900, false, true),
            (id(3, 2, 9), 900, false, false),
            (id(3, 1, 99), 900, false, false),
            (id(4, 1, 1), 900, false, true),
            (None, 900, false, false),
        ];
        for (candidate, heard, leads, expected) in table {
            let granted = grants_pre_vote(candidate, own, ms(heard), leads);
            assert_eq!(granted, expected, "{candidate:?} {heard} {leads}");
        }
        assert!(grants_pre_vote(None, None, ms(900), false));
    }
}
