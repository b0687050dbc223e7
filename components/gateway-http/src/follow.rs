//! Server-sent events: the stored events from a starting point, then the live ones, until the client or the host leaves.

use exesdb_sdk::gateway::RespondError;

use crate::encode::{push_end_message, push_message, push_progress};
use crate::exchange::Sink;
use crate::history::HistoryId;
use crate::limits::{FOLLOW_PAGE_EVENTS, FOLLOW_WRITE_BYTES, KEEPALIVE_MS, PROGRESS_MS, RETRY_AFTER_SECONDS};
use crate::problem::{Kind, Member, Problem, quoted};
use crate::route::Start;
use crate::store::{
    Direction, Error, EventPage, EventScope, HistoryChange, RecordedEvent, StoreApi, StoreHistory, Wake,
};
use crate::store_error::{Subject, history_changed, problem};

/// One client that follows a stream or the whole store.
#[derive(Debug)]
pub(crate) struct Follower<'a> {
    scope: &'a EventScope,
    /// The version or position to read next.
    next: u64,
    /// The first page.
    first: EventPage,
    /// The history of the positions that are sent.
    history: HistoryId,
}

impl<'a> Follower<'a> {
    /// Reads the first page, and checks that the store accepts one more follower.
    ///
    /// # Errors
    /// The problem to respond with.
    pub(crate) fn start<S: StoreApi>(
        store: &mut S,
        scope: &'a EventScope,
        (start, of): (Start, Option<HistoryId>),
    ) -> Result<Self, Problem> {
        let history = store.history().map_err(|error| problem(error, Subject::Store))?;
        check_start(store, scope, start, of).map_err(|error| problem(error, Subject::from(scope)))?;
        let next = match (start, scope.stream()) {
            (Start::From(next), _) => Ok(next),
            (Start::End, None) => durable_position(store),
            (Start::End, Some(stream)) => end_of_stream(store, stream),
            (Start::After(position), None) => Ok(position.saturating_add(1)),
            (Start::After(position), Some(stream)) => version_after(store, stream, position),
        };
        let first = next.and_then(|next| read(store, scope, next).map(|first| (next, first)));
        let (next, first) = first.map_err(|error| problem(error, Subject::from(scope)))?;
        if let (Some(stream), Start::From(from)) = (scope.stream(), start)
            && first.events.is_empty()
        {
            check_version(store, stream, from, &history)?;
        }
        // A wait of no duration reports at once whether the store accepts one more follower. Once the response has
        // begun it is too late for a status.
        match store.wait(scope.stream(), u64::MAX, 0) {
            Wake::Events | Wake::Timeout => Ok(Self { scope, next, first, history: HistoryId(history.id) }),
            Wake::Closing => Err(closing()),
            Wake::Overloaded => Err(overloaded()),
        }
    }

    /// The history of the positions that are sent.
    pub(crate) fn history(&self) -> HistoryId {
        self.history
    }

    /// Sends events until the client or the host leaves, or no more events can come.
    ///
    /// # Errors
    /// [`RespondError::Gone`] when the client is gone, which is how most of them end.
    pub(crate) fn run<S: StoreApi>(self, store: &mut S, sink: &mut impl Sink) -> Result<(), RespondError> {
        let Self { scope, mut next, first: mut page, history } = self;
        let retry_ms = RETRY_AFTER_SECONDS.saturating_mul(1_000);
        sink.write(format!("retry: {retry_ms}\n\n").as_bytes())?;
        let mut progress = Progress::new(scope, history, store.clock_ms());
        loop {
            send(&page.events, history, sink)?;
            let page_next = page.next.unwrap_or(0);
            let advanced = page_next > next;
            next = next.max(page_next);
            if let Some(event) = page.events.last() {
                next = next.max(scope.order(event).saturating_add(1));
                progress.record_sent(event.position, store.clock_ms());
            }
            progress.covered = covered(scope, &page, next);
            if page.end || page.events.is_empty() && !advanced {
                match wait(store, scope.stream(), page.durable_position, &mut progress, sink)? {
                    Waited::Events => {}
                    Waited::Ended(reason) => return end(&reason, sink),
                }
            } else {
                // A filter may skip many pages without a single event.
                progress.write_due(store.clock_ms(), sink)?;
            }
            page = match read(store, scope, next) {
                Ok(page) => page,
                Err(error) => return break_off(store, error, Subject::from(scope), sink),
            };
        }
    }
}

/// Checks that the store has reached the position from which the client resumes, in the history that the client names.
fn check_start<S: StoreApi>(
    store: &mut S,
    scope: &EventScope,
    start: Start,
    of: Option<HistoryId>,
) -> Result<(), Error> {
    match (start, scope.stream()) {
        (Start::From(next), None) => store.check_history(next, of),
        // A client of one stream, too, names the position of the last event it has seen.
        (Start::After(position), _) => store.check_history(position.saturating_add(1), of),
        // A version belongs to no history. A version beyond the stream's end is refused once that end is known.
        (Start::From(_), Some(_)) | (Start::End, _) => Ok(()),
    }
}

/// Refuses to wait for a version beyond a stream's next one. The client has seen the versions before it in a history that
/// the store has left, so it would silently miss the new events with those versions.
fn check_version<S: StoreApi>(
    store: &mut S,
    stream: &str,
    from: u64,
    history: &StoreHistory,
) -> Result<(), Problem> {
    if from == 0 {
        return Ok(());
    }
    let next = match store.stream_info(stream) {
        Ok(info) => info.last_version.checked_add(1),
        Err(Error::NotFound) => Some(0),
        Err(error) => return Err(problem(error, Subject::Stream(stream))),
    };
    // A stream at the highest version has no next one, so no version is beyond it.
    let Some(next) = next.filter(|next| from > *next) else { return Ok(()) };
    let mut refusal = history_changed(&HistoryChange { history: history.id, end: history.end });
    refusal.detail = format!(
        "the next event of the stream {} gets version {next}, and `from` is {from}: events before it would be missed; \
         the store may have been restored from a backup, so read the stream again from a version that is known to be \
         good, or from 0",
        quoted(stream)
    );
    Err(refusal.with("next_version", Member::Number(next)))
}

/// The position up to which the client has all its events once `page` is sent, if that is known.
fn covered(scope: &EventScope, page: &EventPage, next: u64) -> Option<u64> {
    let end = match scope.stream() {
        Some(_) => page.end.then_some(page.durable_position),
        None if page.end => (page.durable_position >= next).then_some(page.durable_position),
        None => Some(next),
    };
    end?.checked_sub(1)
}

/// Keepalives and progress messages, which an event stream sends while it has no events.
#[derive(Debug)]
struct Progress {
    /// Whether the read may skip events, so that the client has covered more than the events it was sent.
    is_sparse: bool,
    /// The history of the positions.
    history: HistoryId,
    /// The position up to which the client has all its events.
    covered: Option<u64>,
    /// The highest position that the client was sent, and when.
    announced: Option<u64>,
    announced_ms: u64,
    /// The time of the last write.
    written_ms: u64,
}

impl Progress {
    fn new(scope: &EventScope, history: HistoryId, now_ms: u64) -> Self {
        let is_sparse = scope.stream().is_none();
        Self { is_sparse, history, covered: None, announced: None, announced_ms: now_ms, written_ms: now_ms }
    }

    /// Records that an event with this position was sent.
    fn record_sent(&mut self, position: u64, now_ms: u64) {
        (self.announced, self.announced_ms, self.written_ms) = (Some(position), now_ms, now_ms);
    }

    /// Writes the messages that are due. Returns the milliseconds until the next one is due.
    fn write_due(&mut self, now_ms: u64, sink: &mut impl Sink) -> Result<u32, RespondError> {
        let since = |then_ms: u64| u32::try_from(now_ms.saturating_sub(then_ms)).unwrap_or(u32::MAX);
        let is_silent = since(self.written_ms) >= KEEPALIVE_MS;
        let news = self.covered.filter(|covered| self.announced.is_none_or(|announced| announced < *covered));
        // A client of one stream can resume from its last event just as well, except before the first event.
        let progress_ms = match (news, self.announced) {
            (None, _) => KEEPALIVE_MS,
            (Some(_), None) => 0,
            (Some(_), Some(_)) if self.is_sparse => PROGRESS_MS.saturating_sub(since(self.announced_ms)),
            (Some(_), Some(_)) => KEEPALIVE_MS,
        };
        if !is_silent && progress_ms > 0 {
            return Ok(progress_ms.min(KEEPALIVE_MS - since(self.written_ms)));
        }
        let mut out = Vec::new();
        if is_silent {
            out.extend_from_slice(b": keepalive\n\n");
        }
        if let Some(position) = news {
            push_progress(&mut out, position, self.history);
            (self.announced, self.announced_ms) = (news, now_ms);
        }
        sink.write(&out)?;
        self.written_ms = now_ms;
        Ok(KEEPALIVE_MS)
    }
}

/// The outcome of waiting for events.
enum Waited {
    /// There may be new events.
    Events,
    /// The follower must stop, for this reason.
    Ended(Problem),
}

/// Waits for events, and sends keepalives meanwhile.
///
/// A wake is only a hint and may come without events, so the silence is measured from the last write and not per wait.
fn wait<S: StoreApi>(
    store: &mut S,
    stream: Option<&str>,
    seen: u64,
    progress: &mut Progress,
    sink: &mut impl Sink,
) -> Result<Waited, RespondError> {
    loop {
        let left_ms = progress.write_due(store.clock_ms(), sink)?;
        match store.wait(stream, seen, left_ms) {
            Wake::Events => return Ok(Waited::Events),
            // A tombstone is not an event and may not wake the follower, so the stream is polled at intervals.
            Wake::Timeout if stream.is_some() => return Ok(Waited::Events),
            Wake::Timeout => {}
            Wake::Closing => return Ok(Waited::Ended(closing())),
            Wake::Overloaded => return Ok(Waited::Ended(overloaded())),
        }
    }
}

fn closing() -> Problem {
    Problem::new(Kind::Restarting, "the store is stopping; try again later")
}

fn overloaded() -> Problem {
    Problem::new(Kind::Overloaded, "too many clients follow events already; try again later")
}

/// Reads the next page. A stream without events gives an empty page: the follower waits for the first event.
fn read<S: StoreApi>(store: &mut S, scope: &EventScope, next: u64) -> Result<EventPage, Error> {
    let read = |store: &mut S| store.read(scope, Some(next), FOLLOW_PAGE_EVENTS, Direction::Forward);
    match read(store) {
        Err(Error::NotFound) => {
            // The error does not carry a durable position. So the position is read first and the stream read again:
            // its first event is on that page, or wakes the wait that follows.
            let durable_position = durable_position(store)?;
            match read(store) {
                Err(Error::NotFound) => {
                    Ok(EventPage { events: Vec::new(), next: Some(next), end: true, durable_position })
                }
                other => other,
            }
        }
        other => other,
    }
}

fn send(events: &[RecordedEvent], history: HistoryId, sink: &mut impl Sink) -> Result<(), RespondError> {
    let mut out = Vec::new();
    for event in events {
        push_message(&mut out, event, history);
        if out.len() >= FOLLOW_WRITE_BYTES {
            sink.write(&out)?;
            out.clear();
        }
    }
    if out.is_empty() { Ok(()) } else { sink.write(&out) }
}

/// The number of durable positions, which is the position of the store's next event.
fn durable_position<S: StoreApi>(store: &mut S) -> Result<u64, Error> {
    Ok(store.read(&EventScope::Store, None, 1, Direction::Backward)?.durable_position)
}

/// The last event of a stream, if there is one.
fn last<S: StoreApi>(store: &mut S, stream: &EventScope) -> Result<Option<RecordedEvent>, Error> {
    match store.read(stream, None, 1, Direction::Backward) {
        Ok(page) => Ok(page.events.into_iter().next()),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The version of a stream's next event.
fn end_of_stream<S: StoreApi>(store: &mut S, stream: &str) -> Result<u64, Error> {
    Ok(last(store, &EventScope::Stream(stream.to_owned()))?
        .map_or(0, |event| event.version.saturating_add(1)))
}

/// The version of a stream's first event after a position.
///
/// The position is usually that of an event of this stream; then one read of the store gives the version. Otherwise a
/// binary search over the versions finds it, because positions rise with versions.
fn version_after<S: StoreApi>(store: &mut S, stream: &str, position: u64) -> Result<u64, Error> {
    let at_position = store.read(&EventScope::Store, Some(position), 1, Direction::Forward)?;
    if let Some(event) = at_position.events.first()
        && event.position == position
        && event.stream_id == stream
    {
        return Ok(event.version.saturating_add(1));
    }
    let stream = EventScope::Stream(stream.to_owned());
    let Some(last) = last(store, &stream)? else { return Ok(0) };
    if last.position <= position {
        return Ok(last.version.saturating_add(1));
    }
    // The version is between `low` and `high`, both inclusive.
    let (mut low, mut high) = (0, last.version);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = store.read(&stream, Some(middle), 1, Direction::Forward)?;
        match page.events.first() {
            Some(event) if event.position <= position => {
                low = event.version.max(middle).saturating_add(1).min(high);
            }
            _ => high = middle,
        }
    }
    Ok(low)
}

/// Ends a response that has begun, because a read failed. A tombstone is not a failure: no more events can come.
fn break_off<S: StoreApi>(
    store: &mut S,
    error: Error,
    subject: Subject<'_>,
    sink: &mut impl Sink,
) -> Result<(), RespondError> {
    let reason = problem(error, subject);
    if reason.kind != Kind::StreamDeleted {
        store.log_failure(&format!("an event stream was broken off: {}", reason.detail));
    }
    end(&reason, sink)
}

/// Ends a response that has begun with an `end` message, which holds a problem document. The problem's status tells the
/// client whether to reconnect and resume after the last position it received.
fn end(reason: &Problem, sink: &mut impl Sink) -> Result<(), RespondError> {
    let mut out = Vec::new();
    push_end_message(&mut out, reason);
    sink.write(&out)
}
