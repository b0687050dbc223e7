//! What a component returns is a claim, which is checked before it goes on. Pure.

use exesdb_packed::Events;

use crate::bindings::store::places::Direction;
use crate::bindings::store::types::{Error, PackedPage, Selection, Source};
use crate::problem::{code, problem};

/// Checks the page that a component returned for a selection.
pub(super) fn page(asked: &Selection, page: PackedPage) -> Result<PackedPage, Error> {
    let count = Events::check(&page.events).map_err(|error| broken(&error.to_string()))?;
    if count > asked.count as usize {
        return Err(broken(&format!("it has {count} events, and {} were asked for", asked.count)));
    }
    let from = match &asked.source {
        Source::OneStream(stream) => stream.from,
        Source::All(all) => all.from,
    };
    if !page.end && !progresses(asked.direction, from, page.next) {
        return Err(broken("it is not at the end, and leads nowhere"));
    }
    Ok(page)
}

/// Whether a reader that goes on at `next` comes further than from `from`. A reader that does not would never end.
pub(crate) fn progresses(direction: Direction, from: Option<u64>, next: Option<u64>) -> bool {
    match (direction, from, next) {
        (Direction::Forward, from, Some(next)) => next > from.unwrap_or(0),
        (Direction::Backward, Some(from), Some(next)) => next < from,
        // A backward read without a next place has passed the first event.
        (Direction::Backward, None, Some(_)) | (Direction::Backward, _, None) => true,
        (Direction::Forward, _, None) => false,
    }
}

fn broken(what: &str) -> Error {
    problem(code::OTHER, format!("the streams component returned a broken page: {what}"))
}

#[cfg(test)]
mod tests {
    use exesdb_packed::push_gap;

    use super::{page, progresses};
    use crate::bindings::store::places::Direction::{Backward, Forward};
    use crate::bindings::store::types::{
        AllSelection, Error, PackedPage, Selection, Source, StreamSelection,
    };
    use crate::sample_events;

    fn asked(count: u32, from: Option<u64>) -> Selection {
        let source = Source::All(AllSelection { from, until: None });
        Selection { source, direction: Forward, count, max_bytes: 1 << 20, options: Vec::new() }
    }

    fn events(count: u64) -> Vec<u8> {
        let mut packed = Vec::new();
        for version in 0..count {
            sample_events::push(&mut packed, "s", version, version, b"d");
        }
        packed
    }

    fn returned(events: Vec<u8>, next: Option<u64>, end: bool) -> PackedPage {
        PackedPage { events, next, end, last_version: None }
    }

    #[test]
    fn a_page_is_checked_before_it_goes_on() {
        let cut = {
            let mut cut = events(2);
            cut.pop();
            cut
        };
        let gap = {
            let mut gap = events(1);
            push_gap(&mut gap, 1, 1);
            gap
        };
        let table = [
            (returned(events(2), Some(2), false), None),
            (returned(events(0), Some(5), false), None),
            (returned(events(0), Some(0), true), None),
            (returned(cut, Some(2), false), Some("the frame ends too early")),
            (returned(gap, Some(2), false), Some("the frame is no event")),
            (returned(events(3), Some(3), false), Some("it has 3 events, and 2 were asked for")),
            (returned(events(0), Some(0), false), Some("leads nowhere")),
            (returned(events(0), None, false), Some("leads nowhere")),
        ];
        for (returned, expected) in table {
            let checked = page(&asked(2, None), returned.clone());
            match (checked, expected) {
                (Ok(_), None) => {}
                (Err(Error::Problem(problem)), Some(text)) => {
                    assert!(problem.message.contains(text), "{}", problem.message);
                }
                (checked, _) => panic!("{checked:?} of {returned:?}, expected {expected:?}"),
            }
        }
        let stream = Source::OneStream(StreamSelection { stream_id: "s".into(), from: Some(4) });
        let of_stream = Selection { source: stream, ..asked(2, None) };
        assert!(page(&of_stream, returned(events(0), Some(4), false)).is_err());
        assert!(page(&of_stream, returned(events(0), Some(5), false)).is_ok());
    }

    #[test]
    fn a_reader_progresses_in_its_direction() {
        for (direction, from, next, expected) in [
            (Forward, None, Some(1), true),
            (Forward, None, Some(0), false),
            (Forward, Some(7), Some(8), true),
            (Forward, Some(7), Some(7), false),
            (Forward, Some(7), None, false),
            (Backward, None, Some(0), true),
            (Backward, Some(7), Some(6), true),
            (Backward, Some(7), Some(7), false),
            (Backward, Some(0), None, true),
        ] {
            assert_eq!(progresses(direction, from, next), expected, "{direction:?} {from:?} {next:?}");
        }
    }
}
