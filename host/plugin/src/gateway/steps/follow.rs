//! Followers of a store. Those who follow the same in the same form, and have reached the end, are a group: it reads and
//! encodes each page once, for all of them. A follower that is not at the place of its group reads on its own until it is. One to
//! which its group cannot come shares with nobody.
//!
//! Followers belong to no gateway worker: what a restart of one ends is its requests, and a follower goes on with another
//! (the rule P9). [`group`] is the task of a group, [`places`] its rules, [`key`] says which followers form one.

mod group;
mod key;
mod places;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use self::group::{Group, Inbox};
use self::key::Key;
use super::bulk::{Reached, Sending};
use super::limits::FOLLOWERS_MAX;
use super::outflow::Untaken;
use crate::bindings::gateway::steps::Cause;
use crate::closing::Closing;
use crate::emitters::Emitters;
use crate::long_read::{Page, Turns};
use crate::seats::{Seat, Seats};
use crate::topics::Topics;

/// The followers of one store. They outlive its gateway workers, and end with the host.
pub struct Followers {
    /// Gateway workers of the store.
    pub(in crate::gateway) workers: usize,
    pub(super) turns: Arc<Turns>,
    pub(super) closing: Closing,
    /// The topics of the store, whose listeners share the turns of its long reads.
    pub(super) topics: Arc<Topics>,
    seats: Seats,
    groups: Mutex<HashMap<Arc<Key>, Arc<Inbox>>>,
    /// Followers so far that share with nobody.
    single: AtomicU64,
    /// What the clients of all workers have not taken.
    pub(super) untaken: Untaken,
}

impl Followers {
    /// Those of a store with so many gateway workers, and instances of the streams component that read.
    pub fn new(workers: usize, readers: usize) -> Arc<Self> {
        let seats = Seats::of(FOLLOWERS_MAX);
        Arc::new(Self {
            workers,
            turns: Arc::new(Turns::of(readers)),
            closing: Closing::default(),
            topics: Topics::of(&seats),
            seats,
            groups: Mutex::default(),
            single: AtomicU64::new(0),
            untaken: Untaken::default(),
        })
    }

    /// Emitters of the store, which share the turns of its long reads.
    pub fn emitters(&self, partitions: usize, subscriptions_max: usize) -> Arc<Emitters> {
        Emitters::new(partitions, subscriptions_max, self.turns.clone())
    }

    /// Tells all followers that the host stops.
    pub fn finish(&self) {
        self.closing.close();
    }

    /// If the host stops, waits until every follower has got its last bytes.
    pub(in crate::gateway) async fn finished(&self) {
        if self.closing.is_closed() {
            self.seats.all_free().await;
        }
    }

    /// The seat of another follower, if there may be one.
    pub(super) fn seat(&self) -> Option<Seat> {
        self.seats.take()
    }

    /// Starts a task that reads for one follower until it reaches the place of its group, and then joins the group. The task goes
    /// on after the page `sent`; without one, it reads the next page first.
    pub(super) fn go_on(self: &Arc<Self>, mut follower: Sending, sent: Option<Page>) {
        let followers = self.clone();
        tokio::spawn(async move {
            let left = follower.delivery.out.left();
            let reached = tokio::select! {
                reached = follower.rest(sent) => reached,
                () = left => return,
            };
            let cause = match reached {
                Ok(Reached::Live) => return followers.join(follower),
                Ok(Reached::End) => Cause::Complete,
                Err(cause) => cause,
            };
            // Without last bytes, the response is reset.
            drop(follower.conclude(cause).await);
        });
    }

    /// Adds a follower to its group, which begins with the first one.
    fn join(self: &Arc<Self>, follower: Sending) {
        let single = || self.single.fetch_add(1, Ordering::Relaxed);
        let key = Arc::new(Key::of(&follower, single));
        let mut groups = self.groups.lock();
        if let Some(inbox) = groups.get(&key) {
            inbox.push(follower);
            return;
        }
        let inbox = Arc::<Inbox>::default();
        let group = Group::of(&follower, inbox.clone());
        inbox.push(follower);
        groups.insert(key.clone(), inbox.clone());
        drop(groups);
        tokio::spawn(self.clone().serve(group, Listed { followers: self.clone(), key, inbox }));
    }

    async fn serve(self: Arc<Self>, mut group: Group, listed: Listed) {
        loop {
            let turned = group.turn().await;
            let returned = turned.returned.into_iter();
            returned.for_each(|follower| self.go_on(follower, None));
            if turned.is_over {
                listed.remove().into_iter().for_each(|follower| self.go_on(follower, None));
                return;
            }
            if group.is_empty() && listed.remove_if_empty() {
                return;
            }
        }
    }
}

/// A group in the list of groups; it is removed also if its task panics.
struct Listed {
    followers: Arc<Followers>,
    key: Arc<Key>,
    inbox: Arc<Inbox>,
}

impl Listed {
    /// Removes it, and returns who would have joined it.
    fn remove(&self) -> Vec<Sending> {
        let mut groups = self.followers.groups.lock();
        if groups.get(&self.key).is_some_and(|inbox| Arc::ptr_eq(inbox, &self.inbox)) {
            groups.remove(&self.key);
        }
        self.inbox.take()
    }

    /// Removes it, unless somebody is about to join it.
    fn remove_if_empty(&self) -> bool {
        let mut groups = self.followers.groups.lock();
        let is_empty = self.inbox.is_empty();
        if is_empty {
            groups.remove(&self.key);
        }
        is_empty
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        drop(self.remove());
    }
}
