//! The store of the tests: the rules of the streams and snapshots components over a store in memory, what the host checks
//! around them, and the means to inject failures and to script what happens while a follower waits.

#[path = "../../../snapshots/tests/driver/mod.rs"]
mod snapshot_rules;
#[path = "../../../streams/tests/driver/mod.rs"]
mod stream_rules;

use std::collections::VecDeque;

use exesdb_gateway_http::json;
use exesdb_sdk::events::{EventData, RecordedEvent, pack, unpack};
use exesdb_sdk::memory::{MemoryStore, MemoryView};
use exesdb_sdk::packed::{EventParts, push_event, set_json_flags};
use exesdb_sdk::snapshots::SnapshotRequest;
use exesdb_sdk::steps::double::{Backend, Supply, Wake};
use exesdb_sdk::steps::{Answer, Call, Horizon, NamedCall, Outcome, Query, Reply, WriteCall};
use exesdb_sdk::types::{
    AllSelection, Append, ChangeResult, Deletion, DeletionRequest, Direction, EndOfLog, Error,
    ExpectedVersion, HistoryChange, ImportRequest, Packed, PackedPage, Source, WriteRequest,
};
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::{delete, import, read, retention, write};

use crate::host;
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
pub(crate) const HISTORY: u64 = 0xaa;

/// A history that the store has left, at [`TestStore::left_at`].
pub(crate) const OLD_HISTORY: u64 = 0xbb;

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
    /// The stream and the next version or position of each wait so far.
    pub(crate) waits: Vec<(Option<String>, u64)>,
    /// The number of reads so far.
    pub(crate) reads: usize,
    /// The calls so far.
    pub(crate) calls: Vec<Call>,
    pub(crate) clock_ms: u64,
    /// The duration of a read.
    pub(crate) read_ms: u64,
    /// What named feeds bring; after that the store closes.
    pub(crate) supplies: VecDeque<Supply>,
    /// The named feeds that were asked so far, and for how many events.
    pub(crate) asked: Vec<(NamedCall, u32)>,
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

    /// A store without events, whose named feeds bring this.
    pub(crate) fn supplying(supplies: impl Into<VecDeque<Supply>>) -> Self {
        Self { supplies: supplies.into(), ..Self::default() }
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
        let events = pack(stream, [&event]).expect("the event can be packed");
        let append = Append { stream_id: stream.to_owned(), expected: ExpectedVersion::Any, events };
        let request = WriteRequest {
            appends: vec![append],
            checks: Vec::new(),
            conditions: Vec::new(),
            options: Vec::new(),
        };
        self.write(request).expect("the rules allow the event");
    }

    /// Deletes a stream.
    pub(crate) fn delete(&mut self, stream: &str, deletion: Deletion) {
        rules::delete_stream(&self.keyspaces, stream, ExpectedVersion::Any, deletion)
            .expect("the rules allow the deletion");
    }

    /// The visible events of the store.
    pub(crate) fn events(&self) -> Vec<RecordedEvent> {
        let mut events = Vec::new();
        let mut from = None;
        loop {
            let page = rules::read_all(&self.keyspaces, self.now(), from, 1_000, Direction::Forward);
            let page = page.expect("a page");
            events.extend(page.events);
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

    /// Decides one request and applies it, as the host does.
    fn settle<R: Clone>(
        &self,
        request: R,
        decide: impl Fn(&MemoryView<'_>, &[R]) -> Vec<exesdb_sdk::types::Decision>,
    ) -> Result<ChangeResult, Error> {
        self.keyspaces.set_now(self.now());
        rules::settle(&self.keyspaces, &[request], decide).results.remove(0)
    }

    fn write(&mut self, mut request: WriteRequest) -> Result<ChangeResult, Error> {
        for append in &mut request.appends {
            set_flags(&mut append.events);
        }
        self.settle(request, |view, requests| write::decide(view, CorrelationIndex::On, requests))
    }

    fn import(&mut self, mut request: ImportRequest) -> Result<ChangeResult, Error> {
        set_flags(&mut request.events);
        self.settle(request, |view, requests| vec![import::decide(view, CorrelationIndex::On, &requests[0])])
    }

    /// Checks that positions below `next` belong to the store's history.
    fn check_history(&self, next: u64, of: Option<u64>) -> Result<(), Error> {
        let end = self.end();
        let is_left = match of {
            None | Some(HISTORY) => false,
            Some(OLD_HISTORY) => next > self.left_at,
            Some(_) => true,
        };
        if next <= end && !is_left {
            return Ok(());
        }
        Err(Error::HistoryChanged(HistoryChange { history_id: HISTORY, end }))
    }

    /// Checks the positions that a query names (rules Q1 and Q2).
    fn check_query(&self, query: &Query) -> Result<(), Error> {
        self.check_history(query.at_least.unwrap_or(0), query.history_id)?;
        let Source::All(AllSelection { from: Some(from), .. }) = query.selection.source else {
            return Ok(());
        };
        let next = match query.selection.direction {
            Direction::Forward => from,
            // A backward read may start beyond the end; it begins with the last event.
            Direction::Backward => from.saturating_add(1).min(self.end()),
        };
        self.check_history(next, query.history_id)
    }

    fn check_conditions(&self, call: &WriteCall) -> Result<(), Error> {
        let histories = call.histories.iter().copied().chain(std::iter::repeat(None));
        for (condition, history) in call.request.conditions.iter().zip(histories) {
            if let Some(after) = condition.after {
                self.check_history(after.saturating_add(1), history)?;
            }
        }
        Ok(())
    }

    fn read(&mut self, query: &Query) -> Result<PackedPage, Error> {
        self.reads += 1;
        self.clock_ms += self.read_ms;
        self.fail()?;
        self.check_query(query)?;
        let mut page = self.read_page(query)?;
        if let Some(tamper) = &self.tamper {
            let mut events = unpack(&page.events).expect("a page has events");
            events.iter_mut().for_each(tamper);
            page.events = packed(&events);
        }
        page.end &= self.busy_writer.is_none();
        Ok(page)
    }

    fn read_page(&self, query: &Query) -> Result<PackedPage, Error> {
        self.keyspaces.set_now(self.now());
        let mut selection = query.selection.clone();
        let Some(filter) = query.filter.clone() else {
            selection.count = selection.count.min(self.page_events.unwrap_or(u32::MAX));
            return read::read(&self.keyspaces.view(), &selection);
        };
        let view = self.keyspaces.view();
        let mut page = read::read_filtered(&view, CorrelationIndex::On, filter, &selection)?;
        if let Some(scan_events) = self.scan_events {
            selection.count = scan_events;
            let scanned = read::read(&view, &selection)?;
            let next = scanned.next.filter(|next| page.next.is_none_or(|page_next| *next < page_next));
            if let Some(next) = next.filter(|_| !scanned.end) {
                let mut events = unpack(&page.events).expect("a page has events");
                events.retain(|event| event.position < next);
                page.events = packed(&events);
                (page.next, page.end) = (Some(next), false);
            }
        }
        Ok(page)
    }

    fn change_snapshot(&mut self, request: SnapshotRequest) -> Result<ChangeResult, Error> {
        self.keyspaces.set_now(self.now());
        let count = snapshots::settle_beside(&self.keyspaces, &request, |_| ())?;
        Ok(ChangeResult { placed: Vec::new(), count })
    }

    fn reply(&mut self, call: Call) -> Result<Reply, Error> {
        if !matches!(call, Call::LogEnd | Call::Read(_)) {
            self.fail()?;
        }
        let store = &self.keyspaces;
        Ok(match call {
            Call::Write(call) => {
                self.check_conditions(&call)?;
                Reply::Changed(self.write(call.request)?)
            }
            Call::Read(query) => Reply::Page(self.read(&query)?),
            Call::Remove(DeletionRequest { stream_id, expected, deletion, .. }) => {
                let request = DeletionRequest { stream_id, expected, deletion, options: Vec::new() };
                Reply::Changed(self.settle(request, |view, list| delete::decide(view, list))?)
            }
            Call::Retain(request) => {
                Reply::Changed(self.settle(request, |view, list| retention::decide(view, list))?)
            }
            Call::ImportEvents(request) => Reply::Changed(self.import(request)?),
            Call::ImportStates(lookup) => Reply::ImportStates(rules::import_states(
                store,
                self.now(),
                &lookup.source,
                &lookup.stream_ids,
            )?),
            Call::ListStreams(of) => Reply::Streams(rules::list_streams(
                store,
                &of.prefix,
                of.after.as_deref(),
                of.count,
                of.deleted,
            )?),
            Call::StreamInfo(stream) => Reply::StreamInfo(rules::stream_info(store, self.now(), &stream)?),
            Call::ChangeSnapshot(request) => Reply::Changed(self.change_snapshot(request)?),
            Call::ReadSnapshot(id) => Reply::Snapshot(snapshots::read(store, &id)?),
            Call::LatestSnapshot(of) => {
                Reply::Snapshot(snapshots::read_latest(store, &of.stream_id, &of.source_id, of.at_most)?)
            }
            Call::ListSnapshots(of) => {
                Reply::Snapshots(snapshots::list(store, &of.scope, of.after.as_ref(), of.count)?)
            }
            Call::LogEnd => {
                let next_position = self.end();
                Reply::LogEnd(EndOfLog { next_position, chain: 0, history_id: HISTORY })
            }
            Call::Named(call) => {
                let reply = host::reply(&call.name).ok_or_else(|| host::unsupported(&call.name))?;
                Reply::Named(reply.to_string().into_bytes())
            }
        })
    }
}

/// Sets the flags as the host does.
fn set_flags(events: &mut Packed) {
    set_json_flags(events, json::is_valid).expect("the events are whole");
}

pub(crate) fn packed(events: &[RecordedEvent]) -> Packed {
    let mut out = Vec::new();
    for event in events {
        let parts = EventParts {
            flags: 0,
            version: event.version,
            created: event.created,
            stream_id: &event.stream_id,
            id: &event.id,
            event_type: &event.event_type,
            content_type: &event.content_type,
            tags: &event.tags,
            data: &event.data,
            metadata: &event.metadata,
        };
        push_event(&mut out, event.position, &parts).expect("it can be packed");
    }
    set_flags(&mut out);
    out
}

impl Backend for TestStore {
    fn call(&mut self, call: Call) -> Outcome {
        self.calls.push(call.clone());
        let is_read = matches!(call, Call::Read(_));
        let reply = self.reply(call)?;
        let horizon = Horizon { history_id: HISTORY, end: self.end() };
        if let Some(stream) = self.busy_writer.filter(|_| is_read) {
            self.add(stream);
        }
        Ok(Answer { reply, horizon })
    }

    fn wait(&mut self, query: &Query, next: u64, ms: u32) -> Wake {
        let stream = match &query.selection.source {
            Source::OneStream(of) => Some(of.stream_id.clone()),
            Source::All(_) => None,
        };
        let is_missed = query.filter.is_none()
            && self.events().iter().any(|event| match &stream {
                Some(stream) => event.stream_id == *stream && event.version >= next,
                None => event.position >= next,
            });
        assert!(!is_missed, "the follower waits although there are events it has not read");
        self.waits.push((stream, next));
        match self.steps.pop_front() {
            Some(Step::Append(stream)) => {
                self.add(stream);
                Wake::Events
            }
            Some(Step::Wake(wake)) => {
                if wake == Wake::Timeout {
                    self.clock_ms += u64::from(ms);
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
                self.clock_ms += u64::from(ms);
                Wake::Timeout
            }
            None => Wake::Stopping,
        }
    }

    fn supply(&mut self, _: u32, feed: &NamedCall, most: u32) -> Supply {
        self.asked.push((feed.clone(), most));
        if let Err(error) = self.fail() {
            return Supply::End(Some(error));
        }
        self.supplies.pop_front().unwrap_or(Supply::Stopping)
    }

    fn clock_ms(&mut self) -> u64 {
        self.clock_ms
    }
}
