//! The store as plain data: the expected result of every call.

use std::collections::{BTreeMap, HashMap};

use crate::operation::{Item, TAGS, TYPES};

/// An event that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) stream: String,
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) id: String,
    pub(crate) kind: usize,
    pub(crate) tags: Vec<usize>,
}

/// A stream, with all events ever appended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// The positions of its events, by version.
    positions: Vec<u64>,
    /// The first version after truncation.
    truncated: u64,
    max_count: Option<u64>,
    deleted: bool,
    tombstoned: bool,
    /// The first version after its last deletion.
    life_begins: u64,
}

impl Stream {
    /// The number of events ever appended.
    pub(crate) fn next(&self) -> u64 {
        self.positions.len() as u64
    }

    /// The first visible version.
    pub(crate) fn first(&self) -> u64 {
        let kept = self.max_count.map_or(0, |count| self.next().saturating_sub(count));
        self.truncated.max(kept)
    }

    /// The last version, visible or not.
    pub(crate) fn last(&self) -> Option<u64> {
        self.next().checked_sub(1)
    }

    pub(crate) fn state(&self) -> &'static str {
        match (self.tombstoned, self.deleted) {
            (true, _) => "tombstoned",
            (false, true) => "deleted",
            (false, false) => "live",
        }
    }

    /// Whether the stream can be read: it has events, and is not deleted.
    pub(crate) fn is_live(&self) -> bool {
        self.next() > 0 && self.state() == "live"
    }
}

/// An expected version, in absolute terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    Any,
    NoStream,
    Exists,
    Exact(u64),
}

/// The kind of problem with which a call is refused.
pub(crate) type Refusal = &'static str;

/// Events to append to a stream.
pub(crate) struct Write<'a> {
    pub(crate) stream: &'a str,
    pub(crate) expected: Expectation,
    /// The id, type and tags of each event.
    pub(crate) events: &'a [(String, usize, Vec<usize>)],
}

/// The first and last version of an append, and its last position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) position: u64,
}

/// The model of a store.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) log: Vec<Event>,
    streams: BTreeMap<String, Stream>,
    ids: HashMap<(String, String), u64>,
    /// The versions of snapshots, by stream and source.
    snapshots: BTreeMap<(String, String), std::collections::BTreeSet<u64>>,
}

impl Reference {
    pub(crate) fn stream(&self, stream: &str) -> Stream {
        self.streams.get(stream).cloned().unwrap_or_default()
    }

    fn holds(&self, stream: &str, expected: Expectation) -> Result<(), Refusal> {
        let found = self.stream(stream);
        let holds = match expected {
            Expectation::Any => true,
            Expectation::NoStream => !found.is_live(),
            Expectation::Exists => found.is_live(),
            Expectation::Exact(version) => found.last() == Some(version),
        };
        if holds { Ok(()) } else { Err("wrong-expected-version") }
    }

    fn is_visible(&self, event: &Event) -> bool {
        let stream = &self.streams[&event.stream];
        stream.is_live() && event.version >= stream.first()
    }

    /// The visible events that match.
    pub(crate) fn matching(&self, query: &[Item], prefix: &str) -> impl Iterator<Item = &Event> {
        self.log.iter().filter(move |event| {
            self.is_visible(event)
                && event.stream.starts_with(prefix)
                && (query.is_empty() || query.iter().any(|item| matches(item, event)))
        })
    }

    /// The earlier append of the same events; `None` if none of them is stored; an error if only some are.
    fn repeated(&self, write: &Write<'_>) -> Result<Option<Appended>, Refusal> {
        // Hidden events count as new.
        let stream = self.stream(write.stream);
        let visible = |version: u64| stream.is_live() && version >= stream.first();
        let version = |(id, ..): &(String, usize, Vec<usize>)| {
            self.ids.get(&(write.stream.to_owned(), id.clone())).copied().filter(|version| visible(*version))
        };
        let versions: Vec<_> = write.events.iter().map(version).collect();
        if versions.iter().all(Option::is_none) {
            return Ok(None);
        }
        let Some(Some(first)) = versions.first().copied() else { return Err("event-id-conflict") };
        let as_one = versions.iter().zip(first..).all(|(version, wanted)| *version == Some(wanted));
        if !as_one {
            return Err("event-id-conflict");
        }
        let last = first + versions.len() as u64 - 1;
        let position = self.streams[write.stream].positions[usize::try_from(last).expect("small")];
        Ok(Some(Appended { first, last, position }))
    }

    /// Applies a transaction; a single append is a transaction, too. A condition holds if no event after its position matches.
    pub(crate) fn transact(
        &mut self,
        writes: &[Write<'_>],
        check: Option<(&str, Expectation)>,
        condition: Option<(&[Item], Option<u64>)>,
    ) -> Result<Vec<Appended>, Refusal> {
        // A position beyond the end cannot have been read.
        if condition.and_then(|(_, after)| after).is_some_and(|after| after >= self.log.len() as u64) {
            return Err("history-changed");
        }
        for write in writes {
            if self.stream(write.stream).tombstoned {
                return Err("stream-deleted");
            }
        }
        let repeated = writes.iter().map(|write| self.repeated(write)).collect::<Result<Vec<_>, _>>()?;
        if repeated.iter().all(Option::is_some) {
            return Ok(repeated.into_iter().flatten().collect());
        }
        if repeated.iter().any(Option::is_some) {
            return Err("event-id-conflict");
        }
        for write in writes {
            self.holds(write.stream, write.expected)?;
        }
        if let Some((stream, expected)) = check {
            self.holds(stream, expected)?;
        }
        if let Some((query, after)) = condition
            && self.matching(query, "").any(|event| after.is_none_or(|after| event.position > after))
        {
            return Err("condition-failed");
        }
        Ok(writes.iter().map(|write| self.append(write)).collect())
    }

    fn append(&mut self, write: &Write<'_>) -> Appended {
        let stream = self.streams.entry(write.stream.to_owned()).or_default();
        if stream.deleted {
            stream.life_begins = stream.next();
        }
        stream.deleted = false;
        let first = stream.next();
        for (id, kind, tags) in write.events {
            let (version, position) = (stream.next(), self.log.len() as u64);
            stream.positions.push(position);
            self.ids.insert((write.stream.to_owned(), id.clone()), version);
            self.log.push(Event {
                stream: write.stream.to_owned(),
                version,
                position,
                id: id.clone(),
                kind: *kind,
                tags: tags.clone(),
            });
        }
        Appended { first, last: stream.next() - 1, position: self.log.len() as u64 - 1 }
    }

    pub(crate) fn delete(
        &mut self,
        stream: &str,
        expected: Expectation,
        tombstone: bool,
    ) -> Result<(), Refusal> {
        let found = self.stream(stream);
        if found.next() == 0 || (found.deleted && !tombstone) {
            return Err("stream-not-found");
        }
        self.holds(stream, expected)?;
        let found = self.streams.get_mut(stream).expect("it has events");
        found.truncated = found.next();
        found.deleted = true;
        found.tombstoned = tombstone;
        Ok(())
    }

    pub(crate) fn retain(
        &mut self,
        stream: &str,
        truncate: Option<u64>,
        max_count: Option<u64>,
    ) -> Result<(), Refusal> {
        let found = self.stream(stream);
        if found.tombstoned {
            return Err("stream-deleted");
        }
        if found.next() == 0 {
            return Err("stream-not-found");
        }
        let hidden = found.first();
        let found = self.streams.get_mut(stream).expect("it has events");
        found.truncated = hidden.max(truncate.unwrap_or(0).min(found.next()));
        found.max_count = max_count;
        Ok(())
    }

    /// The visible events of a stream.
    pub(crate) fn read(&self, stream: &str) -> Result<Vec<&Event>, Refusal> {
        let found = self.streams.get(stream).ok_or("stream-not-found")?;
        if found.tombstoned {
            return Err("stream-deleted");
        }
        if !found.is_live() {
            return Err("stream-not-found");
        }
        let visible = found.positions.iter().skip(usize::try_from(found.first()).expect("small"));
        Ok(visible.map(|position| &self.log[usize::try_from(*position).expect("small")]).collect())
    }

    /// The names of existing streams.
    pub(crate) fn names(&self) -> Vec<String> {
        let live = self.streams.iter().filter(|(_, stream)| stream.is_live());
        live.map(|(name, _)| name.clone()).collect()
    }

    /// The versions at which snapshots of a stream are visible.
    fn life(&self, stream: &str) -> std::ops::Range<u64> {
        let found = self.stream(stream);
        if found.is_live() { found.life_begins..found.next() } else { 0..0 }
    }

    pub(crate) fn put_snapshot(&mut self, stream: &str, source: &str, version: u64) -> Result<(), Refusal> {
        if !self.life(stream).contains(&version) {
            return Err("no-such-version");
        }
        self.snapshots.entry((stream.to_owned(), source.to_owned())).or_default().insert(version);
        Ok(())
    }

    pub(crate) fn latest_snapshot(&self, stream: &str, source: &str, at_most: Option<u64>) -> Option<u64> {
        let versions = self.snapshots.get(&(stream.to_owned(), source.to_owned()))?;
        let life = self.life(stream);
        versions.range(..=at_most.unwrap_or(u64::MAX)).next_back().copied().filter(|last| life.contains(last))
    }

    /// Deletes old snapshots, and returns how many. Hidden ones do not count.
    pub(crate) fn prune_snapshots(&mut self, stream: &str, source: &str, keep: usize) -> usize {
        let life = self.life(stream);
        let Some(versions) = self.snapshots.get_mut(&(stream.to_owned(), source.to_owned())) else {
            return 0;
        };
        versions.retain(|version| life.contains(version));
        let unneeded = versions.len().saturating_sub(keep);
        for _ in 0..unneeded {
            versions.pop_first();
        }
        unneeded
    }
}

fn matches(item: &Item, event: &Event) -> bool {
    (item.types.is_empty() || item.types.contains(&event.kind))
        && item.tags.iter().all(|tag| event.tags.contains(tag))
}

/// The name of a type.
pub(crate) fn type_name(kind: usize) -> &'static str {
    TYPES[kind]
}

/// The names of tags.
pub(crate) fn tag_names(tags: &[usize]) -> Vec<&'static str> {
    tags.iter().map(|tag| TAGS[*tag]).collect()
}
