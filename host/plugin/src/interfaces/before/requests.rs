//! Calls of version 0.1 as requests of version 0.2.

use super::each;
use super::events::{pack, within};
use crate::bindings::next::types::{
    Append, DeletionRequest, EventFilter, RetentionRequest, Selection, Source, WriteRequest,
};
use crate::bindings::streams as before;
use crate::bindings::types::{Direction, Error, ExpectedVersion, InvalidArgument};

/// Events of a page, as version 0.1 says.
const COUNT_MAX: u32 = 1_000;

/// Bytes of a page: as many as components of version 0.1 had in one, which gateways hold in memory.
const PAGE_BYTES: u32 = 2 << 20;

/// A plain append.
pub(in crate::interfaces) fn append(append: &before::AppendRequest) -> Result<WriteRequest, Error> {
    let appends = vec![packed(append)?];
    Ok(WriteRequest { appends, checks: Vec::new(), conditions: Vec::new(), options: Vec::new() })
}

/// A transaction.
pub(in crate::interfaces) fn transaction(transaction: before::Transaction) -> Result<WriteRequest, Error> {
    let append = |(index, append): (usize, &before::AppendRequest)| {
        packed(append).map_err(|error| within(error, &format!("appends[{index}]")))
    };
    Ok(WriteRequest {
        appends: transaction.appends.iter().enumerate().map(append).collect::<Result<_, _>>()?,
        checks: each(transaction.checks),
        conditions: each(transaction.conditions),
        options: Vec::new(),
    })
}

fn packed(append: &before::AppendRequest) -> Result<Append, Error> {
    Ok(Append {
        stream_id: append.stream_id.clone(),
        expected: append.expected.into(),
        events: pack(&append.stream_id, &append.events)?,
    })
}

/// A deletion.
pub(in crate::interfaces) fn deletion(
    stream_id: String,
    expected: ExpectedVersion,
    deletion: before::Deletion,
) -> DeletionRequest {
    DeletionRequest { stream_id, expected: expected.into(), deletion: deletion.into(), options: Vec::new() }
}

/// A retention.
pub(in crate::interfaces) fn retention(stream_id: String, retention: before::Retention) -> RetentionRequest {
    RetentionRequest { stream_id, retention: retention.into(), options: Vec::new() }
}

/// A page of a read. Components of version 0.2 have larger pages, so its bounds are checked here.
pub(in crate::interfaces) fn selection(
    source: Source,
    count: u32,
    direction: Direction,
) -> Result<Selection, Error> {
    if !(1..=COUNT_MAX).contains(&count) {
        let message = format!("is {count}; it must be 1 to {COUNT_MAX}");
        return Err(Error::Invalid(InvalidArgument { argument: "count".to_owned(), message }));
    }
    let direction = direction.into();
    Ok(Selection { source, direction, count, max_bytes: PAGE_BYTES, options: Vec::new() })
}

/// A filter.
pub(in crate::interfaces) fn filter(filter: before::EventFilter) -> EventFilter {
    EventFilter {
        query: each(filter.query),
        stream_prefixes: filter.stream_prefixes,
        stream_pattern: filter.stream_pattern,
        type_pattern: filter.type_pattern,
        correlation_id: filter.correlation_id,
        causation_id: filter.causation_id,
        options: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use exesdb_packed::Events;

    use super::{append, filter, selection, transaction};
    use crate::bindings::next::types::{self as next, AllSelection, Source};
    use crate::bindings::streams::{
        AppendCondition, AppendRequest, EventFilter, QueryItem, StreamCheck, Transaction,
    };
    use crate::bindings::types::{Direction, Error, EventData, ExpectedVersion};

    fn request(stream_id: &str, ids: &[&str]) -> AppendRequest {
        let event = |id: &&str| EventData {
            id: (*id).to_owned(),
            event_type: "t".to_owned(),
            content_type: "c".to_owned(),
            data: Vec::new(),
            metadata: Vec::new(),
            tags: Vec::new(),
        };
        let events = ids.iter().map(event).collect();
        AppendRequest { stream_id: stream_id.to_owned(), expected: ExpectedVersion::Exact(7), events }
    }

    /// The streams of a request, each with the streams and ids of its events.
    fn shown(request: &next::WriteRequest) -> Vec<(String, Vec<(String, String)>)> {
        let append = |append: &next::Append| {
            assert!(matches!(append.expected, next::ExpectedVersion::Exact(7)));
            let events = Events::new(&append.events).map(|event| {
                let (_, event) = event.unwrap();
                (event.stream_id.to_owned(), event.id.to_owned())
            });
            (append.stream_id.clone(), events.collect())
        };
        request.appends.iter().map(append).collect()
    }

    fn ids(stream_id: &str, ids: &[&str]) -> (String, Vec<(String, String)>) {
        let id = |id: &&str| (stream_id.to_owned(), (*id).to_owned());
        (stream_id.to_owned(), ids.iter().map(id).collect())
    }

    #[test]
    fn an_append_is_a_request_of_one() {
        let plain = append(&request("s", &["a", "b"])).unwrap();
        assert_eq!(shown(&plain), [ids("s", &["a", "b"])]);
        assert!(plain.checks.is_empty() && plain.conditions.is_empty() && plain.options.is_empty());
        // The component refuses it.
        assert_eq!(shown(&append(&request("", &[])).unwrap()), [ids("", &[])]);
    }

    #[test]
    fn a_transaction_is_a_request() {
        let item = QueryItem { types: vec!["t".into()], tags: vec!["g".into(), "h".into()] };
        let of_two = Transaction {
            appends: vec![request("s", &["a"]), request("t", &["b", "c"])],
            checks: vec![StreamCheck { stream_id: "u".into(), expected: ExpectedVersion::NoStream }],
            conditions: vec![AppendCondition { query: vec![item], after: Some(3) }],
        };
        let write = transaction(of_two).unwrap();
        assert_eq!(shown(&write), [ids("s", &["a"]), ids("t", &["b", "c"])]);
        assert_eq!(write.checks[0].stream_id, "u");
        assert!(matches!(write.checks[0].expected, next::ExpectedVersion::NoStream));
        let condition = &write.conditions[0];
        assert_eq!((condition.after, condition.query[0].types.as_slice()), (Some(3), &["t".to_owned()][..]));
        assert_eq!(condition.query[0].tags, ["g", "h"]);
    }

    #[test]
    fn what_cannot_be_packed_is_named_within_its_append() {
        let long = "x".repeat(1 << 16);
        let of_two = |second| Transaction {
            appends: vec![request("s", &["a"]), second],
            checks: Vec::new(),
            conditions: Vec::new(),
        };
        let argument = |refused| match refused {
            Err(Error::Invalid(invalid)) => invalid.argument,
            other => panic!("{other:?}"),
        };
        let id = || request("t", &["b", &long]);
        assert_eq!(argument(append(&id())), "events[1].id");
        assert_eq!(argument(transaction(of_two(id()))), "appends[1].events[1].id");
        assert_eq!(argument(append(&request(&long, &["b"]))), "stream-id");
        assert_eq!(argument(transaction(of_two(request(&long, &["b"])))), "appends[1].stream-id");
    }

    #[test]
    fn a_page_has_the_bounds_of_version_0_1() {
        let all = || Source::All(AllSelection { from: Some(5), until: None });
        for count in [1, 1_000] {
            let selected = selection(all(), count, Direction::Backward).unwrap();
            assert_eq!((selected.count, selected.max_bytes), (count, 2 << 20));
            assert!(matches!(selected.direction, next::Direction::Backward));
            assert!(matches!(selected.source, Source::All(AllSelection { from: Some(5), until: None })));
        }
        for count in [0, 1_001, u32::MAX] {
            match selection(all(), count, Direction::Forward) {
                Err(Error::Invalid(invalid)) => {
                    assert_eq!(invalid.argument, "count");
                    assert_eq!(invalid.message, format!("is {count}; it must be 1 to 1000"));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_filter_keeps_its_criteria() {
        let said = |text: &str| Some(text.to_owned());
        let converted = filter(EventFilter {
            query: vec![QueryItem { types: vec!["t".into()], tags: Vec::new() }],
            stream_prefixes: vec!["p".into()],
            correlation_id: said("correlation"),
            causation_id: said("causation"),
            stream_pattern: said("stream"),
            type_pattern: said("type"),
        });
        assert_eq!(converted.query[0].types, ["t"]);
        assert_eq!(converted.stream_prefixes, ["p"]);
        assert_eq!(
            (converted.correlation_id, converted.causation_id),
            (said("correlation"), said("causation"))
        );
        assert_eq!((converted.stream_pattern, converted.type_pattern), (said("stream"), said("type")));
    }
}
