//! Bulk reads: one page after the other.

use super::reader::{PAGE_EVENTS_MAX, Reader};
use super::{Backend, Error, Gateway, Guest, Received, Registered, Wake, wire};
use crate::steps::{Cause, Closing, Ending, Mark, MarkPlace, Marks};
use crate::types::{PackedPage, Source};

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
    let mut reader = Reader::new(&bulk.query, bulk.follow, bulk.page_bytes);
    let mut page = reader.read(backend, PAGE_EVENTS_MAX)?;
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
        if reader.is_over() {
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
        match reader.read(backend, PAGE_EVENTS_MAX) {
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
