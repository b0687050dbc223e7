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

/// A stream with all events that it ever had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// Positions of its events by version.
    positions: Vec<u64>,
    /// The first version that may be seen.
    truncated: u64,
    max_count: Option<u64>,
    deleted: bool,
    tombstoned: bool,
    /// The first version since it was begun again after its last deletion.
    life_begins: u64,
}

impl Stream {
    /// The number of events that it ever had.
    pub(crate) fn next(&self) -> u64 {
        self.positions.len() as u64
    }

    /// The first version that can be seen.
    pub(crate) fn first(&self) -> u64 {
        let kept = self.max_count.map_or(0, |count| self.next().saturating_sub(count));
        self.truncated.max(kept)
    }

    /// Its last version, whether it can be seen or not.
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

    /// It can be read from: it has events, and none of its deletions was the last word.
    pub(crate) fn is_live(&self) -> bool {
        self.next() > 0 && self.state() == "live"
    }
}

/// What is expected of a stream, in absolute terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    Any,
    NoStream,
    Exists,
    Exact(u64),
}

/// Why a call is refused: the kind of problem.
pub(crate) type Refusal = &'static str;

/// Events that are to be appended to a stream.
pub(crate) struct Write<'a> {
    pub(crate) stream: &'a str,
    pub(crate) expected: Expectation,
    /// Id, type and tags.
    pub(crate) events: &'a [(String, usize, Vec<usize>)],
}

/// First and last version, and the last position, of what was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) position: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    pub(crate) log: Vec<Event>,
    streams: BTreeMap<String, Stream>,
    ids: HashMap<(String, String), u64>,
    /// Versions by stream and source.
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

    /// The events that match, hidden ones left out.
    pub(crate) fn matching(&self, query: &[Item], prefix: &str) -> impl Iterator<Item = &Event> {
        self.log.iter().filter(move |event| {
            self.is_visible(event)
                && event.stream.starts_with(prefix)
                && (query.is_empty() || query.iter().any(|item| matches(item, event)))
        })
    }

    /// What stands of these events already: all of them as one append, none, or something between.
    fn repeated(&self, write: &Write<'_>) -> Result<Option<Appended>, Refusal> {
        // What is hidden is as if it had never been.
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

    /// A transaction; one append is a transaction of its own. Behind a condition's percentage of the log no event may
    /// match.
    pub(crate) fn transact(
        &mut self,
        writes: &[Write<'_>],
        check: Option<(&str, Expectation)>,
        condition: Option<(&[Item], Option<u64>)>,
    ) -> Result<Vec<Appended>, Refusal> {
        // A position that was never given cannot have been read.
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

    /// The events of a stream that can be seen.
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

    /// Names of streams that are there.
    pub(crate) fn names(&self) -> Vec<String> {
        let live = self.streams.iter().filter(|(_, stream)| stream.is_live());
        live.map(|(name, _)| name.clone()).collect()
    }

    /// The versions that snapshots of a stream can be of.
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

    /// How many are deleted. Those that are hidden do not count.
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

/// The names of types and tags.
pub(crate) fn type_name(kind: usize) -> &'static str {
    TYPES[kind]
}

/// As [`type_name`].
pub(crate) fn tag_names(tags: &[usize]) -> Vec<&'static str> {
    tags.iter().map(|tag| TAGS[*tag]).collect()
}
