//! What the earlier requests of a list leave, and which later ones have to wait for them.
//!
//! Batches are applied in the order of the list, each if its guards hold. So a request may build on an earlier one if it is
//! applied only if that one was: its batch guards what the earlier one leaves. A head alone does not say that. It was
//! computed, not read, and a batch of somebody else with the same time would write the same head. So the batch also guards
//! that the last event of the earlier request has its version, and that its own ids are as they were read.
//!
//! What has no batch cannot guard anything: a refusal or a repetition that builds on an earlier request has to wait. So does
//! whatever follows on a stream that the list begins, because its origin is a position which is not known yet, and a request
//! with an event id that the list has. A request that waits makes all later ones on its streams wait, too.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::types::{AppendCondition, Version};

use super::check::Write;
use super::condition;
use crate::entries::Entries;
use crate::known::KnownHead;
use crate::layout::{Head, LabelDigest};

/// The earlier requests of a list.
pub(super) struct List<'a> {
    streams: HashMap<&'a str, Stream<'a>>,
    /// The labels of the events that the list appends.
    labels: HashSet<LabelDigest>,
    has_commits: bool,
    /// The time of the view: microseconds since 1970-01-01T00:00:00 UTC.
    now: u64,
}

/// A stream as the earlier requests would leave it.
struct Stream<'a> {
    /// The head, or the error that reading it gave.
    head: KnownHead,
    /// Ids of the events that the list appends to the stream.
    pending: HashSet<&'a str>,
    /// The last of these events, with its version.
    last_pending: Option<(&'a str, Version)>,
    /// Whether all further requests are left to the next list.
    is_deferred: bool,
}

impl<'a> List<'a> {
    /// A list without requests, over streams with these heads.
    pub(super) fn new(heads: HashMap<&'a str, KnownHead>, now: u64) -> Self {
        let stream = |head| Stream { head, pending: HashSet::new(), last_pending: None, is_deferred: false };
        let streams = heads.into_iter().map(|(stream_id, head)| (stream_id, stream(head))).collect();
        Self { streams, labels: HashSet::new(), has_commits: false, now }
    }

    /// The time of the view.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    fn stream(&self, stream_id: &str) -> &Stream<'a> {
        &self.streams[stream_id]
    }

    /// The head after the earlier requests.
    pub(super) fn head(&self, stream_id: &str) -> KnownHead {
        self.stream(stream_id).head.clone()
    }

    /// Whether a stream has events of earlier requests.
    pub(super) fn has_pending(&self, stream_id: &str) -> bool {
        self.stream(stream_id).last_pending.is_some()
    }

    /// Whether a request cannot be decided in this list.
    pub(super) fn must_wait_for(&self, write: &Write<'_>) -> bool {
        let repeats = write.appends.iter().any(|append| {
            let pending = &self.stream(append.stream_id).pending;
            !pending.is_empty() && append.ids().any(|id| pending.contains(id))
        });
        repeats || write.streams().any(|stream_id| self.stream(stream_id).is_deferred)
    }

    /// Whether a request is for a stream with events of earlier requests.
    pub(super) fn is_built_on_by(&self, write: &Write<'_>) -> bool {
        write.streams().any(|stream_id| self.has_pending(stream_id))
    }

    /// Whether events of earlier requests may match one of the conditions.
    pub(super) fn may_match(&self, conditions: &[AppendCondition]) -> bool {
        self.has_commits
            && !conditions.is_empty()
            && condition::labels(conditions)
                .is_none_or(|labels| labels.keys().any(|label| self.labels.contains(label)))
    }

    /// Leaves the request, and all later ones for its streams, to the next list.
    pub(super) fn defer(&mut self, write: &Write<'_>) {
        for stream_id in write.streams() {
            self.stream_mut(stream_id).is_deferred = true;
        }
    }

    /// Guards that a stream is as the earlier requests leave it.
    pub(super) fn guard(&self, stream_id: &str, entries: &mut Entries) {
        let stream = self.stream(stream_id);
        let Ok(head) = &stream.head else { return };
        entries.require_head(stream_id, head.as_ref());
        if let (Some((id, version)), Some(head)) = (stream.last_pending, head) {
            entries.require_id(head.origin, id, Some(version));
        }
    }

    /// Adds a request that appends, with the heads of its appends after it.
    pub(super) fn add(&mut self, write: &'a Write<'a>, heads: Vec<Head>, labels: Vec<LabelDigest>) {
        for (append, head) in write.appends.iter().zip(heads) {
            let stream = self.stream_mut(append.stream_id);
            // The origin of a stream that begins here is not known.
            stream.is_deferred = matches!(stream.head, Ok(None));
            stream.last_pending = append.ids().last().map(|id| (id, head.last_version));
            stream.head = Ok(Some(head));
            stream.pending.extend(append.ids());
        }
        self.labels.extend(labels);
        self.has_commits = true;
    }

    fn stream_mut(&mut self, stream_id: &str) -> &mut Stream<'a> {
        self.streams.get_mut(stream_id).expect("the heads of all streams were read")
    }
}
