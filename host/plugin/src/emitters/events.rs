//! The events of a subscription by their places.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use exesdb_packed::{Frames, Record};
use tokio::time::Instant;

use crate::bindings::gateway::requests::{Call, Query, Reply};
use crate::bindings::store::places::Direction;
use crate::bindings::store::subscription_types::Subscribed;
use crate::bindings::store::types::{AllSelection, Error, Selection, Source, StreamSelection};
use crate::caller::Caller;
use crate::long_read::PAGE_BYTES_MAX;
use crate::problem::{code, problem};
use crate::store_calls::StoreCalls;

/// Where the events of a page are in its bytes, by their places.
#[derive(Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
    ranges: BTreeMap<u64, Range<usize>>,
}

impl Page {
    /// A page, which was checked, of a stream or of the whole store.
    pub(super) fn of(bytes: Vec<u8>, is_of_stream: bool) -> Self {
        let mut ranges = BTreeMap::new();
        let mut frames = Frames::new(&bytes);
        let mut begin = 0;
        while let Some(Ok(frame)) = frames.next() {
            let end = frames.at();
            if let Record::Event(envelope) = frame.record {
                let version = || exesdb_packed::Envelope::read(envelope).map(|envelope| envelope.version);
                let place = if is_of_stream { version().unwrap_or(frame.position) } else { frame.position };
                ranges.insert(place, begin..end);
            }
            begin = end;
        }
        Self { bytes, ranges }
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The places of the first and the last event.
    pub(super) fn ends(&self) -> Option<(u64, u64)> {
        Some((*self.ranges.first_key_value()?.0, *self.ranges.last_key_value()?.0))
    }

    /// The events at these places, one after the other; none if it does not have all of them.
    pub(super) fn events(&self, places: impl Iterator<Item = u64>) -> Option<Vec<u8>> {
        let mut events = Vec::new();
        for place in places {
            events.extend_from_slice(&self.bytes[self.ranges.get(&place)?.clone()]);
        }
        Some(events)
    }

    /// Those of these places that it has, with their events.
    pub(super) fn found(&self, places: &[u64]) -> (Vec<u64>, Vec<u8>) {
        let found: Vec<u64> =
            places.iter().copied().filter(|place| self.ranges.contains_key(place)).collect();
        let events = self.events(found.iter().copied()).unwrap_or_default();
        (found, events)
    }
}

/// The query of what is at these places and after them.
pub(crate) fn query(source: &Subscribed, from: u64, count: u32, until: Option<u64>) -> Query {
    let (source, filter) = match source {
        Subscribed::OneStream(stream_id) => {
            let stream = StreamSelection { stream_id: stream_id.clone(), from: Some(from) };
            (Source::OneStream(stream), None)
        }
        Subscribed::All(filter) => (Source::All(AllSelection { from: Some(from), until }), filter.clone()),
    };
    let (direction, max_bytes, options) = (Direction::Forward, PAGE_BYTES_MAX, Vec::new());
    let selection = Selection { source, direction, count, max_bytes, options };
    Query { selection, filter, at_least: None, history_id: None }
}

/// Reads the events at these places again, in their order: as many as fit a page, and the first one even if it does not. One that
/// retention or deletion hides is left out. Returns the places that are still to be read, too.
pub(super) async fn read_again(
    calls: &StoreCalls,
    caller: &Caller,
    source: &Subscribed,
    places: &[u64],
    deadline: Instant,
) -> Result<(Page, BTreeSet<u64>), Error> {
    let is_of_stream = matches!(source, Subscribed::OneStream(_));
    // What was selected is not looked for by the filter again.
    let source = match source {
        Subscribed::All(_) => &Subscribed::All(None),
        stream => stream,
    };
    let mut wanted = places.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    let mut bytes = Vec::new();
    let mut rest = wanted.as_slice();
    while let [first, ..] = *rest
        && bytes.len() < PAGE_BYTES_MAX as usize
    {
        let run = rest.iter().zip(first..).take_while(|(place, expected)| **place == *expected).count();
        let count = u32::try_from(run).unwrap_or(u32::MAX);
        let mut query = query(source, first, count, Some(first.saturating_add(u64::from(count))));
        query.selection.max_bytes =
            PAGE_BYTES_MAX.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).max(1);
        let call = Call::Read(query);
        let page = match calls.run(caller.clone(), call, deadline).await {
            Ok(answer) => match answer.reply {
                Reply::Page(page) => page,
                _ => return Err(problem(code::OTHER, "a read did not bring a page")),
            },
            Err(Error::NotFound | Error::StreamDeleted(_)) => {
                rest = &rest[run..];
                continue;
            }
            Err(error) => return Err(error),
        };
        let next = page.next.unwrap_or(u64::MAX).max(first.saturating_add(1));
        let read = Page::of(page.events, is_of_stream);
        // A page ends early if it is full; then the next one goes on there.
        let passed = rest.iter().take(run).take_while(|place| page.end || **place < next).count().max(1);
        bytes.extend(read.found(&rest[..passed]).1);
        rest = &rest[passed..];
    }
    Ok((Page::of(bytes, is_of_stream), rest.iter().copied().collect()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Page;
    use crate::sample_events;

    /// Events of one stream at positions, each with a version that is 100 more.
    pub(crate) fn page(positions: std::ops::Range<u64>, data: usize) -> Vec<u8> {
        let (mut packed, data) = (Vec::new(), vec![b'x'; data]);
        for position in positions {
            sample_events::push(&mut packed, "s", position, position + 100, &data);
        }
        packed
    }

    #[test]
    fn events_are_found_by_position_or_version() {
        for (is_of_stream, first) in [(false, 3), (true, 103)] {
            let found = Page::of(page(3..8, 2), is_of_stream);
            assert_eq!(found.ends(), Some((first, first + 4)));
            assert_eq!(found.events([first + 1, first + 2].into_iter()), Some(page(4..6, 2)));
            assert_eq!(found.events([first + 9].into_iter()), None);
            assert_eq!(found.found(&[first - 1, first, first + 9]), (vec![first], page(3..4, 2)));
        }
        assert_eq!(Page::of(Vec::new(), false).ends(), None);
    }
}
