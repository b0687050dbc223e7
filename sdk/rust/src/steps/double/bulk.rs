//! Bulk reads: one page after the other.

use super::{Backend, Call, Error, Gateway, Guest, Query, Received, Registered, Wake, page_of, wire};
use crate::steps::{Cause, Closing, Ending, Horizon, Mark, MarkPlace, Marks};
use crate::types::{Direction, PackedPage, Source};

/// The most events of a page.
const PAGE_EVENTS_MAX: u32 = 1_000;

/// The most bytes of a representation.
const REPRESENTATION_BYTES_MAX: usize = 256;

/// Sends a bulk read.
///
/// # Errors
///
/// That of the first page, for `resume`.
pub(super) fn send<G: Gateway>(
    backend: &mut impl Backend,
    bulk: &wire::Bulk,
    is_head: bool,
    writes: usize,
) -> Result<Received, Error> {
    assert!(bulk.representation.len() <= REPRESENTATION_BYTES_MAX, "the representation is too long");
    assert!((1..=1 << 20).contains(&bulk.page_bytes), "a page of {} bytes", bulk.page_bytes);
    let mut reader = Reader::new(bulk);
    let mut page = reader.read(backend)?;
    let (head, body, trailers) = (bulk.head.clone(), Vec::new(), Vec::new());
    let mut received = Received { head, body, trailers, writes: 0, is_whole: is_head, steps: 0 };
    if is_head {
        return Ok(received);
    }
    let mut client = Client { received: &mut received, writes, is_there: true };
    client.write(&bulk.opening);
    let mut marker = Marker { told_ms: backend.clock_ms(), is_live: false, looked_at: 0 };
    let cause = loop {
        let encoded = if bulk.as_is {
            Ok(page.events.clone())
        } else {
            let encode = || Registered::<G>::encode(bulk.representation.clone(), page.events.clone());
            let encoded = encode();
            assert!(encoded == encode(), "the page is another one when it is encoded once more");
            encoded
        };
        match encoded {
            Ok(bytes) => client.write(&bytes),
            Err(error) => break Cause::Failed(error),
        }
        marker.page(backend, &page, &reader);
        if !client.is_there {
            break Cause::Complete;
        }
        if reader.is_over(&page) {
            break Cause::Complete;
        }
        if bulk.follow && page.end {
            match marker.live::<G>(backend, bulk, &reader, &mut client) {
                None => {}
                Some(cause) => break cause,
            }
        } else {
            marker.progress::<G>(backend, bulk, &reader, &mut client);
        }
        match reader.read(backend) {
            Ok(next) => page = next,
            Err(error) => break Cause::Failed(error),
        }
    };
    if client.is_there {
        let ending = Ending {
            cause,
            next: reader.next,
            end: page.end,
            last_version: page.last_version,
            horizon: reader.horizon,
        };
        let Closing { body, trailers } = Registered::<G>::conclude(bulk.representation.clone(), ending);
        client.write(&body);
        if client.is_there {
            received.trailers = trailers;
            received.is_whole = true;
        }
    }
    Ok(received)
}

struct Client<'r> {
    received: &'r mut Received,
    writes: usize,
    is_there: bool,
}

impl Client<'_> {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || !self.is_there {
            return;
        }
        self.is_there = self.received.writes < self.writes;
        if self.is_there {
            self.received.writes += 1;
            self.received.body.extend_from_slice(bytes);
        }
    }
}

/// Where a bulk read is.
struct Reader {
    query: Query,
    follow: bool,
    page_bytes: u32,
    /// The events that are left; none for no bound.
    left: Option<u32>,
    next: Option<u64>,
    horizon: Horizon,
    /// Where a forward read ends, exclusive: a position or version.
    bound: Option<u64>,
    is_first: bool,
    looked_at: u64,
    /// The position of the last event.
    last: Option<u64>,
}

impl Reader {
    fn new(bulk: &wire::Bulk) -> Self {
        let next = match &bulk.query.selection.source {
            Source::OneStream(of) => of.from,
            Source::All(of) => of.from,
        };
        let count = bulk.query.selection.count;
        Self {
            query: bulk.query.clone(),
            follow: bulk.follow,
            page_bytes: bulk.page_bytes,
            left: (count > 0).then_some(count),
            next,
            horizon: Horizon { history_id: 0, end: 0 },
            bound: None,
            is_first: true,
            looked_at: 0,
            last: None,
        }
    }

    fn is_forward(&self) -> bool {
        self.query.selection.direction == Direction::Forward
    }

    fn read(&mut self, backend: &mut impl Backend) -> Result<PackedPage, Error> {
        let is_of_stream = matches!(self.query.selection.source, Source::OneStream(_));
        let mut query = self.query.clone();
        query.selection.max_bytes = self.page_bytes;
        query.selection.count = self.left.unwrap_or(PAGE_EVENTS_MAX).min(PAGE_EVENTS_MAX);
        match &mut query.selection.source {
            Source::OneStream(of) => {
                of.from = self.next;
                if let (Some(bound), Some(next)) = (self.bound, self.next) {
                    let most = u32::try_from(bound - next).unwrap_or(u32::MAX).max(1);
                    query.selection.count = query.selection.count.min(most);
                }
            }
            Source::All(of) => {
                of.from = self.next;
                of.until = of.until.or(self.bound);
            }
        }
        if !self.is_first {
            (query.at_least, query.history_id) = (None, None);
        }
        let (page, horizon) = match page_of(backend.call(Call::Read(query))) {
            Err(Error::NotFound) if self.follow && is_of_stream => {
                // The stream is waited for.
                let next = Some(self.next.unwrap_or(0));
                let page = PackedPage { events: Vec::new(), next, end: true, last_version: None };
                let end = page_of(backend.call(Call::Read(end_of_store())));
                (page, end.map_or(self.horizon, |(_, horizon)| horizon))
            }
            other => other?,
        };
        if !self.follow && self.is_first && self.is_forward() {
            let last = page.last_version.map(|last| last.saturating_add(1));
            self.bound = if is_of_stream { last } else { Some(horizon.end) };
        }
        let positions: Vec<u64> = crate::packed::Events::new(&page.events)
            .map(|event| event.expect("a page has events").0)
            .collect();
        self.last = positions.last().copied().or(self.last);
        let events = u32::try_from(positions.len()).expect("a page is short");
        self.left = self.left.map(|left| left.saturating_sub(events));
        self.looked_at = match (self.next, page.next) {
            (before, Some(next)) if self.is_forward() => next.saturating_sub(before.unwrap_or(0)),
            _ => u64::from(events),
        };
        assert!(
            events > 0 || page.end || page.next != self.next || self.is_first,
            "a page that leads nowhere"
        );
        (self.next, self.horizon, self.is_first) = (page.next, horizon, false);
        Ok(page)
    }

    fn is_over(&self, page: &PackedPage) -> bool {
        let is_at_bound = self.is_forward() && self.bound.is_some() && self.next >= self.bound;
        !self.follow && (page.end || is_at_bound) || self.next.is_none() || self.left == Some(0)
    }

    /// The position up to which all was sent.
    fn covered(&self, is_at_end: bool) -> u64 {
        match self.query.selection.source {
            Source::All(_) => self.next.unwrap_or(0),
            Source::OneStream(_) if is_at_end => self.horizon.end,
            Source::OneStream(_) => self.last.map_or(0, |last| last + 1),
        }
    }
}

fn end_of_store() -> Query {
    let source = Source::All(crate::types::AllSelection { from: None, until: None });
    let (direction, options) = (Direction::Backward, Vec::new());
    let selection = crate::types::Selection { source, direction, count: 1, max_bytes: 1, options };
    Query { selection, filter: None, at_least: None, history_id: None }
}

/// When marks are due.
struct Marker {
    /// When a page with events, or a mark, was sent.
    told_ms: u64,
    is_live: bool,
    looked_at: u64,
}

impl Marker {
    fn page(&mut self, backend: &mut impl Backend, page: &PackedPage, reader: &Reader) {
        self.looked_at += reader.looked_at;
        if !page.events.is_empty() {
            self.told_ms = backend.clock_ms();
            self.looked_at = 0;
        }
    }

    fn send<G: Gateway>(
        &mut self,
        backend: &mut impl Backend,
        bulk: &wire::Bulk,
        client: &mut Client<'_>,
        mark: Mark,
    ) {
        let wanted = match mark {
            Mark::Idle(_) => Marks::IDLE,
            Mark::CaughtUp(_) => Marks::CAUGHT_UP,
            Mark::FellBehind(_) => Marks::FELL_BEHIND,
            Mark::Progress(_) => Marks::PROGRESS,
        };
        if bulk.marks & wanted == wanted {
            client.write(&Registered::<G>::encode_mark(bulk.representation.clone(), mark));
            self.told_ms = backend.clock_ms();
            self.looked_at = 0;
        }
    }

    fn is_progress_due(&self, now_ms: u64, bulk: &wire::Bulk) -> bool {
        self.looked_at > 0
            && self.looked_at >= u64::from(bulk.progress_every)
            && now_ms - self.told_ms >= u64::from(bulk.progress_ms)
    }

    /// A read that has not reached the end.
    fn progress<G: Gateway>(
        &mut self,
        backend: &mut impl Backend,
        bulk: &wire::Bulk,
        reader: &Reader,
        client: &mut Client<'_>,
    ) {
        self.is_live = false;
        if self.is_progress_due(backend.clock_ms(), bulk)
            && matches!(bulk.query.selection.source, Source::All(_))
        {
            let place = place(reader, false);
            self.send::<G>(backend, bulk, client, Mark::Progress(place));
        }
    }

    /// A follower that has reached the end. Returns why it ends, if it does.
    fn live<G: Gateway>(
        &mut self,
        backend: &mut impl Backend,
        bulk: &wire::Bulk,
        reader: &Reader,
        client: &mut Client<'_>,
    ) -> Option<Cause> {
        let place = place(reader, true);
        if !std::mem::replace(&mut self.is_live, true) {
            self.send::<G>(backend, bulk, client, Mark::CaughtUp(place));
        } else if self.is_progress_due(backend.clock_ms(), bulk) {
            self.send::<G>(backend, bulk, client, Mark::Progress(place));
        }
        loop {
            let silent_ms = backend.clock_ms() - self.told_ms;
            let left = u64::from(bulk.idle_ms).saturating_sub(silent_ms);
            let left = u32::try_from(left).expect("it is at most what it was");
            if left == 0 {
                self.send::<G>(backend, bulk, client, Mark::Idle(place));
                continue;
            }
            if !client.is_there {
                return Some(Cause::Complete);
            }
            match backend.wait(&reader.query, reader.next.unwrap_or(0), left) {
                Wake::Events => return None,
                Wake::Timeout => {
                    self.send::<G>(backend, bulk, client, Mark::Idle(place));
                    return None;
                }
                Wake::Stopping => return Some(Cause::Stopping),
                Wake::Slow => return Some(Cause::Slow),
                Wake::Left => {
                    client.is_there = false;
                    return Some(Cause::Complete);
                }
            }
        }
    }
}

fn place(reader: &Reader, is_at_end: bool) -> MarkPlace {
    MarkPlace { next: reader.next.unwrap_or(0), covered: reader.covered(is_at_end), now: 0 }
}
