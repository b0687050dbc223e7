//! Imports. In version 0.1 each event may have a position, and in version 0.2 all have one or none. So if only some have
//! one, the others get the one after the event before them; and if that turns out to be taken, the end of the log.

use super::each;
use super::errors::of_import;
use super::events::{Place, push, within};
use crate::bindings::next::types::{self as next, ChangeResult, ImportRequest};
use crate::bindings::streams::{ImportMark, ImportResult, ImportedEvent};
use crate::bindings::types::Error;

/// How often an import is sent whose events without positions were given ones that are taken.
const TRIES_MAX: u32 = 8;

/// Imports events through `send`. `end` is the position of the store's next event.
pub(in crate::interfaces) async fn import<Sending>(
    events: &[ImportedEvent],
    marks: Vec<ImportMark>,
    end: impl Fn() -> u64,
    send: impl Fn(ImportRequest) -> Sending,
) -> Result<ImportResult, Error>
where
    Sending: Future<Output = Result<ChangeResult, next::Error>>,
{
    let marks: Vec<next::ImportMark> = each(marks);
    let mut least: Vec<u64> = vec![0; events.len()];
    let mut tries = 1;
    loop {
        match send(request(events, &least, marks.clone())?).await {
            Ok(changed) => return imported(events.len(), &changed, end()),
            Err(error) => match taken(events, &error) {
                Some(index) if tries < TRIES_MAX => least[index] = end(),
                _ => return Err(of_import(error)),
            },
        }
        tries += 1;
    }
}

/// The request. An event without a position gets at least the one in `least` if others have one.
fn request(
    events: &[ImportedEvent],
    least: &[u64],
    marks: Vec<next::ImportMark>,
) -> Result<ImportRequest, Error> {
    let at_positions = events.iter().any(|event| event.position.is_some());
    let mut packed = Vec::new();
    let mut next = 0_u64;
    for (index, (event, least)) in events.iter().zip(least).enumerate() {
        let position = if at_positions { event.position.unwrap_or(next.max(*least)) } else { 0 };
        next = position.saturating_add(1);
        let place = Place { position, version: event.version, created: event.created };
        push(&mut packed, &event.stream_id, place, &event.event)
            .map_err(|error| of_import(within(error, &format!("events[{index}]"))))?;
    }
    Ok(ImportRequest { events: packed, at_positions, marks, options: Vec::new() })
}

/// The event that was refused for a position that it was given here.
fn taken(events: &[ImportedEvent], error: &next::Error) -> Option<usize> {
    let next::Error::Invalid(invalid) = error else { return None };
    let index = invalid.argument.strip_prefix("events[")?.strip_suffix("].position")?;
    let index: usize = index.parse().ok()?;
    events.get(index)?.position.is_none().then_some(index)
}

/// The result of an import of so many events.
fn imported(events: usize, changed: &ChangeResult, durable_position: u64) -> Result<ImportResult, Error> {
    let (repeated, hidden) = (changed.count & u64::from(u32::MAX), changed.count >> 32);
    let added = (events as u64).checked_sub(repeated + hidden);
    match (added.map(u32::try_from), u32::try_from(repeated), u32::try_from(hidden)) {
        (Some(Ok(added)), Ok(repeated), Ok(hidden)) => {
            Ok(ImportResult { added, repeated, hidden, durable_position })
        }
        _ => Err(Error::Other(format!(
            "the streams component counted {repeated} repeated and {hidden} hidden ones of {events} events"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use exesdb_packed::Events;
    use futures_util::FutureExt as _;

    use super::{TRIES_MAX, import, imported};
    use crate::bindings::next::types::{self as next, ChangeResult, ImportRequest};
    use crate::bindings::streams::{ImportMark, ImportedEvent};
    use crate::bindings::types::{Error, EventData};

    const DONE: ChangeResult = ChangeResult { placed: Vec::new(), count: 0 };

    /// The positions that were given, those that are sent, and whether these count.
    type Case<'a> = (&'a [Option<u64>], &'a [u64], bool);

    fn events(positions: &[Option<u64>]) -> Vec<ImportedEvent> {
        let event = |(index, position): (u64, &Option<u64>)| ImportedEvent {
            stream_id: "s".to_owned(),
            version: 100 + index,
            position: *position,
            created: 200 + index,
            event: EventData {
                id: index.to_string(),
                event_type: "t".to_owned(),
                content_type: "c".to_owned(),
                data: Vec::new(),
                metadata: Vec::new(),
                tags: Vec::new(),
            },
        };
        (0..).zip(positions).map(event).collect()
    }

    fn positions(request: &ImportRequest) -> Vec<u64> {
        Events::new(&request.events).map(|event| event.unwrap().0).collect()
    }

    fn refused(argument: &str) -> next::Error {
        let (argument, message) = (argument.to_owned(), "is taken".to_owned());
        next::Error::Invalid(next::InvalidArgument { argument, message })
    }

    /// Imports into a component that answers this, one answer after the other. Returns the requests that it got.
    fn sent(
        positions: &[Option<u64>],
        end: u64,
        answers: Vec<Result<ChangeResult, next::Error>>,
    ) -> (Vec<ImportRequest>, Result<u32, Error>) {
        let (requests, answers) = (RefCell::new(Vec::new()), RefCell::new(answers.into_iter()));
        let send = |request| {
            requests.borrow_mut().push(request);
            let answer = answers.borrow_mut().next().expect("it is not asked again");
            async move { answer }
        };
        let result = import(&events(positions), Vec::new(), || end, send).now_or_never().unwrap();
        (requests.into_inner(), result.map(|result| result.added))
    }

    #[test]
    fn all_events_have_a_position_or_none() {
        let table: [Case<'_>; 5] = [
            (&[], &[], false),
            (&[None, None], &[0, 0], false),
            (&[Some(5), Some(9)], &[5, 9], true),
            (&[Some(5), None, None, Some(9)], &[5, 6, 7, 9], true),
            (&[Some(u64::MAX), None], &[u64::MAX, u64::MAX], true),
        ];
        for (given, expected, at_positions) in table {
            let (requests, added) = sent(given, 50, vec![Ok(DONE)]);
            assert_eq!(added.unwrap() as usize, given.len());
            assert_eq!(
                (positions(&requests[0]).as_slice(), requests[0].at_positions),
                (expected, at_positions)
            );
        }
    }

    #[test]
    fn versions_and_times_are_those_that_were_given() {
        let (requests, _) = sent(&[None, None], 50, vec![Ok(DONE)]);
        let places = Events::new(&requests[0].events).map(|event| {
            let (_, event) = event.unwrap();
            (event.version, event.created)
        });
        assert_eq!(places.collect::<Vec<_>>(), [(100, 200), (101, 201)]);
    }

    #[test]
    fn an_event_without_a_position_is_given_the_end_if_its_place_is_taken() {
        let answers = vec![Err(refused("events[1].position")), Ok(DONE)];
        let (requests, added) = sent(&[Some(5), None, None], 50, answers);
        assert_eq!(added.unwrap(), 3);
        assert_eq!(requests.iter().map(positions).collect::<Vec<_>>(), [[5, 6, 7], [5, 50, 51]]);
    }

    #[test]
    fn a_position_that_was_given_is_not_replaced() {
        for argument in
            ["events[0].position", "events[1].version", "events[9].position", "events[x].position"]
        {
            let (requests, result) = sent(&[Some(5), None], 50, vec![Err(refused(argument))]);
            assert_eq!(requests.len(), 1, "{argument}");
            assert!(matches!(result, Err(Error::Invalid(invalid)) if invalid.argument == argument));
        }
    }

    #[test]
    fn an_import_is_not_tried_for_ever() {
        let answers = (0..TRIES_MAX).map(|_| Err(refused("events[1].position"))).collect();
        let (requests, result) = sent(&[Some(5), None], 50, answers);
        assert_eq!(requests.len(), TRIES_MAX as usize);
        assert!(matches!(result, Err(Error::Invalid(_))));
    }

    #[test]
    fn the_counts_of_a_result_are_of_the_events() {
        let counts = |events, repeated: u64, hidden: u64| {
            let changed = ChangeResult { placed: Vec::new(), count: repeated + (hidden << 32) };
            imported(events, &changed, 7)
        };
        let table =
            [((5, 0, 0), (5, 0, 0)), ((5, 2, 0), (3, 2, 0)), ((5, 2, 3), (0, 2, 3)), ((0, 0, 0), (0, 0, 0))];
        for ((events, repeated, hidden), expected) in table {
            let result = counts(events, repeated, hidden).unwrap();
            assert_eq!((result.added, result.repeated, result.hidden), expected);
            assert_eq!(result.durable_position, 7);
        }
        for (events, repeated, hidden) in
            [(5, 6, 0), (5, 0, 6), (5, 3, 3), (0, u32::MAX.into(), u32::MAX.into())]
        {
            match counts(events, repeated, hidden) {
                Err(Error::Other(text)) => assert!(text.starts_with("the streams component"), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_event_that_cannot_be_packed_is_named() {
        let mut long = events(&[None, None]);
        long[1].event.id = "x".repeat(1 << 16);
        let mut stream = events(&[None]);
        stream[0].stream_id = "x".repeat(1 << 16);
        for (events, argument) in [(long, "events[1].event.id"), (stream, "events[0].stream-id")] {
            let send = |_| async { panic!("nothing is sent") };
            match import(&events, Vec::new(), || 0, send).now_or_never().unwrap() {
                Err(Error::Invalid(invalid)) => assert_eq!(invalid.argument, argument),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn marks_are_passed_on() {
        let mark = ImportMark { stream_id: "s".into(), source: "f".into(), rows: 3, leading_rows: 2 };
        let send = async |request: ImportRequest| {
            let next::ImportMark { stream_id, source, rows, leading_rows } = &request.marks[0];
            assert_eq!((stream_id.as_str(), source.as_str(), *rows, *leading_rows), ("s", "f", 3, 2));
            Ok(DONE)
        };
        assert!(import(&[], vec![mark], || 0, send).now_or_never().unwrap().is_ok());
    }
}
