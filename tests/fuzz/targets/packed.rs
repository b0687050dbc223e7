//! Packed events, which guests, clients and the disk give.

use exesdb_fuzz::fuzz;
use exesdb_packed::{Envelope, Events, Frames, Record};

#[test]
fn fuzzed_packed_events_are_read_or_refused() {
    fuzz("packed", |bytes| {
        let (mut frames, mut events) = (0, 0);
        for frame in Frames::new(bytes) {
            let Ok(frame) = frame else { break };
            frames += 1;
            if let Record::Event(envelope) = frame.record
                && let Ok(event) = Envelope::read(envelope)
            {
                events += event.tags.count();
            }
        }
        assert!(frames <= bytes.len() && events <= bytes.len(), "more was read than there is");
        if let Ok(count) = Events::check(bytes) {
            assert_eq!(Events::new(bytes).count(), count);
        }
    });
}
