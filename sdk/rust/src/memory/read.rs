//! Reading.

use std::cell::Ref;
use std::ops::Bound;

use exesdb_packed::{push_envelope, push_gap, push_removed};

use super::{Logged, State};
use crate::types::{Direction, EndOfLog, Position, Range};
use crate::view::{Entry, Error, LOOKUPS_MAX, LogPage, Page, READ_BYTES_MAX, View};

/// A state of a store in memory.
#[derive(Debug)]
pub struct MemoryView<'a> {
    pub(super) state: Ref<'a, State>,
}

impl View for MemoryView<'_> {
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.readable()?.value(keyspace, key).cloned())
    }

    fn get_many(
        &self,
        keyspace: &str,
        keys: &[Vec<u8>],
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        check_lookups(keys.len())?;
        let state = self.readable()?;
        let mut room = Room::new(max_bytes);
        let values = keys.iter().map(|key| state.value(keyspace, key).cloned());
        Ok(values.take_while(|value| room.takes(value.as_ref().map_or(0, Vec::len))).collect())
    }

    fn scan(&self, range: &Range, direction: Direction, limit: u32, max_bytes: u32) -> Result<Page, Error> {
        check_limit(limit)?;
        let mut all = self.readable()?.range(range);
        if direction == Direction::Backward {
            all.reverse();
        }
        let mut room = Room::new(max_bytes);
        let mut packed = Vec::new();
        let mut count = 0;
        for (key, value) in all.iter().take(limit as usize) {
            if !room.takes(key.len() + value.len()) {
                break;
            }
            Entry { key, value }.push(&mut packed);
            count += 1;
        }
        Page::new(packed, count < all.len())
    }

    fn log_read(
        &self,
        from: Option<Position>,
        direction: Direction,
        limit: u32,
        max_bytes: u32,
    ) -> Result<LogPage, Error> {
        check_limit(limit)?;
        let state = self.readable()?;
        let last = state.next_position.checked_sub(1);
        let mut next = match direction {
            Direction::Forward => Some(from.unwrap_or(0)).filter(|from| *from < state.next_position),
            Direction::Backward => last.map(|last| from.map_or(last, |from| from.min(last))),
        };
        let mut page = LogPage { frames: Vec::new(), next: None };
        let mut room = Room::new(max_bytes);
        for _ in 0..limit {
            let Some(at) = next else { break };
            let begin = page.frames.len();
            let (first, end) = state.push_frame(&mut page.frames, at, direction)?;
            if !room.takes(page.frames.len() - begin) {
                page.frames.truncate(begin);
                break;
            }
            next = match direction {
                Direction::Forward => Some(end).filter(|end| *end < state.next_position),
                Direction::Backward => first.checked_sub(1),
            };
        }
        page.next = next;
        Ok(page)
    }

    fn log_get(&self, positions: &[Position], max_bytes: u32) -> Result<Vec<u8>, Error> {
        check_lookups(positions.len())?;
        let state = self.readable()?;
        let mut frames = Vec::new();
        let mut room = Room::new(max_bytes);
        for position in positions {
            if *position >= state.next_position {
                return Err(Error::Invalid(format!("the log ends before position {position}")));
            }
            let begin = frames.len();
            state.push_frame(&mut frames, *position, Direction::Forward)?;
            if !room.takes(frames.len() - begin) {
                frames.truncate(begin);
                break;
            }
        }
        Ok(frames)
    }

    fn end(&self) -> EndOfLog {
        EndOfLog { next_position: self.state.next_position, chain: self.state.chain, history_id: 1 }
    }

    fn now(&self) -> u64 {
        self.state.now
    }
}

impl MemoryView<'_> {
    fn readable(&self) -> Result<&State, Error> {
        if self.state.fails { Err(Error::Unavailable("gone".into())) } else { Ok(&self.state) }
    }
}

impl State {
    pub(super) fn range(&self, range: &Range) -> Vec<(&Vec<u8>, &Vec<u8>)> {
        if range.end.as_ref().is_some_and(|end| *end <= range.start) {
            return Vec::new();
        }
        let end = range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.keyspaces
            .get(&range.keyspace)
            .into_iter()
            .flat_map(|map| map.range::<Vec<u8>, _>((Bound::Included(&range.start), end)))
            .collect()
    }

    /// Appends the frame at a position below the end: of a gap the part from there on, or backward up to there. Returns its
    /// first position, and the one after its last.
    fn push_frame(
        &self,
        out: &mut Vec<u8>,
        at: Position,
        direction: Direction,
    ) -> Result<(Position, Position), Error> {
        let (first, logged) = self.record(at).expect("positions are dense");
        if self.damaged.contains(&at) {
            return Err(Error::Damaged(format!("position {at} is damaged")));
        }
        match logged {
            Logged::Event { envelope, .. } => {
                push_envelope(out, at, envelope).map_err(|error| Error::Other(error.to_string()))?;
            }
            Logged::Removed { link } => push_removed(out, at, *link),
            Logged::Gap { positions } => {
                let (from, end) = match direction {
                    Direction::Forward => (at, first + positions),
                    Direction::Backward => (first, at + 1),
                };
                push_gap(out, from, end - from);
                return Ok((from, end));
            }
        }
        Ok((at, at + 1))
    }
}

fn check_lookups(count: usize) -> Result<(), Error> {
    if count <= LOOKUPS_MAX {
        return Ok(());
    }
    Err(Error::Invalid(format!("{count} lookups, over the limit of {LOOKUPS_MAX}")))
}

fn check_limit(limit: u32) -> Result<(), Error> {
    if limit > 0 { Ok(()) } else { Err(Error::Invalid("a limit of 0 entries".into())) }
}

/// The room for the values of one read, of which the first always fits.
struct Room {
    left: usize,
    is_first: bool,
}

impl Room {
    fn new(max_bytes: u32) -> Self {
        Self { left: max_bytes.min(READ_BYTES_MAX) as usize, is_first: true }
    }

    fn takes(&mut self, bytes: usize) -> bool {
        let takes = self.is_first || bytes <= self.left;
        self.left = self.left.saturating_sub(bytes);
        self.is_first = false;
        takes
    }
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{Frames, Record};

    use crate::batch::BatchBuilder;
    use crate::events::EventData;
    use crate::memory::MemoryStore;
    use crate::types::Direction::{self, Backward, Forward};
    use crate::view::{Error, View, prefix_range};

    #[test]
    fn a_page_has_at_least_one_entry_and_no_more_than_fit() {
        let store = MemoryStore::new();
        for key in [b"p1", b"p2", b"p3", b"q1"] {
            store.overwrite("a", key, &[0; 10]);
        }
        let range = prefix_range("a", b"p");
        let keys = |direction, limit, max_bytes| {
            let page = store.view().scan(&range, direction, limit, max_bytes).unwrap();
            let keys: Vec<_> =
                page.entries().map(|entry| String::from_utf8(entry.key.to_vec()).unwrap()).collect();
            (keys.join(" "), page.more)
        };
        assert_eq!(keys(Forward, 9, 99), ("p1 p2 p3".into(), false));
        assert_eq!(keys(Forward, 2, 99), ("p1 p2".into(), true));
        assert_eq!(keys(Forward, 9, 1), ("p1".into(), true));
        assert_eq!(keys(Backward, 9, 24), ("p3 p2".into(), true));
        let wanted = [b"p1".to_vec(), b"no".to_vec(), b"p2".to_vec()];
        assert_eq!(store.view().get_many("a", &wanted, 15).unwrap().len(), 2);
        assert_eq!(store.view().get_all("a", &wanted).unwrap().len(), 3);
    }

    /// A log of an event, a gap from 1 to 9, and an event at 10.
    fn store() -> MemoryStore {
        let mut envelope = Vec::new();
        EventData::default().parts("s", 0, 0).push(&mut envelope).unwrap();
        let mut batch = BatchBuilder::new();
        batch.append_event(&envelope, 0, 0).unwrap();
        batch.append_gap(9);
        batch.append_event(&envelope, 1, 0).unwrap();
        let store = MemoryStore::new();
        store.apply(&batch.build()).unwrap();
        store
    }

    fn shape(frames: &[u8]) -> Vec<(u64, u64)> {
        let length = |record| if let Record::Gap { positions } = record { positions } else { 1 };
        Frames::new(frames).map(|frame| frame.map(|it| (it.position, length(it.record))).unwrap()).collect()
    }

    #[test]
    fn the_log_is_read_in_both_directions() {
        let store = store();
        let read = |from: Option<u64>, direction: Direction, limit| {
            let page = store.view().log_read(from, direction, limit, 10_000).unwrap();
            (shape(&page.frames), page.next)
        };
        assert_eq!(read(None, Forward, 9), (vec![(0, 1), (1, 9), (10, 1)], None));
        assert_eq!(read(None, Forward, 1), (vec![(0, 1)], Some(1)));
        assert_eq!(read(Some(4), Forward, 1), (vec![(4, 6)], Some(10)));
        assert_eq!(read(Some(11), Forward, 1), (vec![], None));
        assert_eq!(read(None, Backward, 2), (vec![(10, 1), (1, 9)], Some(0)));
        assert_eq!(read(Some(4), Backward, 9), (vec![(1, 4), (0, 1)], None));
        let got = store.view().log_get(&[10, 0, 5], 10_000).unwrap();
        assert_eq!(shape(&got), [(10, 1), (0, 1), (5, 5)]);
        assert_eq!(shape(&store.view().log_get(&[10, 0], 1).unwrap()), [(10, 1)]);
        assert!(matches!(store.view().log_get(&[11], 1), Err(Error::Invalid(_))));
    }

    #[test]
    fn removed_events_stay_in_the_log() {
        let store = store();
        let chain = store.view().end().chain;
        let mut batch = BatchBuilder::new();
        batch.remove_event(10);
        batch.remove_event(4);
        store.apply(&batch.build()).unwrap();
        let frames = store.view().log_get(&[10], 1).unwrap();
        let removed = Frames::new(&frames).next().unwrap().unwrap().record;
        assert_eq!(removed, Record::Removed { link: chain });
        assert_eq!(store.view().end().chain, chain);
        store.damage(0);
        assert!(matches!(store.view().log_get(&[0], 1), Err(Error::Damaged(_))));
    }
}
