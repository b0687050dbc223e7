//! Ids for events that the client sent without one.

use std::borrow::Cow;

use exesdb_sdk::steps::Request;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

/// Gives ids. They follow from the request's id, so they are the same if a step is made once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventIds {
    seed: u128,
    given: u64,
}

impl EventIds {
    /// The ids of the events of a request.
    pub(crate) fn of(request: &Request) -> Self {
        Self { seed: xxh3_128(request.id.as_bytes()), given: 0 }
    }

    /// The id of an event: what the client sent, or else a UUID (RFC 9562, version 8).
    pub(crate) fn or_next<'a>(&mut self, id: &'a str) -> Cow<'a, str> {
        if !id.is_empty() {
            return Cow::Borrowed(id);
        }
        let mut text = [0; 24];
        let (seed, given) = text.split_at_mut(16);
        seed.copy_from_slice(&self.seed.to_le_bytes());
        given.copy_from_slice(&self.given.to_le_bytes());
        self.given += 1;
        let uuid = Uuid::new_v8(xxh3_128(&text).to_le_bytes());
        Cow::Owned(uuid.hyphenated().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::EventIds;

    #[test]
    fn ids_differ_within_and_between_requests() {
        let mut ids = Vec::new();
        for seed in [1, 2] {
            let mut of = EventIds { seed, given: 0 };
            ids.extend((0..100).map(|_| of.or_next("").into_owned()));
            assert_eq!(of.or_next("mine"), "mine");
        }
        assert!(ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'8'), "{ids:?}");
        let again = EventIds { seed: 2, given: 99 }.or_next("").into_owned();
        assert_eq!(ids.last(), Some(&again));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 200);
    }
}
