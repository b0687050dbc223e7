//! A store in memory, and exchanges that keep what was written.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use exesdb_gateway_http::exchange::{Exchange, Response, Sink};
use exesdb_gateway_http::route::Head;
use exesdb_gateway_http::serve::serve;
use exesdb_gateway_http::store::{
    AppendRequest, AppendResult, Direction, Error, EventPage, ExpectedVersion, RecordedEvent,
    RecordedSnapshot, SnapshotData, SnapshotInfo, SnapshotPage, Store, StreamInfo, StreamPage, Wake,
};
use exesdb_sdk::gateway::{BodyError, RespondError};
use serde_json::Value;

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
}

/// The store.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) snapshots: BTreeMap<(String, u64), RecordedSnapshot>,
    /// What the next calls fail with.
    pub(crate) failure: Option<Error>,
    /// The most events on a page, as if they were large.
    pub(crate) page_events: Option<usize>,
    /// What each wait meets; after the last one the store closes.
    pub(crate) steps: VecDeque<Step>,
    /// What a wait of no duration says.
    pub(crate) probe: Option<Wake>,
    /// The waits there were: stream and position.
    pub(crate) waits: Vec<(Option<String>, u64)>,
    /// How many pages were read.
    pub(crate) reads: usize,
    pub(crate) clock_ms: u64,
    pub(crate) failures_logged: Vec<String>,
}

impl Memory {
    /// Appends an event with JSON data.
    pub(crate) fn add(&mut self, stream: &str) {
        let version = self.stream(Some(stream)).len() as u64;
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
            .cloned()
            .collect()
    }

    fn fail(&self) -> Result<(), Error> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

impl Store for Memory {
    fn append(&mut self, request: AppendRequest) -> Result<AppendResult, Error> {
        self.fail()?;
        let last = self.stream(Some(&request.stream_id)).last().map(|event| event.version);
        let held = match request.expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => last.is_none(),
            ExpectedVersion::StreamExists => last.is_some(),
            ExpectedVersion::Exact(version) => last == Some(version),
        };
        if !held {
            return Err(Error::WrongExpectedVersion(last));
        }
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
                created: position,
            });
        }
        let last = self.events.last().expect("an append has events");
        Ok(AppendResult { first_version, last_version: last.version, position: last.position })
    }

    fn read(
        &mut self,
        stream: Option<&str>,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        self.fail()?;
        self.reads += 1;
        let order = |event: &RecordedEvent| if stream.is_some() { event.version } else { event.position };
        let mut events = self.stream(stream);
        if stream.is_some() && events.is_empty() {
            return Err(Error::NotFound);
        }
        if direction == Direction::Backward {
            events.reverse();
            events.retain(|event| from.is_none_or(|from| order(event) <= from));
        } else {
            events.retain(|event| from.is_none_or(|from| order(event) >= from));
        }
        let most = (count as usize).min(self.page_events.unwrap_or(usize::MAX));
        let end = events.len() <= most;
        events.truncate(most);
        let next = match (direction, events.last().map(order)) {
            (Direction::Forward, last) => last.map(|last| last + 1).or(from),
            (Direction::Backward, last) => last.and_then(|last| last.checked_sub(1)),
        };
        Ok(EventPage { events, next, end, durable_position: self.events.len() as u64 })
    }

    fn list_streams(&mut self, prefix: &str, after: Option<&str>, count: u32) -> Result<StreamPage, Error> {
        self.fail()?;
        let mut streams: Vec<String> = self.events.iter().map(|event| event.stream_id.clone()).collect();
        streams.sort();
        streams.dedup();
        streams.retain(|name| name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after));
        let more = streams.len() > count as usize;
        streams.truncate(count as usize);
        Ok(StreamPage { streams, more })
    }

    fn stream_info(&mut self, stream: &str) -> Result<StreamInfo, Error> {
        self.fail()?;
        let events = self.stream(Some(stream));
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Err(Error::NotFound) };
        Ok(StreamInfo {
            stream_id: stream.to_owned(),
            last_version: last.version,
            created: first.created,
            updated: last.created,
        })
    }

    fn record_snapshot(&mut self, stream: &str, version: u64, snapshot: &SnapshotData) -> Result<(), Error> {
        self.fail()?;
        let recorded = RecordedSnapshot {
            stream_id: stream.to_owned(),
            version,
            content_type: snapshot.content_type.clone(),
            data: snapshot.data.clone(),
            metadata: snapshot.metadata.clone(),
            created: 0,
        };
        self.snapshots.insert((stream.to_owned(), version), recorded);
        Ok(())
    }

    fn read_snapshot(&mut self, stream: &str, version: Option<u64>) -> Result<RecordedSnapshot, Error> {
        self.fail()?;
        let found = self
            .snapshots
            .iter()
            .rev()
            .find(|((name, at), _)| name == stream && version.is_none_or(|version| version == *at));
        found.map(|(_, snapshot)| snapshot.clone()).ok_or(Error::NotFound)
    }

    fn list_snapshots(
        &mut self,
        stream: &str,
        before: Option<u64>,
        count: u32,
    ) -> Result<SnapshotPage, Error> {
        self.fail()?;
        let mut snapshots: Vec<SnapshotInfo> = self
            .snapshots
            .values()
            .rev()
            .filter(|snapshot| snapshot.stream_id == stream)
            .filter(|snapshot| before.is_none_or(|before| snapshot.version < before))
            .map(|snapshot| SnapshotInfo {
                version: snapshot.version,
                content_type: snapshot.content_type.clone(),
                size: snapshot.data.len() as u64,
                created: snapshot.created,
            })
            .collect();
        let more = snapshots.len() > count as usize;
        snapshots.truncate(count as usize);
        Ok(SnapshotPage { snapshots, more })
    }

    fn delete_snapshot(&mut self, stream: &str, version: u64) -> Result<(), Error> {
        self.fail()?;
        self.snapshots.remove(&(stream.to_owned(), version)).map(|_| ()).ok_or(Error::NotFound)
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
            None => Wake::Closing,
        }
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

/// An answer as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// What was written, whether at once or bit by bit.
    pub(crate) body: Vec<u8>,
    /// Whether there was a body at all.
    pub(crate) has_body: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("answers are UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The problem's type without its prefix.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], u64::from(self.status));
        let uri = problem["type"].as_str().expect("a problem has a type");
        uri.strip_prefix("urn:exesdb:problem:").expect("our types have one prefix").to_owned()
    }
}

type Shared = Rc<RefCell<Option<Answer>>>;

struct TestExchange<'a> {
    body: &'a [u8],
    answer: Shared,
    writes_left: usize,
}

pub(crate) struct TestSink {
    answer: Shared,
    writes_left: usize,
}

impl TestExchange<'_> {
    fn send(&self, response: &Response) {
        let headers = response
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone().into_owned()))
            .collect();
        let before = self.answer.borrow_mut().replace(Answer {
            status: response.status,
            headers,
            body: response.body.as_deref().unwrap_or_default().to_vec(),
            has_body: response.body.is_some(),
        });
        assert!(before.is_none(), "a request has one answer");
    }
}

impl Exchange for TestExchange<'_> {
    type Sink = TestSink;

    fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        if self.body.len() > limit { Err(BodyError::TooLarge { limit }) } else { Ok(self.body.to_vec()) }
    }

    fn respond(self, response: &Response) -> Result<(), RespondError> {
        self.send(response);
        Ok(())
    }

    fn open(self, response: &Response) -> Result<TestSink, RespondError> {
        self.send(response);
        Ok(TestSink { answer: self.answer, writes_left: self.writes_left })
    }
}

impl Sink for TestSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), RespondError> {
        let Some(left) = self.writes_left.checked_sub(1) else { return Err(RespondError::Gone) };
        self.writes_left = left;
        let mut answer = self.answer.borrow_mut();
        let answer = answer.as_mut().expect("the head comes first");
        answer.has_body = true;
        answer.body.extend_from_slice(bytes);
        Ok(())
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    writes: usize,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            writes: usize::MAX,
        }
    }

    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// An append to a stream.
    pub(crate) fn append(stream: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", &format!("/v1/stores/main/streams/{stream}/events")).body(body)
    }

    /// A read as an event stream.
    pub(crate) fn follow(target: &str) -> Self {
        Self::get(target).header("accept", "text/event-stream")
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The client leaves after so many writes of an event stream.
    pub(crate) fn leaving_after(mut self, writes: usize) -> Self {
        self.writes = writes;
        self
    }

    pub(crate) fn send(&self, store: &mut Memory) -> Answer {
        let head = Head { method: &self.method, target: &self.target, headers: &self.headers };
        let answer = Shared::default();
        let exchange =
            TestExchange { body: &self.body, answer: Rc::clone(&answer), writes_left: self.writes };
        serve(store, &head, exchange);
        let answer = answer.borrow_mut().take();
        answer.expect("every request has an answer")
    }
}
