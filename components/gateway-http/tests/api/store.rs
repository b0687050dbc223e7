//! The store of the tests: the rules of the streams and snapshots components over a store in memory, and the means to
//! inject failures and to script what happens while a follower waits.

mod convert;
#[path = "../../../snapshots/tests/driver/mod.rs"]
mod snapshot_rules;
#[path = "../../../streams/tests/driver/mod.rs"]
mod stream_rules;

use std::collections::VecDeque;

use exesdb_gateway_http::history::HistoryId;
use exesdb_gateway_http::store::{
    AppendRequest, AppendResult, Deletion, Direction, Error, EventData, EventPage, EventScope,
    ExpectedVersion, HistoryChange, ImportMark, ImportResult, ImportState, ImportedEvent, RecordedEvent,
    RecordedSnapshot, Retention, SnapshotData, SnapshotId, SnapshotPage, SnapshotScope, StoreApi,
    StoreHistory, StreamInfo, StreamPage, Transaction, Wake,
};
use exesdb_reference as reference;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::{snapshots as sdk_snapshots, types};
use exesdb_streams::correlation::CorrelationIndex;

use convert::Convert;
use {snapshot_rules as snapshots, stream_rules as rules};

/// One thing that happens during a wait of a follower.
#[derive(Debug)]
pub(crate) enum Step {
    /// An event is appended to this stream.
    Append(&'static str),
    /// The wait ends with this wake and without an event: at once, or for `Timeout` after its whole duration.
    Wake(Wake),
    /// The wait ends after this many milliseconds with `Events`, although there are none.
    Hint(u64),
    /// All later calls fail with this error.
    Fail(Error),
    /// This stream gets a tombstone, and the wait ends with its timeout.
    Tombstone(&'static str),
}

/// The store's history.
pub(crate) const HISTORY: HistoryId = HistoryId(0xaa);

/// A history that the store has left, at [`TestStore::left_at`].
pub(crate) const OLD_HISTORY: HistoryId = HistoryId(0xbb);

/// A change of the events that the store returns, to values that the rules would not accept.
pub(crate) type Tamper = Box<dyn Fn(&mut RecordedEvent)>;

/// The store.
#[derive(Default)]
pub(crate) struct TestStore {
    pub(crate) keyspaces: MemoryStore,
    /// The error of all calls, if any.
    pub(crate) failure: Option<Error>,
    /// The first read, counted from 1, that fails with `failure`; none if all calls fail.
    pub(crate) failing_read: Option<usize>,
    /// The maximum number of events of a page, as if the events were large.
    pub(crate) page_events: Option<u32>,
    /// The maximum number of events that a filtered read scans, as if they were very many.
    pub(crate) scan_events: Option<u32>,
    /// The stream to which every read appends an event.
    pub(crate) busy_writer: Option<&'static str>,
    /// Changes all events that are read.
    pub(crate) tamper: Option<Tamper>,
    /// What happens during each wait; after the last step the store closes.
    pub(crate) steps: VecDeque<Step>,
    /// The result of a wait of no duration.
    pub(crate) probe: Option<Wake>,
    /// The stream and position of each wait so far.
    pub(crate) waits: Vec<(Option<String>, u64)>,
    /// The number of reads so far.
    pub(crate) reads: usize,
    pub(crate) clock_ms: u64,
    /// The duration of a read.
    pub(crate) read_ms: u64,
    /// The end of the old history.
    pub(crate) left_at: u64,
    pub(crate) failures_logged: Vec<String>,
}

impl TestStore {
    /// A store with an event in each of these streams, in this order.
    pub(crate) fn with(streams: &[&str]) -> Self {
        let mut store = Self::default();
        streams.iter().for_each(|stream| store.add(stream));
        store
    }

    /// Appends an event with JSON data.
    pub(crate) fn add(&mut self, stream: &str) {
        self.add_with(stream, |_| {});
    }

    /// Appends an event that `change` may modify.
    pub(crate) fn add_with(&mut self, stream: &str, change: impl FnOnce(&mut EventData)) {
        let position = self.end();
        let mut event = EventData {
            id: format!("id-{position}"),
            event_type: "added".to_owned(),
            content_type: "application/json".to_owned(),
            data: position.to_string().into_bytes(),
            metadata: Vec::new(),
            tags: vec![format!("of:{stream}")],
        };
        change(&mut event);
        let request = AppendRequest {
            stream_id: stream.to_owned(),
            expected: ExpectedVersion::Any,
            events: vec![event],
        };
        self.append_request(request).expect("the rules allow the event");
    }

    /// Deletes a stream.
    pub(crate) fn delete(&mut self, stream: &str, deletion: Deletion) {
        rules::delete_stream(&self.keyspaces, stream, types::ExpectedVersion::Any, deletion.convert())
            .expect("the rules allow the deletion");
    }

    /// The visible events of the store.
    pub(crate) fn events(&self) -> Vec<RecordedEvent> {
        let mut events = Vec::new();
        let mut from = None;
        loop {
            let page = rules::read_all(&self.keyspaces, self.now(), from, 1_000, types::Direction::Forward);
            let page = page.expect("a page");
            let found: Vec<RecordedEvent> = page.events.convert();
            events.extend(found);
            from = page.next;
            if page.end {
                return events;
            }
        }
    }

    /// The position of the next event.
    pub(crate) fn end(&self) -> u64 {
        rules::end(&self.keyspaces)
    }

    /// The time in microseconds: it advances by one with each event.
    fn now(&self) -> u64 {
        self.end()
    }

    fn fail(&self) -> Result<(), Error> {
        if self.failing_read.is_some_and(|first| self.reads < first) {
            return Ok(());
        }
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn append_request(&mut self, request: AppendRequest) -> Result<AppendResult, Error> {
        let requests = [request.convert()];
        let mut results = rules::append(&self.keyspaces, self.now(), CorrelationIndex::On, &requests);
        results.pop().expect("one result for one request").convert()
    }

    fn read_page(
        &self,
        scope: &EventScope,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<rules::EventPage, types::Error> {
        let (store, now, direction) = (&self.keyspaces, self.now(), direction.convert());
        let page_count = count.min(self.page_events.unwrap_or(u32::MAX));
        match scope {
            EventScope::Store => rules::read_all(store, now, from, page_count, direction),
            EventScope::Stream(stream) => rules::read_stream(store, now, stream, from, page_count, direction),
            EventScope::Filtered(filter) => {
                let filter = filter.clone().convert();
                let mut page =
                    rules::read_filtered(store, now, CorrelationIndex::On, filter, from, count, direction)?;
                if let Some(scan_events) = self.scan_events {
                    let scanned = rules::read_all(store, now, from, scan_events, direction)?;
                    let next =
                        scanned.next.filter(|next| page.next.is_none_or(|page_next| *next < page_next));
                    if let Some(next) = next.filter(|_| !scanned.end) {
                        page.events.retain(|event| event.position < next);
                        (page.next, page.end) = (Some(next), false);
                    }
                }
                Ok(page)
            }
        }
    }
}

impl StoreApi for TestStore {
    fn append(&mut self, request: AppendRequest) -> Result<AppendResult, Error> {
        self.fail()?;
        self.append_request(request)
    }

    fn transact(&mut self, transaction: Transaction) -> Result<Vec<AppendResult>, Error> {
        self.fail()?;
        let transactions = [transaction.convert()];
        let mut results = rules::transact(&self.keyspaces, self.now(), CorrelationIndex::On, &transactions);
        results.pop().expect("one result for one transaction").convert()
    }

    fn import(&mut self, events: &[ImportedEvent], marks: &[ImportMark]) -> Result<ImportResult, Error> {
        self.fail()?;
        let (mut events, marks): (Vec<reference::ImportedEvent>, Vec<_>) =
            (events.to_vec().convert(), marks.to_vec().convert());
        // Either all events of an import have positions, or none.
        if events.iter().any(|event| event.position.is_some()) {
            let mut next = self.end();
            for event in &mut events {
                let position = *event.position.get_or_insert(next);
                next = position.saturating_add(1);
            }
        }
        let result = rules::import_events(&self.keyspaces, self.now(), CorrelationIndex::On, &events, &marks);
        let result: Result<reference::ImportResult, Error> = result.convert();
        let reference::ImportResult { added, repeated, hidden } = result?;
        Ok(ImportResult { added, repeated, hidden, durable_position: self.end() })
    }

    fn import_states(&mut self, source: &str, streams: &[String]) -> Result<Vec<ImportState>, Error> {
        self.fail()?;
        rules::import_states(&self.keyspaces, self.now(), source, streams).convert()
    }

    fn delete_stream(
        &mut self,
        stream: &str,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        self.fail()?;
        rules::delete_stream(&self.keyspaces, stream, expected.convert(), deletion.convert()).convert()
    }

    fn set_retention(&mut self, stream: &str, limits: Retention) -> Result<(), Error> {
        self.fail()?;
        rules::set_retention(&self.keyspaces, self.now(), stream, &limits.convert()).convert()
    }

    fn read(
        &mut self,
        scope: &EventScope,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.reads += 1;
        self.clock_ms += self.read_ms;
        self.fail()?;
        if scope.stream().is_none() && direction == Direction::Forward {
            // The host checks this before it calls the component.
            self.check_history(from.unwrap_or(0), None)?;
        }
        let found: Result<rules::EventPage, Error> = self.read_page(scope, from, count, direction).convert();
        let rules::EventPage { events, next, end } = found?;
        let mut page = EventPage { events: events.convert(), next, end, durable_position: self.end() };
        if let Some(tamper) = &self.tamper {
            page.events.iter_mut().for_each(tamper);
        }
        if let Some(stream) = self.busy_writer {
            self.add(stream);
            page.end = false;
        }
        Ok(page)
    }

    fn list_streams(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        self.fail()?;
        rules::list_streams(&self.keyspaces, prefix, after, count, deleted).convert()
    }

    fn stream_info(&mut self, stream: &str) -> Result<StreamInfo, Error> {
        self.fail()?;
        rules::stream_info(&self.keyspaces, self.now(), stream).convert()
    }

    fn record_snapshot(
        &mut self,
        id: &SnapshotId,
        snapshot: &SnapshotData,
        created: Option<u64>,
    ) -> Result<(), Error> {
        self.fail()?;
        let (id, snapshot): (sdk_snapshots::SnapshotId, _) =
            (id.clone().convert(), snapshot.clone().convert());
        match created {
            Some(created) => snapshots::import(&self.keyspaces, &id, &snapshot, created),
            None => snapshots::record(&self.keyspaces, self.now(), &id, &snapshot),
        }
        .convert()
    }

    fn read_snapshot(&mut self, id: &SnapshotId) -> Result<RecordedSnapshot, Error> {
        self.fail()?;
        snapshots::read(&self.keyspaces, &id.clone().convert()).convert()
    }

    fn read_latest(
        &mut self,
        stream: &str,
        source: &str,
        at_most: Option<u64>,
    ) -> Result<RecordedSnapshot, Error> {
        self.fail()?;
        snapshots::read_latest(&self.keyspaces, stream, source, at_most).convert()
    }

    fn list_snapshots(
        &mut self,
        scope: &SnapshotScope,
        after: Option<&SnapshotId>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        self.fail()?;
        let after = after.cloned().convert();
        snapshots::list(&self.keyspaces, &scope.clone().convert(), after.as_ref(), count).convert()
    }

    fn delete_snapshot(&mut self, id: &SnapshotId) -> Result<(), Error> {
        self.fail()?;
        snapshots::delete(&self.keyspaces, &id.clone().convert()).convert()
    }

    fn keep_newest(&mut self, stream: &str, source: &str, keep: u32) -> Result<u64, Error> {
        self.fail()?;
        snapshots::keep_newest(&self.keyspaces, stream, source, keep).convert()
    }

    fn wait(&mut self, stream: Option<&str>, seen: u64, timeout_ms: u32) -> Wake {
        if timeout_ms == 0 {
            return self.probe.unwrap_or(Wake::Timeout);
        }
        let is_missed = self
            .events()
            .iter()
            .any(|event| event.position >= seen && stream.is_none_or(|stream| event.stream_id == stream));
        assert!(!is_missed, "the follower waits although there are events it has not read");
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
                self.delete(stream, Deletion::Tombstone);
                self.clock_ms += u64::from(timeout_ms);
                Wake::Timeout
            }
            None => Wake::Closing,
        }
    }

    fn history(&mut self) -> Result<StoreHistory, Error> {
        Ok(StoreHistory { id: HISTORY.0, end: self.end() })
    }

    fn check_history(&mut self, next: u64, of: Option<HistoryId>) -> Result<(), Error> {
        let end = self.end();
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
        // Each 16 bytes begin with their index, so that every event gets another id.
        let bytes = (0..length).map(|index| match index % 16 {
            0 => index / 16 / 256,
            1 => index / 16 % 256,
            rest => rest,
        });
        bytes.map(|byte| byte as u8).collect()
    }

    fn log_failure(&mut self, message: &str) {
        self.failures_logged.push(message.to_owned());
    }
}
