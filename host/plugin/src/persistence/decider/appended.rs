//! Which events a batch appends: what the host wakes followers by, instead of what a component says about its batch.

use exesdb_packed::{Envelope, Frames, Record};
use exesdb_pubsub::Bus;

/// Streams of one batch that are published by their names. If there are more, as in an import, all who wait are woken.
const STREAMS_MAX: usize = 100;

/// The events that a batch appends to the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The streams, each with the offset of its last event from the batch's first position.
    streams: Vec<(String, u64)>,
    /// Positions that the batch takes.
    positions: u64,
    /// There are more streams.
    is_cut: bool,
}

impl Appended {
    /// Those of the frames of a batch. The storage refuses frames that cannot be read.
    pub(crate) fn of(log: &[u8]) -> Self {
        let mut appended = Self::default();
        for frame in Frames::new(log).map_while(Result::ok) {
            let offset = appended.positions;
            // The storage refuses a batch of too many positions.
            appended.positions = appended.positions.saturating_add(match frame.record {
                Record::Gap { positions } => positions,
                Record::Event(_) | Record::Removed { .. } => 1,
            });
            if let Record::Event(envelope) = frame.record
                && let Ok(event) = Envelope::read(envelope)
            {
                appended.add(event.stream_id, offset);
            }
        }
        appended
    }

    fn add(&mut self, stream: &str, offset: u64) {
        let is_full = self.streams.len() == STREAMS_MAX;
        match self.streams.iter_mut().rev().find(|(known, _)| known == stream) {
            Some((_, at)) => *at = offset,
            None if is_full => self.is_cut = true,
            None => self.streams.push((stream.to_owned(), offset)),
        }
    }

    /// Wakes those who wait for the events, which begin at this position and are durable.
    pub(crate) fn publish(&self, bus: &Bus, first_position: u64) {
        if self.is_cut {
            bus.resync(first_position.saturating_add(self.positions));
            return;
        }
        for (stream, offset) in &self.streams {
            bus.publish(stream, first_position.saturating_add(*offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use exesdb_packed::push_gap;
    use exesdb_pubsub::Bus;
    use futures_util::FutureExt as _;

    use super::{Appended, STREAMS_MAX};
    use crate::sample_events;

    #[test]
    fn the_last_event_of_each_stream_is_found_where_the_log_has_it() {
        assert_eq!(Appended::of(&[]), Appended::default());
        let mut log = Vec::new();
        for (stream, version) in [("a", 0), ("a", 1), ("b", 0), ("a", 2)] {
            sample_events::push(&mut log, stream, 0, version, b"");
        }
        let appended = Appended::of(&log);
        let expected = [("a".to_owned(), 3), ("b".to_owned(), 2)];
        assert_eq!(
            (appended.streams.as_slice(), appended.positions, appended.is_cut),
            (&expected[..], 4, false)
        );
    }

    #[test]
    fn gaps_of_any_length_are_counted() {
        let mut log = Vec::new();
        push_gap(&mut log, 0, 3);
        sample_events::push(&mut log, "a", 0, 0, b"");
        assert_eq!(Appended::of(&log).streams, [("a".to_owned(), 3)]);
        push_gap(&mut log, 0, u64::MAX);
        sample_events::push(&mut log, "b", 0, 0, b"");
        let appended = Appended::of(&log);
        assert_eq!(appended.positions, u64::MAX);
        appended.publish(&Bus::new(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_batch_of_more_streams_than_can_be_named_wakes_everybody() {
        let mut log = Vec::new();
        (0..=STREAMS_MAX).for_each(|n| sample_events::push(&mut log, &n.to_string(), 0, 0, b""));
        let appended = Appended::of(&log);
        assert!(appended.is_cut && appended.streams.len() == STREAMS_MAX);
        assert_eq!(appended.positions, STREAMS_MAX as u64 + 1);
        let bus = Bus::new(0);
        let wait = bus.wait(Some("other"), 0).expect("there is room");
        appended.publish(&bus, 0);
        assert!(wait.woken().now_or_never().is_some());
    }
}
