//! Event streams: what is there from a place on, and then what is appended, until somebody leaves.

use exesdb_sdk::gateway::RespondError;

use crate::encode::{push_end_message, push_message, push_progress};
use crate::exchange::Sink;
use crate::history::{HistoryId, changed};
use crate::limits::{FOLLOW_PAGE_EVENTS, FOLLOW_WRITE_BYTES, KEEPALIVE_MS, PROGRESS_MS, RETRY_AFTER_SECONDS};
use crate::problem::{Kind, Member, Problem, quoted};
use crate::route::Start;
use crate::store::{
    Direction, Error, EventPage, HistoryChange, RecordedEvent, Source, Store, StoreHistory, Wake,
};
use crate::store_error::{Subject, problem};

/// One client's way along a stream or the whole store.
#[derive(Debug)]
pub struct Follower<'a> {
    source: &'a Source,
    /// The version or position to read next.
    next: u64,
    /// What was there to begin with.
    first: EventPage,
    /// The history of the positions that are sent.
    history: HistoryId,
}

impl<'a> Follower<'a> {
    /// Reads what is there first, and finds out that the store can be followed now.
    ///
    /// # Errors
    /// The problem that is the request's answer.
    pub fn start<S: Store>(
        store: &mut S,
        source: &'a Source,
        (start, of): (Start, Option<HistoryId>),
    ) -> Result<Self, Problem> {
        let history = store.history().map_err(|error| problem(error, Subject::Store))?;
        check_start(store, source, start, of).map_err(|error| problem(error, Subject::from(source)))?;
        let next = match (start, source.stream()) {
            (Start::From(next), _) => Ok(next),
            (Start::End, None) => durable_position(store),
            (Start::End, Some(stream)) => end_of_stream(store, stream),
            (Start::After(position), None) => Ok(position.saturating_add(1)),
            (Start::After(position), Some(stream)) => version_after(store, stream, position),
        };
        let first = next.and_then(|next| read(store, source, next).map(|first| (next, first)));
        let (next, first) = first.map_err(|error| problem(error, Subject::from(source)))?;
        if let (Some(stream), Start::From(from)) = (source.stream(), start)
            && first.events.is_empty()
        {
            check_version(store, stream, from, &history)?;
        }
        // A wait for nothing tells at once whether there is room for one more. When the answer has begun it is
        // too late for a status.
        match store.wait(source.stream(), u64::MAX, 0) {
            Wake::Events | Wake::Timeout => Ok(Self { source, next, first, history: HistoryId(history.id) }),
            Wake::Closing => Err(closing()),
            Wake::Overloaded => Err(overloaded()),
        }
    }

    /// The history of the positions that are sent.
    pub fn history(&self) -> HistoryId {
        self.history
    }

    /// Sends events until the client or the host leaves, or there can be no more.
    ///
    /// # Errors
    /// [`RespondError::Gone`] when the client is gone, which is how most of them end.
    pub fn run<S: Store>(self, store: &mut S, sink: &mut impl Sink) -> Result<(), RespondError> {
        let Self { source, mut next, first: mut page, history } = self;
        let retry_ms = RETRY_AFTER_SECONDS.saturating_mul(1_000);
        sink.write(format!("retry: {retry_ms}\n\n").as_bytes())?;
        let mut signs = Signs::new(source, history, store.clock_ms());
        loop {
            send(&page.events, history, sink)?;
            let passed = page.next.unwrap_or(0);
            let more = passed > next;
            next = next.max(passed);
            if let Some(event) = page.events.last() {
                next = next.max(source.order(event).saturating_add(1));
                signs.sent(event.position, store.clock_ms());
            }
            signs.seen = seen(source, &page, next);
            if page.end || page.events.is_empty() && !more {
                match wait(store, source.stream(), page.durable_position, &mut signs, sink)? {
                    Waited::Events => {}
                    Waited::Over(reason) => return end(&reason, sink),
                }
            } else {
                // A filter may pass over many pages without a single event.
                signs.show(store.clock_ms(), sink)?;
            }
            page = match read(store, source, next) {
                Ok(page) => page,
                Err(error) => return break_off(store, error, Subject::from(source), sink),
            };
        }
    }
}

/// Checks that the store has reached the position from which the client resumes, in the history that it names.
fn check_start<S: Store>(
    store: &mut S,
    source: &Source,
    start: Start,
    of: Option<HistoryId>,
) -> Result<(), Error> {
    match (start, source.stream()) {
        (Start::From(next), None) => store.check_history(next, of),
        // Of a stream too, the client names the position of the last event that it has seen.
        (Start::After(position), _) => store.check_history(position.saturating_add(1), of),
        // A version belongs to no history; what is beyond the stream's end is refused when that is known.
        (Start::From(_), Some(_)) | (Start::End, _) => Ok(()),
    }
}

/// Refuses to wait for a version that is not a stream's next: those before it would be missed without a word, because
/// the client has seen them in a history that the store has left.
fn check_version<S: Store>(
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
    // A stream that is full has no next version, and none beyond it.
    let Some(next) = next.filter(|next| from > *next) else { return Ok(()) };
    let mut refusal = changed(&HistoryChange { history: history.id, end: history.end });
    refusal.detail = format!(
        "the next event of the stream {} gets version {next}, and `from` is {from}: events before it would be missed; \
         the store may have been restored from a backup, so read the stream again from a version that is known to be \
         good, or from 0",
        quoted(stream)
    );
    Err(refusal.with("next_version", Member::Number(next)))
}

/// The position up to which a client has everything that it wants when `page` was sent, if that is known.
fn seen(source: &Source, page: &EventPage, next: u64) -> Option<u64> {
    let end = match source.stream() {
        Some(_) => page.end.then_some(page.durable_position),
        None if page.end => (page.durable_position >= next).then_some(page.durable_position),
        None => Some(next),
    };
    end?.checked_sub(1)
}

/// What an event stream shows when it has no events: that the connection lives, and from where it can be resumed.
#[derive(Debug)]
struct Signs {
    /// Whether the source passes over events: then what was looked at says more than what was sent.
    is_sparse: bool,
    /// The history of the positions.
    history: HistoryId,
    /// The position up to which the client has everything.
    seen: Option<u64>,
    /// The highest position that was sent to the client, and when.
    told: Option<u64>,
    told_ms: u64,
    /// When anything was written last.
    written_ms: u64,
}

impl Signs {
    fn new(source: &Source, history: HistoryId, now_ms: u64) -> Self {
        let is_sparse = source.stream().is_none();
        Self { is_sparse, history, seen: None, told: None, told_ms: now_ms, written_ms: now_ms }
    }

    /// An event of this position was sent.
    fn sent(&mut self, position: u64, now_ms: u64) {
        (self.told, self.told_ms, self.written_ms) = (Some(position), now_ms, now_ms);
    }

    /// Writes what is due, and says in how many milliseconds something is due next.
    fn show(&mut self, now_ms: u64, sink: &mut impl Sink) -> Result<u32, RespondError> {
        let since = |then_ms: u64| u32::try_from(now_ms.saturating_sub(then_ms)).unwrap_or(u32::MAX);
        let is_silent = since(self.written_ms) >= KEEPALIVE_MS;
        let news = self.seen.filter(|seen| self.told.is_none_or(|told| told < *seen));
        // Of one stream the position of the last event is as good to resume from, but at the beginning there is none.
        let progress_ms = match (news, self.told) {
            (None, _) => KEEPALIVE_MS,
            (Some(_), None) => 0,
            (Some(_), Some(_)) if self.is_sparse => PROGRESS_MS.saturating_sub(since(self.told_ms)),
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
            (self.told, self.told_ms) = (news, now_ms);
        }
        sink.write(&out)?;
        self.written_ms = now_ms;
        Ok(KEEPALIVE_MS)
    }
}

/// How a wait for events ended.
enum Waited {
    /// There may be some.
    Events,
    /// Nobody is to wait any longer, for this reason.
    Over(Problem),
}

/// Waits for events, and shows meanwhile that the connection lives.
///
/// A wake is only a hint and may come often with nothing behind it, so the silence is measured from the last write
/// and not by each wait.
fn wait<S: Store>(
    store: &mut S,
    stream: Option<&str>,
    seen: u64,
    signs: &mut Signs,
    sink: &mut impl Sink,
) -> Result<Waited, RespondError> {
    loop {
        let left_ms = signs.show(store.clock_ms(), sink)?;
        match store.wait(stream, seen, left_ms) {
            Wake::Events => return Ok(Waited::Events),
            // A tombstone is not an event and may wake nobody, so the stream is checked at intervals.
            Wake::Timeout if stream.is_some() => return Ok(Waited::Events),
            Wake::Timeout => {}
            Wake::Closing => return Ok(Waited::Over(closing())),
            Wake::Overloaded => return Ok(Waited::Over(overloaded())),
        }
    }
}

fn closing() -> Problem {
    Problem::new(Kind::Restarting, "the store is stopping; try again later")
}

fn overloaded() -> Problem {
    Problem::new(Kind::Overloaded, "too many clients follow events already; try again later")
}

/// Reads on. A stream without events is one that waits for its first.
fn read<S: Store>(store: &mut S, source: &Source, next: u64) -> Result<EventPage, Error> {
    let read = |store: &mut S| store.read(source, Some(next), FOLLOW_PAGE_EVENTS, Direction::Forward);
    match read(store) {
        Err(Error::NotFound) => {
            // The refusal does not say what it has seen. So that is asked for first, and the stream read again:
            // its first event is on that page, or it wakes the wait that follows.
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

/// The number of durable positions, which is where the next event of the store will stand.
fn durable_position<S: Store>(store: &mut S) -> Result<u64, Error> {
    Ok(store.read(&Source::Store, None, 1, Direction::Backward)?.durable_position)
}

/// The last event of a stream, if it has one.
fn last<S: Store>(store: &mut S, stream: &Source) -> Result<Option<RecordedEvent>, Error> {
    match store.read(stream, None, 1, Direction::Backward) {
        Ok(page) => Ok(page.events.into_iter().next()),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The version that a stream's next event will have.
fn end_of_stream<S: Store>(store: &mut S, stream: &str) -> Result<u64, Error> {
    Ok(last(store, &Source::Stream(stream.to_owned()))?.map_or(0, |event| event.version.saturating_add(1)))
}

/// The version of a stream's first event after a position.
///
/// The position is one that this stream sent, as a rule, and one read of the store answers. Where it is not,
/// the versions are searched by halves: positions rise with them.
fn version_after<S: Store>(store: &mut S, stream: &str, position: u64) -> Result<u64, Error> {
    let at_position = store.read(&Source::Store, Some(position), 1, Direction::Forward)?;
    if let Some(event) = at_position.events.first()
        && event.position == position
        && event.stream_id == stream
    {
        return Ok(event.version.saturating_add(1));
    }
    let stream = Source::Stream(stream.to_owned());
    let Some(last) = last(store, &stream)? else { return Ok(0) };
    if last.position <= position {
        return Ok(last.version.saturating_add(1));
    }
    // The version looked for is from `low` to `high`, both inclusive.
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

/// Ends a response that has begun because the store refuses to go on. A tombstone is no failure: there is nothing more to
/// come.
fn break_off<S: Store>(
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

/// Ends a response that has begun with a message of its own kind, which says why as a problem document. Whether the client
/// is to come back, after the last position it was told, follows from the problem's status.
fn end(reason: &Problem, sink: &mut impl Sink) -> Result<(), RespondError> {
    let mut out = Vec::new();
    push_end_message(&mut out, reason);
    sink.write(&out)
}
