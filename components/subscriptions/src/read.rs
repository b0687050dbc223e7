//! Reads what is stored.

use exesdb_sdk::arguments::{check_count, check_part};
use exesdb_sdk::subscriptions::{ParkedPage, Place, Progress, Subscription, SubscriptionPage};
use exesdb_sdk::types::{Direction, Error, Range, damaged};
use exesdb_sdk::view::{Entry, View, prefix_end, prefix_range};

use crate::check::{DEFINITION_BYTES_MAX, NAME_BYTES_MAX, check_name};
use crate::layout::{
    Definition, PARKED, PROGRESS, REPLAYED, SUBSCRIPTIONS, StoredProgress, decode_definition, decode_parked,
    decode_progress, parked_key, place_of, prefix_of,
};

/// Maximum bytes of a page of definitions.
const DEFINITIONS_BYTES_MAX: u32 = 1 << 20;
const _: () = assert!(DEFINITION_BYTES_MAX < DEFINITIONS_BYTES_MAX as usize, "a page has one at least");

/// Maximum bytes of a page of parked events: 1,000 with the longest reasons.
const PARKED_BYTES_MAX: u32 = 2 << 20;

/// A value with what it means.
pub(crate) struct Stored<T> {
    pub(crate) bytes: Vec<u8>,
    pub(crate) value: T,
}

/// The definition of a subscription; [`Error::NotFound`] if there is none.
pub(crate) fn definition(view: &impl View, name: &str) -> Result<Stored<Definition>, Error> {
    let bytes = view.get(SUBSCRIPTIONS, name.as_bytes())?.ok_or(Error::NotFound)?;
    let value = decode_definition(&bytes).map_err(|why| damaged(SUBSCRIPTIONS, name.as_bytes(), why))?;
    Ok(Stored { bytes, value })
}

/// The progress of a subscription that exists.
pub(crate) fn progress(view: &impl View, name: &str) -> Result<Stored<StoredProgress>, Error> {
    let missing = || damaged(PROGRESS, name.as_bytes(), "it is missing");
    let bytes = view.get(PROGRESS, name.as_bytes())?.ok_or_else(missing)?;
    let value = decode_progress(&bytes).map_err(|why| damaged(PROGRESS, name.as_bytes(), why))?;
    Ok(Stored { bytes, value })
}

fn subscription(name: String, definition: Definition, progress: Progress) -> Subscription {
    let Definition { selector, start, settings, state, created, updated } = definition;
    Subscription { name, selector, start, settings, state, progress, created, updated }
}

/// The subscription with this name.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and the problem `damaged` for damaged data.
pub fn describe(view: &impl View, name: &str) -> Result<Subscription, Error> {
    check_name("name", name)?;
    let definition = definition(view, name)?.value;
    Ok(subscription(name.to_owned(), definition, progress(view, name)?.value.progress))
}

/// The subscriptions whose names begin with `prefix`, after this name, in the order of names.
///
/// # Errors
///
/// [`Error::Invalid`], those of the storage, and the problem `damaged` for damaged data.
pub fn list(
    view: &impl View,
    prefix: &str,
    after: Option<&str>,
    count: u32,
) -> Result<SubscriptionPage, Error> {
    check_part("prefix", prefix, NAME_BYTES_MAX)?;
    check_count("count", count)?;
    let mut range = prefix_range(SUBSCRIPTIONS, prefix.as_bytes());
    if let Some(after) = after {
        check_name("after", after)?;
        range.start = range.start.max(prefix_of(after));
    }
    let page = view.scan(&range, Direction::Forward, count, DEFINITIONS_BYTES_MAX)?;
    let names: Vec<Vec<u8>> = page.entries().map(|entry| entry.key.to_owned()).collect();
    let progress = view.get_all(PROGRESS, &names)?;
    let subscriptions = page.entries().zip(progress).map(|(Entry { key, value }, progress)| {
        let name = String::from_utf8(key.to_owned());
        let name = name.map_err(|_| damaged(SUBSCRIPTIONS, key, "the key is not a name"))?;
        let definition = decode_definition(value).map_err(|why| damaged(SUBSCRIPTIONS, key, why))?;
        let progress = progress.ok_or_else(|| damaged(PROGRESS, key, "it is missing"))?;
        let progress = decode_progress(&progress).map_err(|why| damaged(PROGRESS, key, why))?;
        Ok(subscription(name, definition, progress.progress))
    });
    Ok(SubscriptionPage { subscriptions: subscriptions.collect::<Result<_, Error>>()?, more: page.more })
}

/// The parked events of a subscription from a place on. With `replayed`, only those that are to be delivered once more.
///
/// # Errors
///
/// [`Error::Invalid`] and [`Error::NotFound`], those of the storage, and the problem `damaged` for damaged data.
pub fn list_parked(
    view: &impl View,
    name: &str,
    from: Place,
    count: u32,
    replayed: bool,
) -> Result<ParkedPage, Error> {
    check_name("name", name)?;
    check_count("count", count)?;
    definition(view, name)?;
    let keyspace = if replayed { REPLAYED } else { PARKED };
    let start = parked_key(name, from);
    let range = Range { keyspace: keyspace.to_owned(), start, end: prefix_end(&prefix_of(name)) };
    let page = view.scan(&range, Direction::Forward, count, PARKED_BYTES_MAX)?;
    let keys: Vec<Vec<u8>> = page.entries().map(|entry| entry.key.to_owned()).collect();
    let others = view.get_all(if replayed { PARKED } else { REPLAYED }, &keys)?;
    let events = page.entries().zip(others).map(|(Entry { key, value }, other)| {
        let place = place_of(key).ok_or_else(|| damaged(keyspace, key, "the key has no place"))?;
        let (value, is_replayed) = match (replayed, other) {
            (false, other) => (value.to_owned(), other.is_some()),
            (true, Some(value)) => (value, true),
            (true, None) => return Err(damaged(PARKED, key, "it is missing")),
        };
        decode_parked(place, is_replayed, &value).map_err(|why| damaged(PARKED, key, why))
    });
    Ok(ParkedPage { events: events.collect::<Result<_, Error>>()?, more: page.more })
}
