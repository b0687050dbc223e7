//! Cross-checks the component's keyspaces, and repairs what other data determine.
//!
//! First `subscriptions` is walked: each has a progress, whose number of parked events is that of its entries in `parked`, and whose
//! epoch is not after the last one; and each of its entries in `replayed` has one in `parked`. Then the other keyspaces are
//! walked for entries that belong to no subscription.

use std::collections::{BTreeMap, BTreeSet};

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::maintenance::{Cursor, Findings, ScavengeStep, VerifyStep, cursor};
use exesdb_sdk::subscriptions::Progress;
use exesdb_sdk::types::{Direction, Error, Range};
use exesdb_sdk::view::{Entry, Page, View, prefix_range};

use crate::layout::{
    EPOCHS, LAST_EPOCH, PARKED, PROGRESS, REPLAYED, SUBSCRIPTIONS, StoredProgress, decode_definition,
    decode_epoch, decode_parked, decode_progress, encode_epoch, encode_progress, name_of, place_of,
    prefix_of,
};

/// Maximum number of entries of a page.
pub const STEP_ENTRIES: u32 = 1_000;

/// Maximum bytes of a page, unless a single entry is larger.
const STEP_BYTES: u32 = 2 << 20;

/// Parked events after which a step takes no further subscription. One subscription has at most 10,000.
const STEP_PARKED: u64 = 2_000;

/// Does nothing: what belongs to a subscription is removed with it.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor, because this function returns none.
pub fn scavenge(from: Option<&Cursor>) -> Result<ScavengeStep, Error> {
    match from {
        None => Ok(ScavengeStep { batches: Vec::new(), next: None, examined: 0, removed: 0, bytes: 0 }),
        Some(_) => Err(cursor::unknown()),
    }
}

/// Runs one step.
///
/// # Errors
///
/// [`Error::Invalid`] for a cursor that this function did not return; those of the storage.
pub fn verify(view: &impl View, from: Option<&Cursor>, repair: bool) -> Result<VerifyStep, Error> {
    let (walk, start) = from.map_or(Ok((Walk::Subscriptions, Vec::new())), |cursor| decode(cursor))?;
    let mut step = Step { view, examined: 0, findings: Findings::new(repair) };
    let next = match walk {
        Walk::Subscriptions => step.subscriptions(start)?,
        Walk::Progress => step.orphans(PROGRESS, start, |key| Some(key))?,
        Walk::Parked => step.orphans(PARKED, start, name_of)?,
        Walk::Replayed => step.orphans(REPLAYED, start, name_of)?,
    };
    let next = match next {
        Some(start) => Some((walk, start)),
        None => walk.next().map(|walk| (walk, Vec::new())),
    };
    let next = next.map(|(walk, start)| cursor::of_key(walk as u8, &start));
    Ok(step.findings.step(step.examined, next))
}

/// The keyspaces that are walked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Subscriptions = 1,
    Progress = 2,
    Parked = 3,
    Replayed = 4,
}

impl Walk {
    const ALL: [Self; 4] = [Self::Subscriptions, Self::Progress, Self::Parked, Self::Replayed];

    fn next(self) -> Option<Self> {
        Self::ALL.into_iter().skip_while(|walk| *walk != self).nth(1)
    }
}

fn decode(cursor: &[u8]) -> Result<(Walk, Vec<u8>), Error> {
    let (tag, key) = cursor::parts(cursor)?;
    let walk = Walk::ALL.into_iter().find(|walk| *walk as u8 == tag).ok_or_else(cursor::unknown)?;
    Ok((walk, key.to_owned()))
}

struct Step<'a, V> {
    view: &'a V,
    examined: u64,
    findings: Findings,
}

impl<V: View> Step<'_, V> {
    fn subscriptions(&mut self, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
        let page = self.page(SUBSCRIPTIONS, start)?;
        let names: Vec<Vec<u8>> = page.entries().map(|entry| entry.key.to_owned()).collect();
        let progress = self.view.get_all(PROGRESS, &names)?;
        let last = self.last_epoch()?;
        let (mut newest, mut parked, mut at) = (last.epoch, 0, None);
        for (entry, progress) in page.entries().zip(progress) {
            if parked >= STEP_PARKED {
                break;
            }
            at = Some(entry.key);
            self.examined += 1;
            if let Err(why) = decode_definition(entry.value) {
                let problem = format!("the definition cannot be read: {why}; remove the subscription");
                self.findings.entry(SUBSCRIPTIONS, entry.key, problem, None);
            }
            let Ok(name) = std::str::from_utf8(entry.key) else {
                let problem = "the key is not a name; nothing reads this entry";
                self.findings.orphan(SUBSCRIPTIONS, entry, problem);
                continue;
            };
            let count = self.parked(name)?;
            parked += count;
            newest = newest.max(self.progress(name, progress.as_deref(), count));
        }
        self.epochs(&last, newest);
        let is_cut = at.is_some_and(|at| page.last().is_some_and(|last| last.key != at));
        Ok(at.filter(|_| page.more || is_cut).and_then(cursor::following))
    }

    /// Checks the progress of a subscription that has so many parked events. Returns its epoch.
    fn progress(&mut self, name: &str, found: Option<&[u8]>, parked: u64) -> u64 {
        let key = name.as_bytes();
        let Some(found) = found else {
            let problem =
                "it is missing, so how far the subscription has come is unknown; remove the subscription";
            self.findings.entry(PROGRESS, key, problem, None);
            return 0;
        };
        let StoredProgress { progress, revision } = match decode_progress(found) {
            Ok(stored) => stored,
            Err(why) => {
                let problem = format!(
                    "it cannot be read: {why}; how far the subscription has come is unknown; remove the subscription"
                );
                self.findings.entry(PROGRESS, key, problem, None);
                return 0;
            }
        };
        if progress.parked != parked {
            let problem = format!("it has {} parked events, and {parked} are there", progress.parked);
            let mut batch = BatchBuilder::new();
            batch.require(PROGRESS, key, Some(found));
            let counted = Progress { parked, ..progress };
            let revision = revision.wrapping_add(1);
            batch.put(PROGRESS, key, &encode_progress(&StoredProgress { progress: counted, revision }));
            self.findings.entry(PROGRESS, key, problem, Some(batch));
        }
        progress.epoch
    }

    /// Checks what is parked of a subscription. Returns how many events that are.
    fn parked(&mut self, name: &str) -> Result<u64, Error> {
        let mut keys: BTreeSet<Vec<u8>> = BTreeSet::new();
        self.each(PARKED, name, |step, entry| {
            step.examined += 1;
            match place_of(entry.key) {
                None => step.findings.orphan(PARKED, entry, "the key has no place; nothing reads this entry"),
                Some(place) => {
                    keys.insert(entry.key.to_owned());
                    if let Err(why) = decode_parked(place, false, entry.value) {
                        let problem = format!("the parked event cannot be read: {why}; truncate it");
                        step.findings.entry(PARKED, entry.key, problem, None);
                    }
                }
            }
        })?;
        self.each(REPLAYED, name, |step, entry| {
            step.examined += 1;
            if !keys.contains(entry.key) {
                let mut batch = BatchBuilder::new();
                batch.require(PARKED, entry.key, None);
                batch.require(REPLAYED, entry.key, Some(entry.value));
                batch.delete(REPLAYED, entry.key);
                let problem = "it is to be delivered once more, but is not parked; the emitter cannot begin";
                step.findings.entry(REPLAYED, entry.key, problem, Some(batch));
            }
        })?;
        Ok(keys.len() as u64)
    }

    /// Calls `check` with each entry of a subscription in this keyspace.
    fn each(
        &mut self,
        keyspace: &str,
        name: &str,
        mut check: impl FnMut(&mut Self, Entry<'_>),
    ) -> Result<(), Error> {
        let mut range = prefix_range(keyspace, &prefix_of(name));
        loop {
            let page = self.view.scan(&range, Direction::Forward, STEP_ENTRIES, STEP_BYTES)?;
            page.entries().for_each(|entry| check(self, entry));
            match page.last().filter(|_| page.more).and_then(|last| cursor::following(last.key)) {
                Some(next) => range.start = next,
                None => return Ok(()),
            }
        }
    }

    fn last_epoch(&mut self) -> Result<LastEpoch, Error> {
        let value = self.view.get(EPOCHS, LAST_EPOCH)?;
        let epoch = match value.as_deref().map(decode_epoch) {
            None => 0,
            Some(Ok(epoch)) => epoch,
            // Any epoch of a subscription is after it, so it is repaired.
            Some(Err(_)) => 0,
        };
        let is_readable = value.as_deref().is_none_or(|value| decode_epoch(value).is_ok());
        Ok(LastEpoch { value, epoch, is_readable })
    }

    /// Checks that no subscription has an epoch after the last one: it would be used twice.
    fn epochs(&mut self, last: &LastEpoch, newest: u64) {
        if last.is_readable && newest <= last.epoch {
            return;
        }
        let problem = if last.is_readable {
            format!("it is {}, and a subscription has {newest}; an epoch would be used twice", last.epoch)
        } else {
            "it cannot be read; no emitter can begin".to_owned()
        };
        let mut batch = BatchBuilder::new();
        batch.require(EPOCHS, LAST_EPOCH, last.value.as_deref());
        batch.put(EPOCHS, LAST_EPOCH, &encode_epoch(newest));
        self.findings.entry(EPOCHS, LAST_EPOCH, problem, Some(batch));
    }

    /// Finds entries that belong to no subscription.
    fn orphans(
        &mut self,
        keyspace: &str,
        start: Vec<u8>,
        name_of: impl for<'k> Fn(&'k [u8]) -> Option<&'k [u8]>,
    ) -> Result<Option<Vec<u8>>, Error> {
        let page = self.page(keyspace, start)?;
        let names: BTreeSet<&[u8]> = page.entries().filter_map(|entry| name_of(entry.key)).collect();
        let names: Vec<Vec<u8>> = names.into_iter().map(<[u8]>::to_owned).collect();
        let found = self.view.get_all(SUBSCRIPTIONS, &names)?;
        let there: BTreeMap<Vec<u8>, bool> =
            names.into_iter().zip(found.into_iter().map(|found| found.is_some())).collect();
        for entry in page.entries() {
            let name = name_of(entry.key);
            if name.and_then(|name| there.get(name)) == Some(&true) {
                continue;
            }
            self.examined += 1;
            let mut batch = BatchBuilder::new();
            if let Some(name) = name {
                batch.require(SUBSCRIPTIONS, name, None);
            }
            batch.require(keyspace, entry.key, Some(entry.value));
            batch.delete(keyspace, entry.key);
            let problem = "there is no such subscription; one of this name would begin with it";
            self.findings.entry(keyspace, entry.key, problem, Some(batch));
        }
        Ok(page.last().filter(|_| page.more).and_then(|last| cursor::following(last.key)))
    }

    fn page(&self, keyspace: &str, start: Vec<u8>) -> Result<Page, Error> {
        let range = Range { keyspace: keyspace.to_owned(), start, end: None };
        Ok(self.view.scan(&range, Direction::Forward, STEP_ENTRIES, STEP_BYTES)?)
    }
}

/// The last epoch as it is stored.
struct LastEpoch {
    value: Option<Vec<u8>>,
    /// 0 if there is none, or it cannot be read.
    epoch: u64,
    is_readable: bool,
}
