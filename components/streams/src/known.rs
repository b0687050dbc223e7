//! Reads the state that decisions need: the heads of streams, and which event ids they already have.
//!
//! Only visible events count. The id of an event that retention or deletion hides is new to the stream, whether scavenging
//! has removed the event or not.

use std::collections::HashSet;

use exesdb_sdk::types::{Direction, Error, Position, Version, code, damaged, problem};
use exesdb_sdk::view::View;

use crate::decide::id_conflict;
use crate::entries::decode_head;
use crate::events::{NewEvent, events};
use crate::layout::{Head, IDS, STREAMS, id_key, number};
use crate::read::{created_at, read_versions};
use crate::visible::{first_kept, is_too_old};

/// A stream's head, none if it never had an event; or the error that reading it gave.
pub(crate) type KnownHead = Result<Option<Head>, Error>;

/// The known ids of some events, or the error that reading them gave.
pub(crate) type Known = Result<KnownIds, Error>;

/// The entries in keyspace `ids` for some events of one stream.
#[derive(Clone, Debug)]
pub(crate) struct KnownIds {
    /// For each event the version in its entry.
    stored: Vec<Option<Version>>,
    /// The versions among them whose events are too old.
    too_old: HashSet<Version>,
}

impl KnownIds {
    /// For each event the version in its entry, visible or not.
    pub(crate) fn stored(&self) -> &[Option<Version>] {
        &self.stored
    }

    /// For each event the version of the visible event with this id, if there is one. `head` is the stream's head, which
    /// may have advanced since the ids were read.
    pub(crate) fn visible(&self, head: Option<&Head>) -> impl Iterator<Item = Option<Version>> {
        let kept = head.and_then(first_kept);
        let is_visible = move |version: &Version| {
            kept.is_some_and(|kept| *version >= kept) && !self.too_old.contains(version)
        };
        self.stored.iter().map(move |version| version.filter(is_visible))
    }
}

/// Reads the heads of these streams, each once, in the order of their ids.
pub(crate) fn read_heads<'a>(
    view: &impl View,
    stream_ids: impl Iterator<Item = &'a str>,
) -> Result<Vec<(&'a str, KnownHead)>, Error> {
    let mut ids: Vec<&str> = stream_ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_owned()).collect();
    let heads = view.get_all(STREAMS, &keys)?;
    Ok(ids.into_iter().zip(heads).map(|(id, value)| (id, decode_head(id, value.as_deref()))).collect())
}

/// Events whose ids are looked up in a stream.
pub(crate) struct Wanted<'a> {
    pub(crate) stream_id: &'a str,
    /// The stream's head; none if there is none, or it cannot be read.
    pub(crate) head: Option<Head>,
    pub(crate) events: &'a [NewEvent<'a>],
}

/// Looks up the ids of the wanted events.
pub(crate) fn read_ids(view: &impl View, wanted: &[Wanted<'_>]) -> Result<Vec<Known>, Error> {
    // A stream without events has no ids.
    let keys: Vec<Vec<u8>> = wanted
        .iter()
        .filter_map(|wanted| Some((wanted.head.as_ref()?.origin, wanted.events)))
        .flat_map(|(origin, events)| events.iter().map(move |event| id_key(origin, event.envelope.id)))
        .collect();
    let mut values = view.get_all(IDS, &keys)?.into_iter().zip(&keys);
    let version = |value: Option<Vec<u8>>, key: &[u8]| match value {
        None => Ok(None),
        Some(value) => number(&value).map(Some).ok_or_else(|| damaged(IDS, key, "it is not a version")),
    };
    let mut known = Vec::with_capacity(wanted.len());
    for Wanted { stream_id, head, events } in wanted {
        let Some(head) = head else {
            known.push(Ok(KnownIds { stored: vec![None; events.len()], too_old: HashSet::new() }));
            continue;
        };
        // Consume all values even after a damaged one, because the next stream's values follow.
        let stored: Vec<_> =
            values.by_ref().take(events.len()).map(|(value, key)| version(value, key)).collect();
        let stored: Result<Vec<_>, Error> = stored.into_iter().collect();
        known.push(stored.and_then(|stored| {
            let too_old = too_old(view, stream_id, head, &stored)?;
            Ok(KnownIds { stored, too_old })
        }));
    }
    Ok(known)
}

/// The versions among `stored` whose events are too old. Events that are hidden by their version are not read.
fn too_old(
    view: &impl View,
    stream_id: &str,
    head: &Head,
    stored: &[Option<Version>],
) -> Result<HashSet<Version>, Error> {
    let Some(kept) = first_kept(head).filter(|_| head.max_age_seconds != 0) else {
        return Ok(HashSet::new());
    };
    let now = view.now();
    let is_kept = |version: &Version| (kept..=head.last_version).contains(version);
    let mut versions: Vec<Version> = stored.iter().flatten().copied().filter(is_kept).collect();
    versions.sort_unstable();
    // A removed event was too old.
    let is_old = |version| -> Result<bool, Error> {
        let created = created_at(view, stream_id, head.origin, version)?;
        Ok(created.is_none_or(|created| is_too_old(head, created, now)))
    };
    let mut too_old = HashSet::new();
    if head.is_unordered {
        for version in versions {
            if is_old(version)? {
                too_old.insert(version);
            }
        }
    } else if is_too_old(head, head.created, now) {
        // Times rise with versions, so a binary search finds the first event that is not too old. All before `low` are
        // too old; none from `high` on is.
        let (mut low, mut high) = (0, versions.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if is_old(versions[middle])? {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        too_old.extend(&versions[..low]);
    }
    Ok(too_old)
}

/// The position of the last of these events, which the stream has from version `first` on.
///
/// # Errors
///
/// [`Error::IdConflict`] if the stored events are others, whose ids have the same digests.
pub(crate) fn repeated_position(
    view: &impl View,
    stream_id: &str,
    head: &Head,
    new: &[NewEvent<'_>],
    first: Version,
) -> Result<Position, Error> {
    let mut wanted = new.iter();
    let mut next = first;
    let mut position = None;
    while wanted.len() > 0 {
        let count = u32::try_from(wanted.len()).expect("the number of an append's events is limited");
        let found = read_versions(view, stream_id, head.origin, next, count, Direction::Forward)?;
        for (found, new) in events(&found).zip(wanted.by_ref()) {
            let found = found?;
            if found.envelope.id != new.envelope.id {
                return Err(id_conflict(stream_id, new.envelope.id, Some(head)));
            }
            next = found.envelope.version.saturating_add(1);
            position = Some(found.position);
        }
    }
    position.ok_or_else(|| problem(code::OTHER, "an append without events was looked for"))
}
