//! Walks the log by position, and checks all keyspaces for each event.

use std::collections::HashMap;

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::types::{Direction, Error, Position, Version};
use exesdb_sdk::view::{self, LOOKUPS_MAX, View};

use super::super::labelled::digests;
use super::super::located::{Append, entries_from};
use super::super::log::{At, read_records};
use super::heads::rebuilt;
use super::orphans::{Owner, owner};
use super::postings::span;
use super::{STEP_BYTES, STEP_EVENTS, STEP_LABELS, Start, Step, Walk};
use crate::correlation::CorrelationIndex;
use crate::events::{Event, Logged, logged};
use crate::layout::{
    Head, IDS, INDEX, LABELS, LabelDigest, STREAMS, id_key, index_key, label_key, label_range, number,
    version_in,
};

/// Runs one step of the log, from a position on.
pub(super) fn walk<V: View>(step: &mut Step<'_, V>, from: Position) -> Result<Start, Error> {
    let end = step.view.end().next_position;
    let frames = match step.view.log_read(Some(from), Direction::Forward, STEP_EVENTS, STEP_BYTES) {
        // The host's check reports it. What stands before it is checked.
        Err(view::Error::Damaged(_)) => {
            let positions: Vec<Position> = (from..end).take(LOOKUPS_MAX).collect();
            read_records(step.view, &positions, STEP_BYTES)?
        }
        page => page?.frames,
    };
    let mut events = Vec::new();
    let mut next = from;
    let mut labels = 0;
    for record in logged(&frames) {
        let (position, record) = record?;
        if position < next {
            continue;
        }
        if labels > STEP_LABELS {
            break;
        }
        step.examined += 1;
        next = position.saturating_add(1);
        match record {
            Logged::Event(event) => {
                labels += 1 + event.envelope.tags.len();
                events.push(event);
            }
            Logged::Removed => {}
            Logged::Gap(positions) => next = position.saturating_add(positions),
        }
    }
    // Nothing was read if the first record is damaged.
    let next = if next == from { from.saturating_add(1) } else { next };
    Events::new(step, events)?.check()?;
    Ok(if next < end { Start::Log(next) } else { Start::Keys(Walk::Streams, Vec::new()) })
}

/// The events of one step.
struct Events<'s, 'a, 'e, V> {
    step: &'s mut Step<'a, V>,
    events: Vec<Event<'e>>,
    /// The readable or rebuilt heads of the streams, with their bytes.
    heads: HashMap<String, (Head, Vec<u8>)>,
    /// By origin, the append that was found for a version; the later versions up to its last one are in it.
    appends: HashMap<Position, (Version, Append)>,
    /// For inconsistent streams, whether the origin in the head is theirs.
    trusted: HashMap<String, bool>,
    /// By label, the entry that was found last.
    spans: HashMap<LabelDigest, (Position, Position)>,
}

impl<'s, 'a, 'e, V: View> Events<'s, 'a, 'e, V> {
    fn new(step: &'s mut Step<'a, V>, events: Vec<Event<'e>>) -> Result<Self, Error> {
        let mut ids: Vec<&str> = events.iter().map(|event| event.envelope.stream_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
        let mut heads = HashMap::new();
        for (id, value) in ids.into_iter().zip(step.view.get_all(STREAMS, &keys)?) {
            if let Some(value) = &value
                && let Ok(head) = Head::decode(value)
            {
                heads.insert(id.to_owned(), (head, value.clone()));
                continue;
            }
            let first = events.iter().find(|event| event.is(id, 0));
            let head = first.map_or(Ok(None), |first| rebuilt(step.view, first))?;
            // The walk of the heads reports an unreadable head.
            if value.is_some() && head.is_none() {
                continue;
            }
            let mut problem =
                "it has events, but no head that can be read: it is as if it were not there".to_owned();
            let repair = head.map(|head| {
                let mut batch = BatchBuilder::new();
                batch.require(STREAMS, id.as_bytes(), value.as_deref());
                batch.put(STREAMS, id.as_bytes(), &head.encode());
                heads.insert(id.to_owned(), (head, head.encode()));
                batch
            });
            if repair.is_none() {
                problem.push_str("; what it was cannot be told for certain from these events");
            }
            step.findings.add(format!("stream `{id}`"), problem, repair);
        }
        let (appends, trusted, spans) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self { step, events, heads, appends, trusted, spans })
    }

    fn check(mut self) -> Result<(), Error> {
        let events = std::mem::take(&mut self.events);
        let mut covered = Vec::new();
        for event in &events {
            if let Some((head, _)) = self.heads.get(event.envelope.stream_id)
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
            for digest in digests(&event.envelope, CorrelationIndex::Off) {
                self.label(event, digest)?;
            }
        }
        Ok(())
    }

    /// Reports the events to which the index does not lead, consecutive ones together.
    fn index(&mut self, events: &[((&Event<'_>, Position), Led)]) -> Result<(), Error> {
        let mut lost: Vec<(&Event<'_>, Position)> = Vec::new();
        for ((event, origin), led) in events {
            if *led == Led::Right {
                continue;
            }
            if let Some((last, _)) = lost.last()
                && !(last.envelope.stream_id == event.envelope.stream_id
                    && last.envelope.version.checked_add(1) == Some(event.envelope.version)
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

    fn ids(&mut self, events: &[(&Event<'_>, Position)]) -> Result<(), Error> {
        let keys: Vec<Vec<u8>> =
            events.iter().map(|(event, origin)| id_key(*origin, event.envelope.id)).collect();
        // If several events have one id, the entry belongs to the last one.
        let mut last: HashMap<&[u8], Version> = HashMap::new();
        for ((event, _), key) in events.iter().zip(&keys) {
            let version = last.entry(key).or_insert(event.envelope.version);
            *version = event.envelope.version.max(*version);
        }
        let values = self.step.view.get_all(IDS, &keys)?;
        for (((event, origin), key), value) in events.iter().zip(&keys).zip(values) {
            let stored = value.as_deref().and_then(number);
            let version = event.envelope.version;
            if last[key.as_slice()] != version || stored == Some(version) {
                continue;
            }
            if let Some(later) = stored
                && self.is_again(event, *origin, key, later)?
            {
                continue;
            }
            let repair = self.repair(event, IDS, key, value.as_deref(), version)?;
            let problem = "keyspace `ids` does not have it with its id and version: appended again, it would be added again";
            self.step.findings.add(place(event), problem, repair);
        }
        Ok(())
    }

    /// Whether a later version of the stream has the same id key: the id counted as new while this event was hidden.
    fn is_again(
        &self,
        event: &Event<'_>,
        origin: Position,
        key: &[u8],
        later: Version,
    ) -> Result<bool, Error> {
        let is_extended =
            self.heads.get(event.envelope.stream_id).is_some_and(|(head, _)| head.is_extended());
        if !is_extended || later <= event.envelope.version {
            return Ok(false);
        }
        let page = entries_from(self.step.view, origin, later, 1)?;
        let append = page.first().and_then(|entry| Append::of(origin, entry));
        let Some(position) = append.and_then(|append| append.locate(later)) else { return Ok(false) };
        let records = self.step.records(&[position])?;
        Ok(matches!(
            records.first(),
            At::Event(again)
                if again.is(event.envelope.stream_id, later) && id_key(origin, again.envelope.id) == key
        ))
    }

    /// Where the index leads for an event. A second event of the same version is reported and left as it is.
    fn led_to(&mut self, event: &Event<'_>, origin: Position) -> Result<Led, Error> {
        let known = self
            .appends
            .get(&origin)
            .filter(|(from, append)| (*from..=append.last).contains(&event.envelope.version));
        let append = match known {
            Some((_, append)) => *append,
            None => {
                let page = entries_from(self.step.view, origin, event.envelope.version, 1)?;
                let Some(entry) = page.first() else { return Ok(Led::Astray) };
                let Some(append) = Append::of(origin, entry) else {
                    let is_own = version_in(entry.key, origin) == Some(event.envelope.version);
                    return Ok(if is_own { Led::AstrayByItsOwn } else { Led::Astray });
                };
                self.appends.insert(origin, (event.envelope.version, append));
                append
            }
        };
        let position = append.locate(event.envelope.version);
        if position == Some(event.position) {
            return Ok(Led::Right);
        }
        let records = self.step.records(position.as_slice())?;
        if let At::Event(other) = records.first()
            && other.is(event.envelope.stream_id, event.envelope.version)
        {
            let problem =
                format!("position {} has an event of this version, too; reads give that one", other.position);
            self.step.findings.add(place(event), problem, None);
            return Ok(Led::ToAnother);
        }
        Ok(if append.last == event.envelope.version { Led::AstrayByItsOwn } else { Led::Astray })
    }

    /// Consecutive events, as in one append.
    fn unlocated(&mut self, events: &[(&Event<'_>, Position)]) -> Result<(), Error> {
        let (Some((first, _)), Some((last, origin))) = (events.first(), events.last()) else { return Ok(()) };
        let key = index_key(*origin, last.envelope.version);
        let value = self.step.view.get(INDEX, &key)?;
        let mut repair = self.repair(last, INDEX, &key, value.as_deref(), last.position)?;
        if let (Some(batch), Some((version, position))) = (&mut repair, self.before(first, *origin)?) {
            let key = index_key(*origin, version);
            batch.require(INDEX, &key, None);
            batch.put(INDEX, &key, &position.to_be_bytes());
        }
        let place = format!(
            "stream `{}`, versions {} to {}",
            last.envelope.stream_id, first.envelope.version, last.envelope.version
        );
        let problem = "keyspace `index` does not lead to them: the stream cannot be read there";
        self.step.findings.add(place, problem, repair);
        Ok(())
    }

    /// The preceding version with its position, if the wrong entry for this version happens to be right for that one: it
    /// needs its own entry, because the wrong one changes or is preceded by a new one.
    fn before(&self, event: &Event<'_>, origin: Position) -> Result<Option<(Version, Position)>, Error> {
        let Some(version) = event.envelope.version.checked_sub(1) else { return Ok(None) };
        let page = entries_from(self.step.view, origin, version, 1)?;
        let append = page.first().and_then(|entry| Append::of(origin, entry));
        let position =
            append.filter(|append| append.last > version).and_then(|append| append.locate(version));
        let Some(position) = position else { return Ok(None) };
        let records = self.step.records(&[position])?;
        let is_right =
            matches!(records.first(), At::Event(before) if before.is(event.envelope.stream_id, version));
        Ok(is_right.then_some((version, position)))
    }

    fn label(&mut self, event: &Event<'_>, digest: LabelDigest) -> Result<(), Error> {
        let covers = |(first, last): &(Position, Position)| (*first..=*last).contains(&event.position);
        if self.spans.get(&digest).is_some_and(covers) {
            return Ok(());
        }
        let range = label_range(digest, event.position);
        let page = self.step.view.scan(&range, Direction::Forward, 1, STEP_BYTES)?;
        if let Some((_, first, last)) = page.first().and_then(span) {
            self.spans.insert(digest, (first, last));
            if covers(&(first, last)) {
                return Ok(());
            }
        }
        let key = label_key(digest, event.position);
        let value = self.step.view.get(LABELS, &key)?;
        let repair = self.repair(event, LABELS, &key, value.as_deref(), event.position)?;
        let problem = "keyspace `labels` does not have it with its type and tags: filtered reads and append conditions miss it";
        self.step.findings.add(place(event), problem, repair);
        Ok(())
    }

    /// The repair that writes an entry which an event determines; none if it is not certain.
    fn repair(
        &mut self,
        event: &Event<'_>,
        keyspace: &str,
        key: &[u8],
        found: Option<&[u8]>,
        wanted: u64,
    ) -> Result<Option<BatchBuilder>, Error> {
        let Some((head, value)) = self.heads.get(event.envelope.stream_id) else { return Ok(None) };
        let mut batch = BatchBuilder::new();
        batch.require(STREAMS, event.envelope.stream_id.as_bytes(), Some(value));
        batch.require(keyspace, key, found);
        batch.put(keyspace, key, &wanted.to_be_bytes());
        let head = *head;
        Ok(self.trusts(event, &head)?.then_some(batch))
    }

    /// Whether the origin in the head is the stream's. An entry under a wrong origin would corrupt another stream.
    fn trusts(&mut self, event: &Event<'_>, head: &Head) -> Result<bool, Error> {
        if let Some(trusted) = self.trusted.get(event.envelope.stream_id) {
            return Ok(*trusted);
        }
        let stream_id = event.envelope.stream_id;
        let records = self.step.records(&[head.origin])?;
        let trusted = match records.first() {
            At::Event(first) => first.envelope.stream_id == stream_id,
            // The first event is removed. If another stream has the origin, its last event shows that.
            At::Removed => match owner(self.step, head.origin)? {
                Owner::Stream(owner, _) => owner == stream_id,
                Owner::Nobody | Owner::Unknown => true,
            },
            At::Nothing => false,
        };
        if !trusted {
            let problem = format!(
                "the head says that the stream begins at position {}, but nothing there is of this stream: what leads to \
                 its events cannot be put right",
                head.origin
            );
            self.step.findings.add(format!("stream `{stream_id}`"), problem, None);
        }
        self.trusted.insert(stream_id.to_owned(), trusted);
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
fn is_covered<V: View>(step: &mut Step<'_, V>, event: &Event<'_>, head: &Head) -> bool {
    let problem = if event.envelope.version > head.last_version {
        format!(
            "the stream's head says that {} is its last version: no read gives this event",
            head.last_version
        )
    } else if event.position < head.origin {
        format!("the stream's head says that it begins at position {}, after this event", head.origin)
    } else if event.envelope.version < head.reclaimed_before {
        format!(
            "the stream's head says that all versions below {} were removed, but this event is still here; no read \
             gives it",
            head.reclaimed_before
        )
    } else {
        return true;
    };
    step.findings.add(place(event), problem, None);
    false
}

fn place(event: &Event<'_>) -> String {
    let Event { position, envelope, .. } = event;
    format!("stream `{}`, version {} (position {position})", envelope.stream_id, envelope.version)
}
