//! Reads what has to be known before events are added: the heads of their streams, and which of them are there already.

use exesdb_sdk::keyspaces::{Keyspaces, damaged};
use exesdb_sdk::types::{Direction, Error, EventData, Position, Version};

use crate::entries::decode_head;
use crate::layout::{Head, IDS, STREAMS, id_key, number};
use crate::read::read_versions;

/// A stream's head, if it has or had events, or what is wrong with it.
pub(crate) type KnownHead = Result<Option<Head>, Error>;

/// The versions of those of some events that are in their stream already, or what is wrong with their entries.
pub(crate) type Known = Result<Vec<Option<Version>>, Error>;

/// The heads of these streams, each once, in the order of their ids.
pub(crate) fn read_heads<'a>(
    store: &impl Keyspaces,
    stream_ids: impl Iterator<Item = &'a str>,
) -> Result<Vec<(&'a str, KnownHead)>, Error> {
    let mut ids: Vec<&str> = stream_ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_owned()).collect();
    let heads = store.get_all(STREAMS, &keys)?;
    Ok(ids.into_iter().zip(heads).map(|(id, value)| (id, decode_head(id, value.as_deref()))).collect())
}

/// For each of these streams' heads and events the versions of those events that are in the stream already. What was
/// removed is no longer there.
pub(crate) fn read_ids(
    store: &impl Keyspaces,
    wanted: &[(Option<Head>, &[EventData])],
) -> Result<Vec<Known>, Error> {
    // A stream without events has no ids.
    let keys: Vec<Vec<u8>> = wanted
        .iter()
        .filter_map(|(head, events)| Some((head.as_ref()?.origin, events)))
        .flat_map(|(origin, events)| events.iter().map(move |event| id_key(origin, &event.id)))
        .collect();
    let mut values = store.get_all(IDS, &keys)?.into_iter().zip(&keys);
    let version = |head: &Head, value: Option<Vec<u8>>, key: &[u8]| match value {
        None => Ok(None),
        Some(value) => match number(&value) {
            Some(version) => Ok(Some(version).filter(|version| *version >= head.reclaimed_before)),
            None => Err(damaged(IDS, key, "it is not a version")),
        },
    };
    Ok(wanted
        .iter()
        .map(|(head, events)| match head {
            None => Ok(vec![None; events.len()]),
            // Taken to its end even where one is damaged: the next stream's values follow.
            Some(head) => values
                .by_ref()
                .take(events.len())
                .map(|(value, key)| version(head, value, key))
                .collect::<Vec<_>>()
                .into_iter()
                .collect(),
        })
        .collect())
}

/// The position of the last of these events, which stand in the stream from version `first` on.
///
/// # Errors
///
/// [`Error::IdConflict`] if they are others, whose ids have the same digests.
pub(crate) fn repeated_position(
    store: &impl Keyspaces,
    stream_id: &str,
    events: &[EventData],
    origin: Position,
    first: Version,
) -> Result<Position, Error> {
    let mut wanted = events;
    let mut next = first;
    loop {
        let count = u32::try_from(wanted.len()).expect("the number of an append's events is limited");
        let found = read_versions(store, stream_id, origin, next, count, Direction::Forward)?;
        for (found, event) in found.iter().zip(wanted) {
            if found.id != event.id {
                return Err(Error::IdConflict(event.id.clone()));
            }
        }
        wanted = wanted.get(found.len()..).unwrap_or_default();
        match found.last() {
            Some(last) if wanted.is_empty() => return Ok(last.position),
            Some(last) => next = last.version.saturating_add(1),
            None => return Err(Error::Other("a page of events that are there was empty".into())),
        }
    }
}
