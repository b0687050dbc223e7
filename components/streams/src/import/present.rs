//! Reads what streams visibly have at the versions of imported events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use exesdb_sdk::keyspaces::Keyspaces;
use exesdb_sdk::streams::ImportedEvent;
use exesdb_sdk::types::{Direction, Error, Version};

use super::decide::{Candidate, Present};
use crate::known::{Wanted, read_ids};
use crate::layout::Head;
use crate::read::read_versions;
use crate::visible::{first_kept, hides};

/// The heads of an import's streams; none for one that never had an event.
pub(super) type Heads<'a> = HashMap<&'a str, Option<Head>>;

/// The events with the state that decisions need: what their streams have at their versions, and the versions of visible
/// events with their ids.
pub(super) fn candidates<'a>(
    store: &impl Keyspaces,
    now: u64,
    events: &'a [ImportedEvent],
    heads: &Heads<'_>,
) -> Result<Vec<Candidate<'a>>, Error> {
    let known = known(store, now, events, heads)?;
    let mut wanted: BTreeMap<&str, BTreeSet<Version>> = BTreeMap::new();
    for (event, known) in events.iter().zip(&known) {
        let Some(head) = &heads[event.stream_id.as_str()] else { continue };
        let versions = [Some(event.version), *known].into_iter().flatten();
        let seen = versions.filter(|version| *version <= head.last_version && is_kept(head, *version));
        wanted.entry(&event.stream_id).or_default().extend(seen);
    }
    let visible = visible(store, now, heads, &wanted)?;
    let candidates = events.iter().zip(known).map(|(event, known)| {
        let stream_id = event.stream_id.as_str();
        let head = heads[stream_id].as_ref();
        let present = match head {
            Some(head) if event.version <= head.last_version => {
                match visible.get(&(stream_id, event.version)) {
                    None => Present::Hidden,
                    Some(id) if *id == event.event.id => Present::Same,
                    Some(_) => Present::Other,
                }
            }
            _ => Present::Nothing,
        };
        Candidate {
            stream_id,
            version: event.version,
            id: &event.event.id,
            created: event.created,
            present,
            known: known.filter(|known| visible.contains_key(&(stream_id, *known))),
        }
    });
    Ok(candidates.collect())
}

fn is_kept(head: &Head, version: Version) -> bool {
    first_kept(head).is_some_and(|first| first <= version)
}

/// For each event the version of the visible event with the digest of its id.
fn known(
    store: &impl Keyspaces,
    now: u64,
    events: &[ImportedEvent],
    heads: &Heads<'_>,
) -> Result<Vec<Option<Version>>, Error> {
    let wanted: Vec<Wanted<'_>> = events
        .iter()
        .map(|event| Wanted {
            stream_id: &event.stream_id,
            head: heads[event.stream_id.as_str()],
            events: std::slice::from_ref(&event.event),
        })
        .collect();
    let known = read_ids(store, now, &wanted)?.into_iter().zip(&wanted);
    known.map(|(known, wanted)| Ok(known?.visible(wanted.head.as_ref()).next().flatten())).collect()
}

/// The visible ones of the wanted versions, which must exist, with their events' ids.
fn visible<'a>(
    store: &impl Keyspaces,
    now: u64,
    heads: &Heads<'_>,
    wanted: &BTreeMap<&'a str, BTreeSet<Version>>,
) -> Result<HashMap<(&'a str, Version), String>, Error> {
    let mut visible = HashMap::new();
    for (stream_id, versions) in wanted {
        let Some(head) = &heads[stream_id] else { continue };
        let mut versions = versions.iter().copied().peekable();
        while let Some(first) = versions.next() {
            // Read consecutive versions together.
            let mut last = first;
            while let Some(next) = versions.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            let mut next = Some(first);
            while let Some(first) = next.filter(|first| *first <= last) {
                let count = u32::try_from(last - first).unwrap_or(u32::MAX).saturating_add(1);
                let page = read_versions(store, stream_id, head.origin, first, count, Direction::Forward)?;
                next = page.last().and_then(|event| event.version.checked_add(1));
                let seen = page.into_iter().filter(|event| !hides(head, event.version, event.created, now));
                visible.extend(seen.map(|event| ((*stream_id, event.version), event.id)));
            }
        }
    }
    Ok(visible)
}
