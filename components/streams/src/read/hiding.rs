//! Filters out the events that retention and deletion hide.

use std::collections::HashMap;

use exesdb_sdk::types::{Direction, Error, Range, damaged};
use exesdb_sdk::view::View;

use crate::entries::decode_head;
use crate::events::Event;
use crate::layout::{Head, RETAINED, STREAMS};
use crate::visible::hides;

/// Decides which events are hidden at one time of day, in the state that one call reads.
pub(crate) struct Hiding {
    now: u64,
    /// The heads of the streams seen so far; none for a stream that hides nothing. The whole map is none if no stream of
    /// the store hides anything, so that no head need be read.
    heads: Option<HashMap<String, Option<Head>>>,
}

impl Hiding {
    /// Checks with one read whether anything may be hidden at all.
    pub(crate) fn new(view: &impl View) -> Result<Self, Error> {
        let any = Range { keyspace: RETAINED.to_owned(), start: Vec::new(), end: None };
        let page = view.scan(&any, Direction::Forward, 1, 1)?;
        Ok(Self { now: view.now(), heads: (!page.is_empty()).then(HashMap::new) })
    }

    /// Whether no event of the store is hidden, as far as is known without looking at it.
    pub(crate) fn hides_nothing(&self) -> bool {
        self.heads.is_none()
    }

    /// Keeps the visible events, in their order.
    pub(crate) fn retain_visible(
        &mut self,
        view: &impl View,
        events: &mut Vec<Event<'_>>,
    ) -> Result<(), Error> {
        let Some(heads) = &mut self.heads else { return Ok(()) };
        read_heads(view, heads, events)?;
        let now = self.now;
        events.retain(|event| match heads.get(event.envelope.stream_id) {
            Some(Some(head)) => !hides(head, event.envelope.version, event.envelope.created, now),
            _ => true,
        });
        Ok(())
    }
}

/// Reads the heads of the events' streams that `heads` lacks.
fn read_heads(
    view: &impl View,
    heads: &mut HashMap<String, Option<Head>>,
    events: &[Event<'_>],
) -> Result<(), Error> {
    let unknown = events.iter().map(|event| event.envelope.stream_id).filter(|id| !heads.contains_key(*id));
    let mut unknown: Vec<&str> = unknown.collect();
    unknown.sort_unstable();
    unknown.dedup();
    if unknown.is_empty() {
        return Ok(());
    }
    let keys: Vec<Vec<u8>> = unknown.iter().map(|id| id.as_bytes().to_owned()).collect();
    for (id, value) in unknown.into_iter().zip(view.get_all(STREAMS, &keys)?) {
        let missing = || damaged(STREAMS, id.as_bytes(), "it is missing, but it has events");
        let head = decode_head(id, value.as_deref())?.ok_or_else(missing)?;
        heads.insert(id.to_owned(), head.is_extended().then_some(head));
    }
    Ok(())
}
