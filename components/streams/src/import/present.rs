//! Reads what streams visibly have at the versions of imported events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use exesdb_sdk::packed::Envelope;
use exesdb_sdk::types::{Direction, Error, Version};
use exesdb_sdk::view::View;

use super::decide::{Candidate, Present};
use crate::events::{NewEvent, events as events_of};
use crate::known::{Wanted, read_ids};
use crate::layout::Head;
use crate::read::read_versions;
use crate::visible::{first_kept, hides};

/// The heads of an import's streams; none for one that never had an event.
pub(super) type Heads<'a> = HashMap<&'a str, Option<Head>>;

/// The events with the state that decisions need: what their streams have at their versions, and the versions of visible
/// events with their ids.
pub(super) fn candidates<'a>(
    view: &impl View,
    events: &'a [NewEvent<'a>],
    heads: &Heads<'_>,
) -> Result<Vec<Candidate<'a>>, Error> {
    let known = known(view, events, heads)?;
    let mut wanted: BTreeMap<&str, BTreeSet<Version>> = BTreeMap::new();
    for (event, known) in events.iter().zip(&known) {
        let Some(head) = &heads[event.envelope.stream_id] else { continue };
        let versions = [Some(event.envelope.version), *known].into_iter().flatten();
        let seen = versions.filter(|version| *version <= head.last_version && is_kept(head, *version));
        wanted.entry(event.envelope.stream_id).or_default().extend(seen);
    }
    let visible = visible(view, heads, &wanted)?;
    let candidates = events.iter().zip(known).map(|(event, known)| {
        let Envelope { stream_id, version, id, created, .. } = event.envelope;
        let present = match heads[stream_id].as_ref() {
            Some(head) if version <= head.last_version => match visible.get(&(stream_id, version)) {
                None => Present::Hidden,
                Some(there) if there == id => Present::Same,
                Some(_) => Present::Other,
            },
            _ => Present::Nothing,
        };
        Candidate {
            stream_id,
            version,
            id,
            created,
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
    view: &impl View,
    events: &[NewEvent<'_>],
    heads: &Heads<'_>,
) -> Result<Vec<Option<Version>>, Error> {
    let wanted: Vec<Wanted<'_>> = events
        .iter()
        .map(|event| Wanted {
            stream_id: event.envelope.stream_id,
            head: heads[event.envelope.stream_id],
            events: std::slice::from_ref(event),
        })
        .collect();
    let known = read_ids(view, &wanted)?.into_iter().zip(&wanted);
    known.map(|(known, wanted)| Ok(known?.visible(wanted.head.as_ref()).next().flatten())).collect()
}

/// The visible ones of the wanted versions, which must exist, with their events' ids.
fn visible<'a>(
    view: &impl View,
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
                let page = read_versions(view, stream_id, head.origin, first, count, Direction::Forward)?;
                for event in events_of(&page) {
                    let Envelope { version, id, created, .. } = event?.envelope;
                    next = version.checked_add(1);
                    if !hides(head, version, created, view.now()) {
                        visible.insert((*stream_id, version), id.to_owned());
                    }
                }
            }
        }
    }
    Ok(visible)
}
