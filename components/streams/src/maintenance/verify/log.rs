//! Walks the log by position, and checks all other keyspaces for each event.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::keyspaces::{BatchBuilder, Direction, Entry, Keyspaces, Range, chain_link};
use exesdb_sdk::types::{Error, Position, RecordedEvent, Version};

use super::super::cursor;
use super::super::labelled::digests;
use super::super::located::{Append, entries_from};
use super::heads::rebuilt;
use super::orphans::{Owner, owner};
use super::postings::span;
use super::{At, LogStart, STEP_BYTES, STEP_ENTRIES, STEP_EVENTS, STEP_LABELS, Start, Step, Walk};
use crate::correlation::CorrelationIndex;
use crate::layout::{
    EVENTS, Envelope, GAPS, Head, IDS, INDEX, LABELS, LabelDigest, STREAMS, id_key, index_key, label_key,
    label_range, number, version_in,
};

/// Runs one step of the log.
pub(super) fn walk<S: Keyspaces>(step: &mut Step<'_, S>, place: LogStart) -> Result<Start, Error> {
    let end = step.store.log_end()?;
    let page = step.page(EVENTS, place.start.clone(), STEP_EVENTS)?;
    let LogStart { mut expected, mut link, .. } = place;
    let mut events = Vec::new();
    let mut unsure = HashSet::new();
    let mut labels = 0;
    let mut last = None;
    for entry in &page.entries {
        if labels > STEP_LABELS {
            break;
        }
        last = Some(&entry.key);
        step.examined += 1;
        let Some(position) = number(&entry.key) else {
            step.entry(EVENTS, &entry.key, "the key is no position; nothing reads this entry", None);
            continue;
        };
        if position >= end.next_position {
            let problem = format!(
                "the event is after the end of the log, which is position {}; it was not written by a commit",
                end.next_position
            );
            step.entry(EVENTS, &entry.key, problem, None);
            continue;
        }
        hole(step, expected, position)?;
        expected = position.saturating_add(1);
        if link.is_none() {
            unsure.insert(position);
        }
        link = envelope(step, entry, position, link, &mut events);
        labels += events.last().map_or(0, |event: &RecordedEvent| 1 + event.tags.len());
    }
    Events::new(step, events, unsure)?.check()?;
    let is_whole = last == page.entries.last().map(|entry| &entry.key);
    let start = last.and_then(|last| cursor::following(last)).filter(|_| page.more || !is_whole);
    if let Some(start) = start {
        return Ok(Start::Log(LogStart { start, expected, link }));
    }
    hole(step, expected, end.next_position)?;
    if link.is_some_and(|link| link != end.chain) {
        let place = format!("position {}", expected.saturating_sub(1));
        step.add(
            place,
            "the hash chain of the store does not end with this event: the last events are not those that were written",
            None,
        );
    }
    Ok(Start::Keys(Walk::Streams, Vec::new()))
}

/// Checks positions without an event. Those that imports left empty are covered by one or more entries of `gaps`.
fn hole<S: Keyspaces>(step: &mut Step<'_, S>, expected: Position, next: Position) -> Result<(), Error> {
    let mut at = expected;
    while at < next {
        let range = Range {
            keyspace: GAPS.to_owned(),
            start: at.to_be_bytes().to_vec(),
            end: Some(next.to_be_bytes().to_vec()),
        };
        let page = step.store.scan(&range, Direction::Forward, STEP_ENTRIES, STEP_BYTES)?;
        let before = at;
        for entry in &page.entries {
            match number(&entry.value) {
                Some(end) if number(&entry.key) == Some(at) && at < end && end <= next => at = end,
                _ => break,
            }
        }
        if at == before {
            let problem = "no event is here, and no import left them empty: events are lost; restore the store from a backup";
            step.add(format!("positions {at} to {}", next - 1), problem, None);
            return Ok(());
        }
    }
    Ok(())
}

/// Checks an entry, and returns its link for the next one.
fn envelope<S: Keyspaces>(
    step: &mut Step<'_, S>,
    entry: &Entry,
    position: Position,
    before: Option<u64>,
    events: &mut Vec<RecordedEvent>,
) -> Option<u64> {
    let envelope = match Envelope::decode(position, &entry.value) {
        Ok(envelope) => envelope,
        Err(reason) => {
            let problem = format!("the event cannot be read: {reason}; restore the store from a backup");
            step.add(format!("position {position}"), problem, None);
            return None;
        }
    };
    let link = envelope.link();
    if let Some(event) = envelope.into_event() {
        let right = before
            .and_then(|before| chain_link(before, &entry.key, &entry.value, Envelope::LINK_AT as usize));
        if right.is_some_and(|right| right != link) {
            let place =
                format!("position {position}, version {} of stream `{}`", event.version, event.stream_id);
            let problem = "its link of the hash chain is not that of its content after the preceding event: one of both \
                           is not what was written; restore the store from a backup";
            step.add(place, problem, None);
            // The content may be wrong, so entries that lead to it are neither checked nor changed.
            return Some(link);
        }
        events.push(event);
    }
    Some(link)
}

/// The events of one step.
struct Events<'s, 'a, S> {
    step: &'s mut Step<'a, S>,
    events: Vec<RecordedEvent>,
    /// The positions of events that the hash chain cannot verify, because the preceding event cannot be read.
    unsure: HashSet<Position>,
    /// The readable or rebuilt heads of the streams, with their bytes.
    heads: HashMap<String, (Head, Vec<u8>)>,
    /// By origin, the append that was found for a version; the later versions up to its last one are in it.
    appends: HashMap<Position, (Version, Append)>,
    /// For inconsistent streams, whether the origin in the head is theirs.
    trusted: HashMap<String, bool>,
    /// By label, the entry that was found last.
    spans: HashMap<LabelDigest, (Position, Position)>,
}

impl<'s, 'a, S: Keyspaces> Events<'s, 'a, S> {
    fn new(
        step: &'s mut Step<'a, S>,
        events: Vec<RecordedEvent>,
        unsure: HashSet<Position>,
    ) -> Result<Self, Error> {
        let mut ids: Vec<&str> = events.iter().map(|event| event.stream_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        let mut heads = HashMap::new();
        for (id, value) in ids.into_iter().zip(step.store.get_all(STREAMS, &keys)?) {
            if let Some(value) = &value
                && let Ok(head) = Head::decode(value)
            {
                heads.insert(id.to_owned(), (head, value.clone()));
                continue;
            }
            let is_first = |event: &&RecordedEvent| {
                event.stream_id == id && event.version == 0 && !unsure.contains(&event.position)
            };
            let first = events.iter().find(is_first);
            let head = first.map_or(Ok(None), |first| rebuilt(step.store, first))?;
            // The walk of the heads reports an unreadable head.
            if value.is_some() && head.is_none() {
                continue;
            }
            let mut problem =
                "it has events, but no head that can be read: it is as if it were not there".to_owned();
            let repair = head.map(|head| {
                let mut batch = BatchBuilder::new();
                batch.require(STREAMS, id.as_bytes(), value.as_deref());
                batch.put(STREAMS, id, head.encode());
                heads.insert(id.to_owned(), (head, head.encode()));
                batch
            });
            if repair.is_none() {
                problem.push_str("; what it was cannot be told for certain from these events");
            }
            step.add(format!("stream `{id}`"), problem, repair);
        }
        let (appends, trusted, spans) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self { step, events, unsure, heads, appends, trusted, spans })
    }

    fn check(mut self) -> Result<(), Error> {
        let events = std::mem::take(&mut self.events);
        let mut covered = Vec::new();
        for event in &events {
            if let Some((head, _)) = self.heads.get(&event.stream_id)
                && is_covered(self.step, event, head)
            {
                covered.push((event, head.origin));
            }
        }
        let mut led = Vec::with_capacity(covered.len());
        for (event, origin) in &covered {
            led.push(self.led_to(event, *origin)?);
        }
        // No entry should lead to a second event of a version.
        let firsts: Vec<_> = covered.into_iter().zip(led).filter(|(_, led)| *led != Led::ToAnother).collect();
        self.index(&firsts)?;
        let firsts: Vec<_> = firsts.into_iter().map(|(event, _)| event).collect();
        self.ids(&firsts)?;
        for (event, _) in &firsts {
            for digest in digests(event, CorrelationIndex::Off) {
                self.label(event, digest)?;
            }
        }
        Ok(())
    }

    /// Reports the events to which the index does not lead, consecutive ones together.
    fn index(&mut self, events: &[((&RecordedEvent, Position), Led)]) -> Result<(), Error> {
        let mut lost: Vec<(&RecordedEvent, Position)> = Vec::new();
        for ((event, origin), led) in events {
            if *led == Led::Right {
                continue;
            }
            if let Some((last, _)) = lost.last()
                && !(last.stream_id == event.stream_id
                    && last.version.checked_add(1) == Some(event.version)
                    && last.position.checked_add(1) == Some(event.position))
            {
                self.unlocated(&lost)?;
                lost.clear();
            }
            lost.push((event, *origin));
            // An event with an entry of its own needs it to be right.
            if *led == Led::AstrayByItsOwn {
                self.unlocated(&lost)?;
                lost.clear();
            }
        }
        self.unlocated(&lost)
    }

    fn ids(&mut self, events: &[(&RecordedEvent, Position)]) -> Result<(), Error> {
        let keys: Vec<Vec<u8>> = events.iter().map(|(event, origin)| id_key(*origin, &event.id)).collect();
        // If several events have one id, the entry belongs to the last one.
        let mut last: HashMap<&[u8], Version> = HashMap::new();
        for ((event, _), key) in events.iter().zip(&keys) {
            let version = last.entry(key).or_insert(event.version);
            *version = event.version.max(*version);
        }
        let values = self.step.store.get_all(IDS, &keys)?;
        for (((event, origin), key), value) in events.iter().zip(&keys).zip(values) {
            let stored = value.as_deref().and_then(number);
            if last[key.as_slice()] != event.version || stored == Some(event.version) {
                continue;
            }
            if let Some(later) = stored
                && self.is_again(event, *origin, key, later)?
            {
                continue;
            }
            let repair = self.repair(event, IDS, key, value.as_deref(), event.version)?;
            let problem = "keyspace `ids` does not have it with its id and version: appended again, it would be added again";
            self.step.add(place(event), problem, repair);
        }
        Ok(())
    }

    /// Whether a later version of the stream has the same id key: the id counted as new while this event was hidden.
    fn is_again(
        &self,
        event: &RecordedEvent,
        origin: Position,
        key: &[u8],
        later: Version,
    ) -> Result<bool, Error> {
        let is_extended = self.heads.get(&event.stream_id).is_some_and(|(head, _)| head.is_extended());
        if !is_extended || later <= event.version {
            return Ok(false);
        }
        let entries = entries_from(self.step.store, origin, later, 1)?;
        let append = entries.first().and_then(|entry| Append::of(origin, entry));
        let Some(position) = append.and_then(|append| append.locate(later)) else { return Ok(false) };
        Ok(matches!(
            self.step.events(&[position])?.pop(),
            Some(At::Envelope(Envelope::Event { event: again, .. }))
                if again.stream_id == event.stream_id
                    && again.version == later
                    && id_key(origin, &again.id) == key
        ))
    }

    /// Where the index leads for an event. A second event of the same version is reported and left as it is.
    fn led_to(&mut self, event: &RecordedEvent, origin: Position) -> Result<Led, Error> {
        let known =
            self.appends.get(&origin).filter(|(from, append)| (*from..=append.last).contains(&event.version));
        let append = match known {
            Some((_, append)) => *append,
            None => {
                let entries = entries_from(self.step.store, origin, event.version, 1)?;
                let Some(entry) = entries.first() else { return Ok(Led::Astray) };
                let Some(append) = Append::of(origin, entry) else {
                    let is_own = version_in(&entry.key, origin) == Some(event.version);
                    return Ok(if is_own { Led::AstrayByItsOwn } else { Led::Astray });
                };
                self.appends.insert(origin, (event.version, append));
                append
            }
        };
        let position = append.locate(event.version);
        if position == Some(event.position) {
            return Ok(Led::Right);
        }
        let other = match position {
            Some(position) => self.step.events(&[position])?.pop(),
            None => None,
        };
        if let Some(At::Envelope(Envelope::Event { event: other, .. })) = other
            && (&other.stream_id, other.version) == (&event.stream_id, event.version)
        {
            let problem =
                format!("position {} has an event of this version, too; reads give that one", other.position);
            self.step.add(place(event), problem, None);
            return Ok(Led::ToAnother);
        }
        Ok(if append.last == event.version { Led::AstrayByItsOwn } else { Led::Astray })
    }

    /// Consecutive events, as in one append.
    fn unlocated(&mut self, events: &[(&RecordedEvent, Position)]) -> Result<(), Error> {
        let (Some((first, _)), Some((last, origin))) = (events.first(), events.last()) else { return Ok(()) };
        let key = index_key(*origin, last.version);
        let value = self.step.store.get(INDEX, &key)?;
        let mut repair = self.repair(last, INDEX, &key, value.as_deref(), last.position)?;
        if let (Some(batch), Some((version, position))) = (&mut repair, self.before(first, *origin)?) {
            let key = index_key(*origin, version);
            batch.require(INDEX, &key, None);
            batch.put(INDEX, key, position.to_be_bytes());
        }
        let place = format!("stream `{}`, versions {} to {}", last.stream_id, first.version, last.version);
        let problem = "keyspace `index` does not lead to them: the stream cannot be read there";
        self.step.add(place, problem, repair);
        Ok(())
    }

    /// The preceding version with its position, if the wrong entry for this version happens to be right for that one: it
    /// needs its own entry, because the wrong one changes or is preceded by a new one.
    fn before(&self, event: &RecordedEvent, origin: Position) -> Result<Option<(Version, Position)>, Error> {
        let Some(version) = event.version.checked_sub(1) else { return Ok(None) };
        let entries = entries_from(self.step.store, origin, version, 1)?;
        let append = entries.first().and_then(|entry| Append::of(origin, entry));
        let position =
            append.filter(|append| append.last > version).and_then(|append| append.locate(version));
        let Some(position) = position else { return Ok(None) };
        match self.step.events(&[position])?.pop() {
            Some(At::Envelope(Envelope::Event { event: before, .. }))
                if before.stream_id == event.stream_id && before.version == version =>
            {
                Ok(Some((version, position)))
            }
            _ => Ok(None),
        }
    }

    fn label(&mut self, event: &RecordedEvent, digest: LabelDigest) -> Result<(), Error> {
        let covers = |(first, last): &(Position, Position)| (*first..=*last).contains(&event.position);
        if self.spans.get(&digest).is_some_and(covers) {
            return Ok(());
        }
        let range = label_range(digest, event.position);
        let page = self.step.store.scan(&range, Direction::Forward, 1, STEP_BYTES)?;
        if let Some((_, first, last)) = page.entries.first().and_then(span) {
            self.spans.insert(digest, (first, last));
            if covers(&(first, last)) {
                return Ok(());
            }
        }
        let key = label_key(digest, event.position);
        let value = self.step.store.get(LABELS, &key)?;
        let repair = self.repair(event, LABELS, &key, value.as_deref(), event.position)?;
        let problem = "keyspace `labels` does not have it with its type and tags: filtered reads and append conditions miss it";
        self.step.add(place(event), problem, repair);
        Ok(())
    }

    /// The repair that writes an entry which an event determines; none if it is not certain.
    fn repair(
        &mut self,
        event: &RecordedEvent,
        keyspace: &str,
        key: &[u8],
        found: Option<&[u8]>,
        wanted: u64,
    ) -> Result<Option<BatchBuilder>, Error> {
        if self.unsure.contains(&event.position) {
            return Ok(None);
        }
        let Some((head, value)) = self.heads.get(&event.stream_id) else { return Ok(None) };
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, event.stream_id.as_bytes(), Some(value));
        batch.require(keyspace, key, found);
        batch.put(keyspace, key, wanted.to_be_bytes());
        let head = *head;
        Ok(self.trusts(event, &head)?.then_some(batch))
    }

    /// Whether the origin in the head is the stream's. An entry under a wrong origin would corrupt another stream.
    fn trusts(&mut self, event: &RecordedEvent, head: &Head) -> Result<bool, Error> {
        if let Some(trusted) = self.trusted.get(&event.stream_id) {
            return Ok(*trusted);
        }
        let trusted = match self.step.events(&[head.origin])?.pop() {
            Some(At::Envelope(Envelope::Event { event: first, .. })) => first.stream_id == event.stream_id,
            // The first event is removed. If another stream has the origin, its last event shows that.
            Some(At::Envelope(Envelope::Removed { .. }) | At::Malformed) => {
                match owner(self.step, head.origin)? {
                    Owner::Stream(stream_id, _) => stream_id == event.stream_id,
                    Owner::Nobody | Owner::Unknown => true,
                }
            }
            Some(At::Missing) | None => false,
        };
        if !trusted {
            let problem = format!(
                "the head says that the stream begins at position {}, but nothing there is of this stream: what leads to \
                 its events cannot be put right",
                head.origin
            );
            self.step.add(format!("stream `{}`", event.stream_id), problem, None);
        }
        self.trusted.insert(event.stream_id.clone(), trusted);
        Ok(trusted)
    }
}

/// Where the index leads for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Led {
    /// To the event.
    Right,
    /// To another event with the same stream and version.
    ToAnother,
    /// Not to the event: no entry is right for it.
    Astray,
    /// Not to the event, by an entry for just this version.
    AstrayByItsOwn,
}

/// Whether the head covers the event's version.
fn is_covered<S: Keyspaces>(step: &mut Step<'_, S>, event: &RecordedEvent, head: &Head) -> bool {
    let problem = if event.version > head.last_version {
        format!(
            "the stream's head says that {} is its last version: no read gives this event",
            head.last_version
        )
    } else if event.position < head.origin {
        format!("the stream's head says that it begins at position {}, after this event", head.origin)
    } else if event.version < head.reclaimed_before {
        format!(
            "the stream's head says that all versions below {} were removed, but this event is still here; no read \
             gives it",
            head.reclaimed_before
        )
    } else {
        return true;
    };
    step.add(place(event), problem, None);
    false
}

fn place(event: &RecordedEvent) -> String {
    format!("stream `{}`, version {} (position {})", event.stream_id, event.version, event.position)
}
