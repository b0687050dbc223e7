//! Stored events, as a listener hears them: read from the log, beginning now. A listener that lags too far skips to the newest events.

use std::sync::Arc;
use std::time::Duration;

use exesdb_packed::{Envelope, Frames, Record};
use exesdb_pattern::Pattern;
use tokio::time::Instant;

use super::heard::Heard;
use super::lag::{Dropped, dropped};
use super::notes::Notes;
use super::topic::{EventTopic, refused};
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::emitters::query;
use crate::long_read::{LiveReads, PAGE_BYTES_MAX, Reader, Reading, Turns};
use crate::offload::offload;
use crate::problem::{code, problem};
use crate::store_calls::StoreCalls;

/// The events of a topic.
pub(super) struct StoredEvents {
    reader: Reader,
    pattern: Option<Arc<Pattern>>,
    live: Arc<LiveReads>,
    /// When the last live read began.
    last: Option<Instant>,
    /// What was left out and not said yet.
    dropped: Option<Dropped>,
}

impl StoredEvents {
    /// Those that are stored from now on.
    pub(super) async fn begin(
        topic: &EventTopic,
        calls: StoreCalls,
        caller: Caller,
        wall: Duration,
        turns: &Arc<Turns>,
        live: &Arc<LiveReads>,
    ) -> Result<Self, Error> {
        let end = calls.end(caller.clone(), &topic.source, Instant::now() + wall).await.map_err(refused)?;
        let reading = Reading::of(query(&topic.source, end, 0, None), true, PAGE_BYTES_MAX);
        let reader = Reader { calls, caller, wall, turns: turns.clone(), reading };
        Ok(Self { reader, pattern: topic.pattern.clone(), live: live.clone(), last: None, dropped: None })
    }

    /// The position or version of the next event.
    pub(super) fn place(&self) -> Option<u64> {
        self.reader.reading.next()
    }

    /// What there is at once, which may be nothing. So a name that the component refuses is refused before the response begins.
    pub(super) async fn first(&mut self, most: u32) -> Result<Heard, Error> {
        self.page(most).await.map_err(refused)
    }

    /// Waits for the next events, or for what is to be said about those that are left out.
    pub(super) async fn next(&mut self, most: u32) -> Result<Heard, Error> {
        loop {
            self.news().await;
            let heard = self.page(most).await?;
            if heard.count > 0 || heard.notes.dropped.is_some() || heard.is_over {
                return Ok(heard);
            }
        }
    }

    /// Waits until there may be more, if everything was read.
    async fn news(&mut self) {
        if !self.reader.reading.is_live() {
            return;
        }
        let _live = self.live.one_more();
        self.reader.news().await;
        if let Some(last) = self.last {
            tokio::time::sleep_until(last + self.live.pace()).await;
        }
        self.last = Some(Instant::now());
    }

    /// The next page, with what was left out before it.
    async fn page(&mut self, most: u32) -> Result<Heard, Error> {
        let (events, count) = {
            let turns = self.reader.turns.clone();
            let _turn = turns.alone().await;
            let page = self.reader.page(most, None).await?;
            match &self.pattern {
                None => (page.events, page.count),
                // A large event and a deep pattern take long.
                Some(pattern) => offload(|| matching(pattern, &page.events))?,
            }
        };
        let reading = &mut self.reader.reading;
        let notes = Notes { dropped: self.dropped.take(), ..Notes::default() };
        let end = match reading.stream() {
            Some(_) => reading.last_version().map_or(0, |last| last.saturating_add(1)),
            None => reading.horizon().end,
        };
        self.dropped = reading.next().and_then(|next| dropped(next, end));
        if let Some(Dropped { until, .. }) = self.dropped {
            reading.skip_to(until);
        }
        Ok(Heard { events, count, next: reading.next(), notes, is_over: reading.is_over() })
    }
}

/// The events of a page that have a pattern, and how many these are.
fn matching(pattern: &Pattern, page: &[u8]) -> Result<(Vec<u8>, u32), Error> {
    let (mut events, mut count, mut begin) = (Vec::new(), 0, 0);
    let mut frames = Frames::new(page);
    while let Some(frame) = frames.next() {
        let broken = |broken: exesdb_packed::Broken| problem(code::OTHER, broken.to_string());
        let record = frame.map_err(broken)?.record;
        if let Record::Event(envelope) = record
            && pattern.matches(&Envelope::read(envelope).map_err(broken)?)
        {
            events.extend_from_slice(&page[begin..frames.at()]);
            count += 1;
        }
        begin = frames.at();
    }
    Ok((events, count))
}

#[cfg(test)]
mod tests {
    use exesdb_packed::Events;
    use exesdb_pattern::Pattern;

    use super::matching;
    use crate::sample_events;

    #[test]
    fn only_what_has_the_pattern_is_left() {
        let mut page = Vec::new();
        for (position, event_type) in [(3, "paid"), (5, "sent"), (6, "paid")] {
            sample_events::push_of_type(&mut page, event_type, "s", position, position, b"x");
        }
        let left = |pattern: &str| {
            let (events, count) =
                matching(&Pattern::parse(pattern).expect("a pattern"), &page).expect("whole");
            let positions: Vec<u64> = Events::new(&events).map(|event| event.expect("an event").0).collect();
            assert_eq!(positions.len(), count as usize);
            positions
        };
        assert_eq!(left(r#"{"type":"paid"}"#), [3, 6]);
        assert_eq!(left("{}"), [3, 5, 6]);
        assert_eq!(left(r#"{"data":{}}"#), [0; 0], "bytes that were not checked are no JSON");
        assert!(matching(&Pattern::parse("{}").expect("a pattern"), &page[1..]).is_err());
    }
}
