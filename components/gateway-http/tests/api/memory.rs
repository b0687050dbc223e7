//! A store in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use exesdb_gateway_http::history::HistoryId;
use exesdb_gateway_http::store::{
    AppendRequest, AppendResult, Deletion, Direction, Error, EventFilter, EventPage, ExpectedVersion,
    HistoryChange, ImportMark, ImportResult, ImportState, ImportedEvent, QueryItem, RecordedEvent,
    RecordedSnapshot, Retention, SnapshotData, SnapshotId, SnapshotInfo, SnapshotPage, SnapshotScope, Source,
    Store, StoreHistory, StreamInfo, StreamPage, StreamState, Transaction, Wake,
};
use exesdb_sdk::types::{ConditionFailure, VersionConflict};

/// What happens while a follower waits.
#[derive(Debug)]
pub(crate) enum Step {
    /// An event of this stream is appended.
    Append(&'static str),
    /// The wait ends like this, and nothing happened: at once, or with `Timeout` when its time is over.
    Wake(Wake),
    /// The wait ends after so many milliseconds, as if there were events.
    Hint(u64),
    /// From now on reads fail.
    Fail(Error),
    /// This stream gets a tombstone, and the wait ends when its time is over.
    Tombstone(&'static str),
}

/// The store's history.
pub(crate) const HISTORY: HistoryId = HistoryId(0xaa);

/// A history that the store has left, at [`Memory::left_at`].
pub(crate) const OLD_HISTORY: HistoryId = HistoryId(0xbb);

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) events: Vec<RecordedEvent>,
    /// By stream, by source, the newest first.
    pub(crate) snapshots: BTreeMap<(String, String, Reverse<u64>), RecordedSnapshot>,
    /// The streams that were deleted, and how.
    pub(crate) deleted: BTreeMap<String, Deletion>,
    pub(crate) retentions: BTreeMap<String, Retention>,
    /// By stream and source, how many rows were imported, and how many the source begins with.
    pub(crate) imported: BTreeMap<(String, String), (u64, u64)>,
    /// What the next calls fail with.
    pub(crate) failure: Option<Error>,
    /// The most events on a page, as if they were large.
    pub(crate) page_events: Option<usize>,
    /// The most events that a filtered read looks at.
    pub(crate) scan_events: Option<usize>,
    /// From this read on, counted from 1, reads fail with `failure`.
    pub(crate) failing_read: Option<usize>,
    /// An event of this stream is appended with each read.
    pub(crate) busy_writer: Option<&'static str>,
    /// What each wait meets; after the last one the store closes.
    pub(crate) steps: VecDeque<Step>,
    /// What a wait of no duration says.
    pub(crate) probe: Option<Wake>,
    /// The waits there were: stream and position.
    pub(crate) waits: Vec<(Option<String>, u64)>,
    /// How many pages were read.
    pub(crate) reads: usize,
    pub(crate) clock_ms: u64,
    /// How long a read takes.
    pub(crate) read_ms: u64,
    /// Where the old history was left.
    pub(crate) left_at: u64,
    pub(crate) failures_logged: Vec<String>,
}

impl Memory {
    /// Appends an event with JSON data.
    pub(crate) fn add(&mut self, stream: &str) {
        let version = self.events.iter().filter(|event| event.stream_id == stream).count() as u64;
        let position = self.events.len() as u64;
        self.events.push(RecordedEvent {
            stream_id: stream.to_owned(),
            version,
            position,
            id: format!("id-{position}"),
            event_type: "added".to_owned(),
            content_type: "application/json".to_owned(),
            data: position.to_string().into_bytes(),
            metadata: Vec::new(),
            tags: vec![format!("of:{stream}")],
            created: position,
        });
    }

    /// The same, for several streams in turn.
    pub(crate) fn with(streams: &[&str]) -> Self {
        let mut memory = Self::default();
        streams.iter().for_each(|stream| memory.add(stream));
        memory
    }

    fn stream(&self, stream: Option<&str>) -> Vec<RecordedEvent> {
        self.events
            .iter()
            .filter(|event| stream.is_none_or(|stream| event.stream_id == stream))
            .filter(|event| !self.deleted.contains_key(&event.stream_id))
            .cloned()
            .collect()
    }

    fn fail(&self) -> Result<(), Error> {
        if self.failing_read.is_some_and(|first| self.reads < first) {
            return Ok(());
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn expect(&self, stream: &str, expected: ExpectedVersion) -> Result<(), Error> {
        if self.deleted.get(stream) == Some(&Deletion::Tombstone) {
            return Err(Error::StreamDeleted(stream.to_owned()));
        }
        let last = self.stream(Some(stream)).last().map(|event| event.version);
        let held = match expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => last.is_none(),
            ExpectedVersion::StreamExists => last.is_some(),
            ExpectedVersion::Exact(version) => last == Some(version),
        };
        if held {
            return Ok(());
        }
        let (stream_id, is_deleted) = (stream.to_owned(), self.deleted.contains_key(stream));
        let conflict = VersionConflict { stream_id, expected, last_version: last, is_deleted };
        Err(Error::WrongExpectedVersion(conflict))
    }

    fn add_all(&mut self, request: AppendRequest) -> AppendResult {
        let last = self.stream(Some(&request.stream_id)).last().map(|event| event.version);
        let first_version = last.map_or(0, |last| last + 1);
        for (event, version) in request.events.into_iter().zip(first_version..) {
            let position = self.events.len() as u64;
            self.events.push(RecordedEvent {
                stream_id: request.stream_id.clone(),
                version,
                position,
                id: event.id,
                event_type: event.event_type,
                content_type: event.content_type,
                data: event.data,
                metadata: event.metadata,
                tags: event.tags,
                created: position,
            });
        }
        let last = self.events.last().expect("an append has events");
        AppendResult { first_version, last_version: last.version, position: last.position }
    }
}

fn matches_item(item: &QueryItem, event: &RecordedEvent) -> bool {
    (item.types.is_empty() || item.types.contains(&event.event_type))
        && item.tags.iter().all(|tag| event.tags.contains(tag))
}

/// As the interface says, but for patterns: they are looked for to the letter.
fn matches(filter: &EventFilter, event: &RecordedEvent) -> bool {
    let metadata = String::from_utf8_lossy(&event.metadata);
    let names = |id: &Option<String>| id.as_ref().is_none_or(|id| metadata.contains(id.as_str()));
    let holds = |pattern: &Option<String>, text: &str| {
        pattern.as_ref().is_none_or(|pattern| text.contains(pattern.as_str()))
    };
    (filter.query.is_empty() || filter.query.iter().any(|item| matches_item(item, event)))
        && (filter.stream_prefixes.is_empty()
            || filter.stream_prefixes.iter().any(|prefix| event.stream_id.starts_with(prefix.as_str())))
        && names(&filter.correlation_id)
        && names(&filter.causation_id)
        && holds(&filter.stream_pattern, &event.stream_id)
        && holds(&filter.type_pattern, &event.event_type)
}

impl Store for Memory {
    fn append(&mut self, request: AppendRequest) -> Result<AppendResult, Error> {
        self.fail()?;
        self.expect(&request.stream_id, request.expected)?;
        Ok(self.add_all(request))
    }

    fn transact(&mut self, transaction: Transaction) -> Result<Vec<AppendResult>, Error> {
        self.fail()?;
        for append in &transaction.appends {
            self.expect(&append.stream_id, append.expected)?;
        }
        for check in &transaction.checks {
            self.expect(&check.stream_id, check.expected)?;
        }
        for (condition, number) in transaction.conditions.iter().zip(0..) {
            let forbidden = self.events.iter().find(|event| {
                condition.after.is_none_or(|after| event.position > after)
                    && condition.query.iter().any(|item| matches_item(item, event))
            });
            if let Some(event) = forbidden {
                let failure = ConditionFailure { condition: number, position: event.position };
                return Err(Error::ConditionFailed(failure));
            }
        }
        Ok(transaction.appends.into_iter().map(|append| self.add_all(append)).collect())
    }

    fn import(&mut self, events: &[ImportedEvent], marks: &[ImportMark]) -> Result<ImportResult, Error> {
        self.fail()?;
        for ImportMark { stream_id, source, rows, leading_rows } in marks {
            let stored = self.imported.entry((stream_id.clone(), source.clone())).or_default();
            *stored = (stored.0.max(*rows), stored.1.max(*leading_rows));
        }
        let mut added = 0;
        for imported in events {
            if self.events.iter().any(|event| event.id == imported.event.id) {
                continue;
            }
            added += 1;
            let event = imported.event.clone();
            self.events.push(RecordedEvent {
                stream_id: imported.stream_id.clone(),
                version: imported.version,
                position: imported.position.unwrap_or(self.events.len() as u64),
                id: event.id,
                event_type: event.event_type,
                content_type: event.content_type,
                data: event.data,
                metadata: event.metadata,
                tags: event.tags,
                created: imported.created,
            });
        }
        let repeated = events.len() as u32 - added;
        let durable_position = self.events.last().map_or(0, |event| event.position + 1);
        Ok(ImportResult { added, repeated, hidden: 0, durable_position })
    }

    fn import_states(&mut self, source: &str, streams: &[String]) -> Result<Vec<ImportState>, Error> {
        self.fail()?;
        let states = streams.iter().map(|stream| {
            let imported = self.imported.get(&(stream.clone(), source.to_owned()));
            let (rows, leading_rows) = imported.copied().unwrap_or_default();
            ImportState { rows, leading_rows, info: self.stream_info(stream).ok() }
        });
        Ok(states.collect())
    }

    fn delete_stream(
        &mut self,
        stream: &str,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        self.fail()?;
        self.expect(stream, expected)?;
        if deletion == Deletion::Soft && self.stream(Some(stream)).is_empty() {
            return Err(Error::NotFound);
        }
        self.deleted.insert(stream.to_owned(), deletion);
        Ok(())
    }

    fn set_retention(&mut self, stream: &str, retention: Retention) -> Result<(), Error> {
        self.fail()?;
        let last = self.stream(Some(stream)).last().map(|event| event.version).ok_or(Error::NotFound)?;
        let truncate_before = retention.truncate_before.map(|before| before.min(last.saturating_add(1)));
        self.retentions.insert(stream.to_owned(), Retention { truncate_before, ..retention });
        Ok(())
    }

    fn read(
        &mut self,
        source: &Source,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.reads += 1;
        self.clock_ms += self.read_ms;
        self.fail()?;
        assert!((1..=1_000).contains(&count), "{count}");
        if source.stream().is_none() && direction == Direction::Forward {
            self.check_history(from.unwrap_or(0), None)?;
        }
        if let Some(stream) = source.stream() {
            self.expect(stream, ExpectedVersion::Any)?;
            if self.stream(Some(stream)).is_empty() {
                return Err(Error::NotFound);
            }
        }
        let mut events = self.stream(source.stream());
        if direction == Direction::Backward {
            events.reverse();
            events.retain(|event| from.is_none_or(|from| source.order(event) <= from));
        } else {
            events.retain(|event| from.is_none_or(|from| source.order(event) >= from));
        }
        let mut most = self.page_events.unwrap_or(usize::MAX);
        most = match source {
            Source::Filtered(_) => most.min(self.scan_events.unwrap_or(usize::MAX)),
            Source::Store | Source::Stream(_) => most.min(count as usize),
        };
        let mut end = events.len() <= most;
        events.truncate(most);
        let behind = |last: Option<u64>| match direction {
            Direction::Forward => last.map(|last| last + 1).or(from),
            Direction::Backward => last.and_then(|last| last.checked_sub(1)),
        };
        let mut next = behind(events.last().map(|event| source.order(event)));
        if let Source::Filtered(filter) = source {
            events.retain(|event| matches(filter, event));
            if events.len() > count as usize {
                events.truncate(count as usize);
                (next, end) = (behind(events.last().map(|event| event.position)), false);
            }
        }
        let durable_position = self.events.len() as u64;
        if let Some(stream) = self.busy_writer {
            self.add(stream);
            return Ok(EventPage { events, next, end: false, durable_position });
        }
        Ok(EventPage { events, next, end, durable_position })
    }

    fn list_streams(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        self.fail()?;
        let mut streams: Vec<String> = self.events.iter().map(|event| event.stream_id.clone()).collect();
        streams.sort();
        streams.dedup();
        streams.retain(|name| name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after));
        streams.retain(|name| deleted || !self.deleted.contains_key(name));
        let more = streams.len() > count as usize;
        streams.truncate(count as usize);
        Ok(StreamPage { streams, more })
    }

    fn stream_info(&mut self, stream: &str) -> Result<StreamInfo, Error> {
        self.fail()?;
        let all: Vec<&RecordedEvent> = self.events.iter().filter(|event| event.stream_id == stream).collect();
        let (Some(first), Some(last)) = (all.first(), all.last()) else { return Err(Error::NotFound) };
        let none = Retention { max_count: None, max_age_seconds: None, truncate_before: None };
        Ok(StreamInfo {
            stream_id: stream.to_owned(),
            state: match self.deleted.get(stream) {
                None => StreamState::Live,
                Some(Deletion::Soft) => StreamState::Deleted,
                Some(Deletion::Tombstone) => StreamState::Tombstoned,
            },
            first_version: self.stream(Some(stream)).first().map(|event| event.version),
            last_version: last.version,
            life_begins: None,
            first_position: first.position,
            retention: self.retentions.get(stream).copied().unwrap_or(none),
            created: first.created,
            updated: last.created,
        })
    }

    fn record_snapshot(
        &mut self,
        id: &SnapshotId,
        snapshot: &SnapshotData,
        created: Option<u64>,
    ) -> Result<(), Error> {
        self.fail()?;
        let recorded = RecordedSnapshot {
            id: id.clone(),
            content_type: snapshot.content_type.clone(),
            data: snapshot.data.clone(),
            metadata: snapshot.metadata.clone(),
            created: created.unwrap_or(0),
        };
        self.snapshots.insert(snapshot_key(id), recorded);
        Ok(())
    }

    fn read_snapshot(&mut self, id: &SnapshotId) -> Result<RecordedSnapshot, Error> {
        self.fail()?;
        self.snapshots.get(&snapshot_key(id)).cloned().ok_or(Error::NotFound)
    }

    fn read_latest(
        &mut self,
        stream: &str,
        source: &str,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        self.fail()?;
        let found = self.snapshots.values().find(|snapshot| {
            snapshot.id.stream_id == stream
                && snapshot.id.source_id == source
                && at_most.is_none_or(|at_most| snapshot.id.version <= at_most)
        });
        found.cloned().ok_or(Error::NotFound)
    }

    fn list_snapshots(
        &mut self,
        scope: &SnapshotScope,
        after: Option<&SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        self.fail()?;
        let after = after.map(snapshot_key);
        let mut snapshots: Vec<SnapshotInfo> = self
            .snapshots
            .iter()
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
            .map(|(_, snapshot)| snapshot)
            .filter(|snapshot| scope.stream_id.as_ref().is_none_or(|stream| snapshot.id.stream_id == *stream))
            .filter(|snapshot| scope.source_id.as_ref().is_none_or(|source| snapshot.id.source_id == *source))
            .map(|snapshot| SnapshotInfo {
                id: snapshot.id.clone(),
                content_type: snapshot.content_type.clone(),
                size: snapshot.data.len() as u64,
                created: snapshot.created,
            })
            .collect();
        let more = snapshots.len() > count as usize;
        snapshots.truncate(count as usize);
        Ok(SnapshotPage { snapshots, more })
    }

    fn delete_snapshot(&mut self, id: &SnapshotId) -> Result<(), Error> {
        self.fail()?;
        self.snapshots.remove(&snapshot_key(id)).map(|_| ()).ok_or(Error::NotFound)
    }

    fn keep_newest(&mut self, stream: &str, source: &str, keep: u32) -> Result<u64, Error> {
        self.fail()?;
        let before = self.snapshots.len();
        let mut kept = 0;
        self.snapshots.retain(|(of, by, _), _| {
            if of != stream || by != source {
                return true;
            }
            kept += 1;
            kept <= keep
        });
        Ok((before - self.snapshots.len()) as u64)
    }

    fn wait(&mut self, stream: Option<&str>, seen: u64, timeout_ms: u32) -> Wake {
        if timeout_ms == 0 {
            return self.probe.unwrap_or(Wake::Timeout);
        }
        let missed = self
            .events
            .iter()
            .any(|event| event.position >= seen && stream.is_none_or(|stream| event.stream_id == stream));
        assert!(!missed, "a wait began behind what is there already");
        self.waits.push((stream.map(str::to_owned), seen));
        match self.steps.pop_front() {
            Some(Step::Append(stream)) => {
                self.add(stream);
                Wake::Events
            }
            Some(Step::Wake(wake)) => {
                if wake == Wake::Timeout {
                    self.clock_ms += u64::from(timeout_ms);
                }
                wake
            }
            Some(Step::Hint(after_ms)) => {
                self.clock_ms += after_ms;
                Wake::Events
            }
            Some(Step::Fail(error)) => {
                self.failure = Some(error);
                Wake::Events
            }
            Some(Step::Tombstone(stream)) => {
                self.deleted.insert(stream.to_owned(), Deletion::Tombstone);
                self.clock_ms += u64::from(timeout_ms);
                Wake::Timeout
            }
            None => Wake::Closing,
        }
    }

    fn history(&mut self) -> Result<StoreHistory, Error> {
        Ok(StoreHistory { id: HISTORY.0, end: self.events.len() as u64 })
    }

    fn check_history(&mut self, next: u64, of: Option<HistoryId>) -> Result<(), Error> {
        let end = self.events.len() as u64;
        let is_left = match of {
            None | Some(HISTORY) => false,
            Some(OLD_HISTORY) => next > self.left_at,
            Some(_) => true,
        };
        if next <= end && !is_left {
            return Ok(());
        }
        Err(Error::HistoryChanged(HistoryChange { history: HISTORY.0, end }))
    }

    fn clock_ms(&mut self) -> u64 {
        self.clock_ms
    }

    fn random(&mut self, length: usize) -> Vec<u8> {
        // Each 16 bytes begin with their number: what is drawn for one event differs from the next one's.
        let bytes = (0..length).map(|index| match index % 16 {
            0 => index / 16 / 256,
            1 => index / 16 % 256,
            place => place,
        });
        bytes.map(|byte| byte as u8).collect()
    }

    fn log_failure(&mut self, message: &str) {
        self.failures_logged.push(message.to_owned());
    }
}

fn snapshot_key(id: &SnapshotId) -> (String, String, Reverse<u64>) {
    (id.stream_id.clone(), id.source_id.clone(), Reverse(id.version))
}
