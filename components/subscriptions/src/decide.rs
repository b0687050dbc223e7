//! Decides about changes of what is stored.
//!
//! Of each subscription, a list decides one change; those that follow wait for it. So do claims for one another, because they
//! share a counter.

use std::collections::{BTreeSet, HashSet};

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::subscriptions::{
    Advance, NewSubscription, ParkedScope, Place, Progress, SubscriptionRequest, SubscriptionState,
};
use exesdb_sdk::types::{
    Batch, ChangeResult, Decision, Direction, Error, Planned, Range, code, damaged, invalid, problem,
};
use exesdb_sdk::view::{Entry, View, prefix_end};

use crate::check::{check_name, check_new, check_reason, check_settings, checked_definition};
use crate::layout::{
    Definition, EPOCHS, LAST_EPOCH, PARKED, PROGRESS, REPLAYED, SUBSCRIPTIONS, StoredProgress, decode_epoch,
    encode_definition, encode_epoch, encode_parked, encode_progress, parked_key, prefix_of,
};
use crate::read::{Stored, definition, progress};

/// A subscription with this name has another selector, or other settings.
pub const ALREADY_EXISTS: &str = "already-exists";

/// Another emitter serves the subscription by now.
pub const SUPERSEDED: &str = "superseded";

/// Maximum number of parked events of one subscription: what removing it deletes has to fit into a batch.
pub const PARKED_MAX: u64 = 10_000;

/// Maximum number of events that one change parks, forgets or replays.
pub const EVENTS_MAX: usize = 1_000;

/// Maximum bytes of a page of keys of parked events.
const KEYS_BYTES_MAX: u32 = 4 << 20;

/// What a request changes: a batch with the count of its result, or nothing.
type Change = Option<(Batch, u64)>;

/// Decides about requests. Returns one decision for each, in their order.
pub fn decide(view: &impl View, requests: &[SubscriptionRequest]) -> Vec<Decision> {
    let mut changed: HashSet<&str> = HashSet::new();
    let mut has_claimed = false;
    let decisions = requests.iter().map(|request| {
        let name = name_of(request);
        let claims = matches!(request, SubscriptionRequest::Claim(_));
        if changed.contains(name) || claims && has_claimed {
            return Decision::Later;
        }
        match plan(view, request) {
            Ok(Some((batch, count))) => {
                changed.insert(name);
                has_claimed |= claims;
                Decision::Commit(Planned { batch, placed: Vec::new(), count })
            }
            Ok(None) => Decision::Done(Ok(ChangeResult { placed: Vec::new(), count: 0 })),
            Err(error) => Decision::Done(Err(error)),
        }
    });
    decisions.collect()
}

fn name_of(request: &SubscriptionRequest) -> &str {
    match request {
        SubscriptionRequest::Create(new) => &new.name,
        SubscriptionRequest::Update(update) => &update.name,
        SubscriptionRequest::Advance(advance) => &advance.name,
        SubscriptionRequest::Halt(halting) => &halting.name,
        SubscriptionRequest::Replay(scope) | SubscriptionRequest::Truncate(scope) => &scope.name,
        SubscriptionRequest::Remove(name)
        | SubscriptionRequest::Pause(name)
        | SubscriptionRequest::Resume(name)
        | SubscriptionRequest::Claim(name) => name,
    }
}

fn plan(view: &impl View, request: &SubscriptionRequest) -> Result<Change, Error> {
    if let SubscriptionRequest::Create(new) = request {
        return create(view, new);
    }
    let name = name_of(request);
    check_name("name", name)?;
    let stored = definition(view, name)?;
    match request {
        SubscriptionRequest::Create(_) => Ok(None),
        SubscriptionRequest::Update(update) => {
            check_settings("settings", &update.settings)?;
            redefine(view, name, &stored, |new| new.settings = update.settings.clone())
        }
        SubscriptionRequest::Pause(_) => {
            redefine(view, name, &stored, |new| new.state = SubscriptionState::Paused)
        }
        SubscriptionRequest::Resume(_) => {
            redefine(view, name, &stored, |new| new.state = SubscriptionState::Active)
        }
        SubscriptionRequest::Halt(halting) => {
            check_reason("reason", &halting.reason)?;
            let known = progress(view, name)?;
            check_epoch(halting.epoch, &known.value.progress)?;
            let change = redefine(view, name, &stored, |new| {
                new.state = SubscriptionState::Halted(halting.reason.clone());
            });
            Ok(change?.map(|(mut batch, count)| {
                let mut guards = BatchBuilder::new();
                guards.require(PROGRESS, name.as_bytes(), Some(&known.bytes));
                batch.guards.extend(guards.build().guards);
                (batch, count)
            }))
        }
        SubscriptionRequest::Remove(_) => remove(view, name, &stored),
        SubscriptionRequest::Claim(_) => claim(view, name),
        SubscriptionRequest::Advance(advance) => self::advance(view, advance),
        SubscriptionRequest::Replay(scope) => replay(view, scope),
        SubscriptionRequest::Truncate(scope) => truncate(view, scope),
    }
}

fn create(view: &impl View, new: &NewSubscription) -> Result<Change, Error> {
    check_new(new)?;
    let name = new.name.as_bytes();
    match definition(view, &new.name) {
        Err(Error::NotFound) => {}
        Err(error) => return Err(error),
        Ok(Stored { value, .. }) if (&value.selector, &value.settings) == (&new.selector, &new.settings) => {
            return Ok(None);
        }
        Ok(_) => {
            let message = format!(
                "there is a subscription {} with another selector or other settings; update its settings, delete it, or choose another name",
                new.name
            );
            return Err(problem(ALREADY_EXISTS, message));
        }
    }
    let (selector, settings) = (new.selector.clone(), new.settings.clone());
    let (created, updated, start) = (view.now(), view.now(), new.start);
    let state = SubscriptionState::Active;
    let value = checked_definition(&Definition { selector, start, settings, state, created, updated })?;
    // An epoch that no emitter has, also if there was a subscription of this name.
    let progress = Progress { epoch: 0, checkpoint: start, parked: 0 };
    let begun = StoredProgress { progress, revision: 0 };
    let mut batch = BatchBuilder::new();
    batch.require(SUBSCRIPTIONS, name, None);
    batch.put(SUBSCRIPTIONS, name, &value);
    batch.put(PROGRESS, name, &encode_progress(&begun));
    Ok(Some((batch.build(), 1)))
}

/// Changes a definition; nothing if it is the same.
fn redefine(
    view: &impl View,
    name: &str,
    stored: &Stored<Definition>,
    change: impl FnOnce(&mut Definition),
) -> Result<Change, Error> {
    let mut new = stored.value.clone();
    change(&mut new);
    if new == stored.value {
        return Ok(None);
    }
    new.updated = view.now();
    let value = if new.settings == stored.value.settings {
        encode_definition(&new)
    } else {
        checked_definition(&new)?
    };
    let mut batch = BatchBuilder::new();
    batch.require(SUBSCRIPTIONS, name.as_bytes(), Some(&stored.bytes));
    batch.put(SUBSCRIPTIONS, name.as_bytes(), &value);
    Ok(Some((batch.build(), 1)))
}

fn remove(view: &impl View, name: &str, stored: &Stored<Definition>) -> Result<Change, Error> {
    let known = progress(view, name)?;
    let mut batch = BatchBuilder::new();
    batch.require(SUBSCRIPTIONS, name.as_bytes(), Some(&stored.bytes));
    // Nothing is parked meanwhile.
    batch.require(PROGRESS, name.as_bytes(), Some(&known.bytes));
    batch.delete(SUBSCRIPTIONS, name.as_bytes());
    batch.delete(PROGRESS, name.as_bytes());
    let mut start = Some(prefix_of(name));
    while let Some(from) = start.take() {
        let page = keys(view, name, from, 2_000)?;
        for (key, _) in &page.keys {
            batch.delete(PARKED, key);
            // A replay that is not applied yet may have put it.
            batch.delete(REPLAYED, key);
        }
        start = page.next;
    }
    Ok(Some((batch.build(), 1)))
}

fn claim(view: &impl View, name: &str) -> Result<Change, Error> {
    let known = progress(view, name)?;
    let last = view.get(EPOCHS, LAST_EPOCH)?;
    let epoch = match last.as_deref().map(decode_epoch) {
        None => 1,
        Some(Ok(last)) => last.saturating_add(1),
        Some(Err(why)) => return Err(damaged(EPOCHS, LAST_EPOCH, why)),
    };
    let mut batch = BatchBuilder::new();
    batch.require(EPOCHS, LAST_EPOCH, last.as_deref());
    batch.put(EPOCHS, LAST_EPOCH, &encode_epoch(epoch));
    move_to(&mut batch, name, &known, Progress { epoch, ..known.value.progress });
    Ok(Some((batch.build(), epoch)))
}

/// Changes the progress, if nothing else has changed it.
fn move_to(batch: &mut BatchBuilder, name: &str, known: &Stored<StoredProgress>, progress: Progress) {
    let revision = known.value.revision.wrapping_add(1);
    batch.require(PROGRESS, name.as_bytes(), Some(&known.bytes));
    batch.put(PROGRESS, name.as_bytes(), &encode_progress(&StoredProgress { progress, revision }));
}

fn check_epoch(epoch: u64, progress: &Progress) -> Result<(), Error> {
    if epoch == progress.epoch {
        return Ok(());
    }
    let message = format!("the emitter of epoch {epoch} was followed by that of epoch {}", progress.epoch);
    Err(problem(SUPERSEDED, message))
}

fn advance(view: &impl View, advance: &Advance) -> Result<Change, Error> {
    let Advance { name, epoch, checkpoint, parked, unparked } = advance;
    let known = progress(view, name)?;
    let before = known.value.progress;
    check_epoch(*epoch, &before)?;
    if *checkpoint < before.checkpoint {
        let message = format!("is {checkpoint}; it must be at least the stored one, {}", before.checkpoint);
        return Err(invalid("advance.checkpoint", message));
    }
    check_count("advance.parked", parked.len())?;
    check_count("advance.unparked", unparked.len())?;
    let mut places: BTreeSet<Place> = BTreeSet::new();
    for place in parked.iter().map(|parking| parking.place).chain(unparked.iter().copied()) {
        if !places.insert(place) {
            return Err(invalid("advance", format!("names the place {place} twice")));
        }
    }
    let key = |place: Place| parked_key(name, place);
    let new: Vec<Vec<u8>> = parked.iter().map(|parking| key(parking.place)).collect();
    let old: Vec<Vec<u8>> = unparked.iter().map(|place| key(*place)).collect();
    let added = view.get_all(PARKED, &new)?.iter().filter(|there| there.is_none()).count();
    let removed = view.get_all(PARKED, &old)?.iter().filter(|there| there.is_some()).count();
    let count = (before.parked + added as u64).saturating_sub(removed as u64);
    if count > PARKED_MAX {
        let message = format!("more than {PARKED_MAX} events would be parked; replay or truncate them");
        return Err(problem(code::TOO_LARGE, message));
    }
    let mut batch = BatchBuilder::new();
    for (parking, key) in parked.iter().zip(&new) {
        check_reason("advance.parked", &parking.reason)?;
        batch.put(PARKED, key, &encode_parked(parking.deliveries, &parking.reason, view.now()));
        batch.delete(REPLAYED, key);
    }
    for key in &old {
        batch.delete(PARKED, key);
        batch.delete(REPLAYED, key);
    }
    let moved = Progress { epoch: *epoch, checkpoint: *checkpoint, parked: count };
    move_to(&mut batch, name, &known, moved);
    Ok(Some((batch.build(), 0)))
}

fn check_count(argument: &str, count: usize) -> Result<(), Error> {
    if count <= EVENTS_MAX {
        return Ok(());
    }
    Err(invalid(argument, format!("has {count} events; it may have {EVENTS_MAX}")))
}

fn replay(view: &impl View, scope: &ParkedScope) -> Result<Change, Error> {
    let mut batch = BatchBuilder::new();
    let mut count: usize = 0;
    let mut start = Some(parked_key(&scope.name, scope.from));
    while let Some(from) = start.take().filter(|_| count < EVENTS_MAX) {
        let page = keys_in(view, scope, from)?;
        let keys: Vec<Vec<u8>> = page.keys.iter().map(|(key, _)| key.clone()).collect();
        let replayed = view.get_all(REPLAYED, &keys)?;
        for ((key, value), _) in page.keys.iter().zip(&replayed).filter(|(_, there)| there.is_none()) {
            if count == EVENTS_MAX {
                break;
            }
            // It is parked, whatever happens meanwhile.
            batch.require(PARKED, key, Some(value));
            batch.put(REPLAYED, key, b"");
            count += 1;
        }
        start = page.next;
    }
    Ok((count > 0).then(|| (batch.build(), count as u64)))
}

fn truncate(view: &impl View, scope: &ParkedScope) -> Result<Change, Error> {
    let known = progress(view, &scope.name)?;
    let page = keys_in(view, scope, parked_key(&scope.name, scope.from))?;
    let count = page.keys.len() as u64;
    if count == 0 {
        return Ok(None);
    }
    let mut batch = BatchBuilder::new();
    for (key, _) in &page.keys {
        batch.delete(PARKED, key);
        batch.delete(REPLAYED, key);
    }
    let before = known.value.progress;
    move_to(
        &mut batch,
        &scope.name,
        &known,
        Progress { parked: before.parked.saturating_sub(count), ..before },
    );
    Ok(Some((batch.build(), count)))
}

/// Some keys of a subscription, with their values.
struct Keys {
    keys: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the next page begins.
    next: Option<Vec<u8>>,
}

/// The keys of a scope, from this one on.
fn keys_in(view: &impl View, scope: &ParkedScope, start: Vec<u8>) -> Result<Keys, Error> {
    let mut page = keys(view, &scope.name, start, 1_000)?;
    if let Some(last) = scope.up_to {
        let end = parked_key(&scope.name, last);
        let within = page.keys.iter().take_while(|(key, _)| *key <= end).count();
        if within < page.keys.len() {
            page.keys.truncate(within);
            page.next = None;
        }
    }
    Ok(page)
}

/// The keys of a subscription's parked events, from this one on.
fn keys(view: &impl View, name: &str, start: Vec<u8>, count: u32) -> Result<Keys, Error> {
    let range = Range { keyspace: PARKED.to_owned(), start, end: prefix_end(&prefix_of(name)) };
    let page = view.scan(&range, Direction::Forward, count, KEYS_BYTES_MAX)?;
    let entries = page.entries().map(|Entry { key, value }| (key.to_owned(), value.to_owned()));
    let keys: Vec<(Vec<u8>, Vec<u8>)> = entries.collect();
    let next = keys.last().filter(|_| page.more).map(|(key, _)| {
        let mut next = key.clone();
        next.push(0);
        next
    });
    Ok(Keys { keys, next })
}
