//! Does what was decided about leadership.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::ServerState;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::decide::{Leading, Standing, View, decide};
use super::quorum_age;
use crate::group::shared::Shared;
use crate::home::ReplicaHome;
use crate::limits::{CAMPAIGN_DELAY_MAX, ELECTION_TICK, PRE_VOTE_WAIT, TIMER_GAP, VOTE_WAIT};
use crate::members::Members;
use crate::types::{Raft, from_raft, term_of};
use crate::wire::{Answer, Ask};

/// Looks at the state of one group's election, at each tick and at each change.
pub(crate) struct Driver<H: ReplicaHome> {
    shared: Arc<Shared<H>>,
    raft: Raft,
    random: fastrand::Rng,
    delay: Duration,
    /// When the last campaign's vote was saved, or was not to be.
    campaign_at: Option<Instant>,
    /// How long that took.
    vote_took: Duration,
    gap_at: Option<Instant>,
    /// Since when the replica leads, and in which term.
    leads: Option<(u64, Instant)>,
    was_unfit: bool,
}

impl<H: ReplicaHome> Driver<H> {
    pub(crate) fn new(shared: Arc<Shared<H>>, raft: Raft, mut random: fastrand::Rng) -> Self {
        let delay = random_delay(&mut random);
        Self {
            shared,
            raft,
            random,
            delay,
            campaign_at: None,
            vote_took: Duration::ZERO,
            gap_at: None,
            leads: None,
            was_unfit: false,
        }
    }

    /// Runs until the engine ends.
    pub(crate) async fn run(mut self) {
        let mut metrics = self.raft.server_metrics();
        let mut reached = self.shared.kept.reached();
        let mut tick = Instant::now() + ELECTION_TICK;
        loop {
            tokio::select! {
                () = sleep_until(tick) => {
                    let now = Instant::now();
                    if now - tick >= TIMER_GAP {
                        self.gap_at = Some(now);
                    }
                    tick = now + ELECTION_TICK;
                }
                changed = metrics.changed() => if changed.is_err() { return },
                changed = reached.changed() => if changed.is_err() { return },
            }
            let view = self.view();
            let standing = decide(&view);
            self.shared.note_standing(self.term(), standing);
            self.count(standing);
            if standing == Standing::AsksPreVote {
                self.campaign().await;
                // That it took long is no gap.
                tick = Instant::now() + ELECTION_TICK;
            }
        }
    }

    fn term(&self) -> exesdb_storage::Term {
        term_of(&self.raft.server_metrics().borrow().vote)
    }

    fn view(&mut self) -> View {
        let metrics = self.raft.server_metrics().borrow().clone();
        let shared = &self.shared;
        let members = Members::of(metrics.membership_config.membership());
        let me = shared.replica;
        let reached = *shared.kept.reached().borrow();
        let leading = if metrics.state == ServerState::Leader {
            let term = term_of(&metrics.vote);
            let (of, since) = *self.leads.get_or_insert((term.term, Instant::now()));
            if of != term.term {
                self.leads = Some((term.term, Instant::now()));
            }
            Some(Leading {
                quorum_age: quorum_age(&members, me, |voter| shared.link.since_ack(voter, term)),
                since_start: since.elapsed(),
                is_barrier_passed: reached.id.is_some_and(|id| id.proposed_under() == term),
                transfer: shared.transfer(),
            })
        } else {
            if self.leads.take().is_some() {
                shared.heard.note();
            }
            None
        };
        let since = |at: Option<Instant>| at.map(|at| at.elapsed());
        View {
            is_voter: members.is_voter(me),
            is_only_voter: members.all_voters().iter().eq([&me]),
            is_admitted: reached.id.is_some(),
            since_heard: shared.heard.since(),
            delay: self.delay,
            successor: shared.heard.successor(term_of(&metrics.vote)).map(|successor| successor == me),
            since_campaign: since(self.campaign_at),
            vote_took: self.vote_took,
            since_gap: since(self.gap_at),
            health: shared.health(),
            leading,
        }
    }

    fn count(&mut self, standing: Standing) {
        let why = if let Standing::Waits(why) = standing { Some(why) } else { None };
        let is_unfit = why.is_some_and(super::decide::Why::is_unfit);
        if is_unfit && !self.was_unfit {
            let group = self.shared.group;
            tracing::warn!(group, ?why, "the replica does not campaign");
            self.shared.campaigns.lock().unfit += 1;
        }
        self.was_unfit = is_unfit;
    }

    async fn campaign(&mut self) {
        self.campaign_at = Some(Instant::now());
        self.delay = random_delay(&mut self.random);
        let is_granted = self.pre_vote().await;
        {
            let mut campaigns = self.shared.campaigns.lock();
            if is_granted { campaigns.begun += 1 } else { campaigns.pre_votes_lost += 1 }
        }
        let (group, replica) = (self.shared.group, self.shared.replica);
        // One that is not granted is repeated several times a second as long as there is no majority.
        if is_granted {
            tracing::info!(group, replica, "a majority would vote for this replica: it campaigns");
        } else {
            tracing::debug!(group, replica, "no majority would vote for this replica");
        }
        // An engine that has ended says so elsewhere. A leader may have been heard meanwhile.
        if is_granted {
            self.elect().await;
        }
    }

    /// Campaigns, and waits until the engine has saved the vote. On a disk that is slower than the pause between two campaigns
    /// each would end the one before, and nobody would ever be elected.
    async fn elect(&mut self) {
        let begin = Instant::now();
        let mut metrics = self.raft.server_metrics();
        let before = metrics.borrow_and_update().vote;
        if self.raft.trigger().elect().await.is_ok() {
            drop(timeout(VOTE_WAIT, metrics.wait_for(|metrics| metrics.vote != before)).await);
        }
        self.vote_took = begin.elapsed();
        self.campaign_at = Some(Instant::now());
    }

    /// Whether a majority would vote for this replica.
    async fn pre_vote(&self) -> bool {
        let membership = self.raft.server_metrics().borrow().membership_config.clone();
        let members = Members::of(membership.membership());
        let last = self.raft.data_metrics().borrow().last_log.as_ref().map(from_raft);
        let mut granted = std::collections::BTreeSet::from([self.shared.replica]);
        let others = members.all_voters().into_iter().filter(|voter| *voter != self.shared.replica);
        let mut answers: FuturesUnordered<_> = others
            .filter_map(|voter| {
                let peer = self.shared.peer(voter, &members)?;
                let answer = self.shared.link.ask(peer, Ask::PreVote { last });
                Some(async move { (voter, timeout(PRE_VOTE_WAIT, answer).await) })
            })
            .collect();
        while !members.is_majority(|voter| granted.contains(&voter)) {
            match answers.next().await {
                Some((voter, Ok(Ok(Answer::PreVote { is_granted: true })))) => drop(granted.insert(voter)),
                Some(_) => {}
                None => return false,
            }
        }
        true
    }
}

fn random_delay(random: &mut fastrand::Rng) -> Duration {
    let max = u64::try_from(CAMPAIGN_DELAY_MAX.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random.u64(..=max))
}
