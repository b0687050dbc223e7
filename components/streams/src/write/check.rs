//! Reads requests, and checks their arguments, which come from clients.

use std::collections::HashSet;

use exesdb_sdk::arguments::check_stream_id;
use exesdb_sdk::types::{
    AppendCondition, Error, ExpectedVersion, StreamCheck, WriteRequest, check_options, invalid,
};

use crate::check::{EVENTS_MAX, check_at_most, check_bytes, check_events, within};
use crate::events::{NewEvent, read_new};
use crate::filter::check_query;

/// Maximum number of appends of one request. Each is to a stream that others may write to.
pub const APPENDS_MAX: usize = 100;

/// Maximum number of checks of one request, for the same reason.
pub const CHECKS_MAX: usize = 100;

/// Maximum number of conditions of one request. Each is a search.
pub const CONDITIONS_MAX: usize = 16;

/// A request, where it lies.
#[derive(Debug)]
pub(super) struct Write<'a> {
    pub(super) appends: Vec<NewAppend<'a>>,
    pub(super) checks: &'a [StreamCheck],
    pub(super) conditions: &'a [AppendCondition],
}

/// An append of a request.
#[derive(Debug)]
pub(super) struct NewAppend<'a> {
    pub(super) stream_id: &'a str,
    pub(super) expected: ExpectedVersion,
    pub(super) events: Vec<NewEvent<'a>>,
}

impl<'a> NewAppend<'a> {
    /// The ids of its events.
    pub(super) fn ids(&self) -> impl Iterator<Item = &'a str> {
        self.events.iter().map(|event| event.envelope.id)
    }
}

impl<'a> Write<'a> {
    /// Reads and checks a request.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the argument; the problem `too-large` names it and the limit.
    pub(super) fn read(request: &'a WriteRequest) -> Result<Self, Error> {
        let WriteRequest { appends, checks, conditions, options } = request;
        check_options(options)?;
        if appends.is_empty() {
            return Err(invalid("appends", format!("is empty; a request has 1 to {APPENDS_MAX} appends")));
        }
        check_at_most("appends", appends.len(), APPENDS_MAX)?;
        check_at_most("checks", checks.len(), CHECKS_MAX)?;
        check_at_most("conditions", conditions.len(), CONDITIONS_MAX)?;
        let mut write = Self { appends: Vec::with_capacity(appends.len()), checks, conditions };
        for (index, append) in appends.iter().enumerate() {
            let argument = || format!("appends[{index}]");
            let stream_id = append.stream_id.as_str();
            check_stream_id("stream-id", stream_id).map_err(|error| within(error, argument))?;
            let events = read_new("events", &append.events).map_err(|error| within(error, argument))?;
            check_events(stream_id, &events).map_err(|error| within(error, argument))?;
            write.appends.push(NewAppend { stream_id, expected: append.expected, events });
        }
        for (index, check) in checks.iter().enumerate() {
            let argument = || format!("checks[{index}]");
            check_stream_id("stream-id", &check.stream_id).map_err(|error| within(error, argument))?;
        }
        write.check_streams()?;
        for (index, condition) in conditions.iter().enumerate() {
            let argument = || format!("conditions[{index}]");
            if condition.query.is_empty() {
                let message = "is empty; a condition has an item at least, and one without types and tags is for any event";
                return Err(within(invalid("query", message), argument));
            }
            check_query("query", &condition.query).map_err(|error| within(error, argument))?;
        }
        let events = || write.appends.iter().flat_map(|append| &append.events);
        check_at_most("the events of all appends", events().count(), EVENTS_MAX)?;
        check_bytes("the events of all appends", events().map(|event| event.bytes.len()))?;
        Ok(write)
    }

    /// The streams that the request appends to, then those that it checks.
    pub(super) fn streams(&self) -> impl Iterator<Item = &'a str> {
        let appends = self.appends.iter().map(|append| append.stream_id);
        appends.chain(self.checks.iter().map(|check| check.stream_id.as_str()))
    }

    /// Checks that all its streams differ.
    fn check_streams(&self) -> Result<(), Error> {
        let mut seen = HashSet::new();
        for (index, stream_id) in self.streams().enumerate() {
            if !seen.insert(stream_id) {
                let argument = match index.checked_sub(self.appends.len()) {
                    None => format!("appends[{index}].stream-id"),
                    Some(index) => format!("checks[{index}].stream-id"),
                };
                let message =
                    format!("is {stream_id:?}, as another one of this request; streams must differ");
                return Err(invalid(argument, message));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::events::{EventData, pack};
    use exesdb_sdk::types::{
        Append, AppendCondition, Error, ExpectedVersion, Field, QueryItem, StreamCheck, WriteRequest,
    };

    use super::Write;

    fn append(stream_id: &str, events: usize, bytes: usize) -> Append {
        let event = |id: usize| EventData {
            id: id.to_string(),
            event_type: "t".into(),
            content_type: "c".into(),
            data: vec![0; bytes],
            metadata: Vec::new(),
            tags: Vec::new(),
        };
        of(stream_id, &(0..events).map(event).collect::<Vec<_>>())
    }

    fn of(stream_id: &str, events: &[EventData]) -> Append {
        let events = pack(stream_id, events).unwrap();
        Append { stream_id: stream_id.into(), expected: ExpectedVersion::Any, events }
    }

    fn check(stream_id: &str) -> StreamCheck {
        StreamCheck { stream_id: stream_id.into(), expected: ExpectedVersion::Any }
    }

    fn item(event_type: &str, tag: &str) -> QueryItem {
        QueryItem { types: vec![event_type.into()], tags: vec![tag.into()] }
    }

    /// The argument that the error names, or its message about a limit.
    fn complaint(change: impl Fn(&mut WriteRequest)) -> String {
        let mut request = WriteRequest {
            appends: vec![append("a", 1, 0), append("b", 2, 0)],
            checks: vec![check("c"), check("d")],
            conditions: vec![AppendCondition { query: vec![item("t", "g")], after: Some(u64::MAX) }],
            options: Vec::new(),
        };
        change(&mut request);
        match Write::read(&request) {
            Ok(_) => "none".into(),
            Err(Error::Invalid(invalid)) => invalid.argument,
            Err(Error::Problem(problem)) => problem.message,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_name_the_argument() {
        assert_eq!(complaint(|_| ()), "none");
        assert_eq!(complaint(|it| it.appends.clear()), "appends");
        assert_eq!(complaint(|it| it.appends[1].events.clear()), "appends[1].events");
        let repeated = EventData {
            id: "0".into(),
            event_type: "t".into(),
            content_type: "c".into(),
            ..EventData::default()
        };
        let twice = [repeated.clone(), repeated.clone()];
        assert_eq!(complaint(|it| it.appends[1] = of("b", &twice)), "appends[1].events[1].id");
        assert_eq!(complaint(|it| it.appends[1].events.push(0)), "appends[1].events");
        let elsewhere =
            |it: &mut WriteRequest| it.appends[1].events = of("z", std::slice::from_ref(&repeated)).events;
        assert_eq!(complaint(elsewhere), "appends[1].events[0].stream-id");
        let option = |name: &str| Field { name: name.into(), value: String::new() };
        assert_eq!(complaint(|it| it.options.push(option("x"))), "none");
        assert!(complaint(|it| it.options.push(option("!x"))).contains("`!x`"));
        assert_eq!(complaint(|it| it.appends[1] = append("a", 1, 0)), "appends[1].stream-id");
        assert_eq!(complaint(|it| it.appends[0].stream_id = "\n".into()), "appends[0].stream-id");
        assert_eq!(complaint(|it| it.checks[1].stream_id = "a".into()), "checks[1].stream-id");
        assert_eq!(complaint(|it| it.checks[1].stream_id = "c".into()), "checks[1].stream-id");
        assert_eq!(complaint(|it| it.checks[0].stream_id.clear()), "checks[0].stream-id");
        assert_eq!(complaint(|it| it.conditions[0].query.clear()), "conditions[0].query");
        let empty_tag = complaint(|it| it.conditions[0].query[0].tags.push(String::new()));
        assert_eq!(empty_tag, "conditions[0].query[0].tags[1]");
        let long_type = complaint(|it| it.conditions[0].query[0].types[0] = "t".repeat(257));
        assert_eq!(long_type, "conditions[0].query[0].types[0]");
    }

    #[test]
    fn errors_name_the_limit() {
        let streams = |count: usize| (0..count).map(|at| at.to_string());
        let appends = |count, events, bytes: usize| {
            move |it: &mut WriteRequest| {
                it.appends = streams(count).map(|id| append(&id, events, bytes)).collect();
            }
        };
        assert_eq!(complaint(appends(100, 10, 0)), "none");
        assert_eq!(complaint(appends(101, 1, 0)), "appends: 101 of them, over the limit of 100");
        let message = complaint(appends(91, 11, 0));
        assert_eq!(message, "the events of all appends: 1001 of them, over the limit of 1000");
        let message = complaint(appends(9, 1, 1_000_000));
        assert!(message.contains("limit of 8388608 bytes"), "{message}");
        assert_eq!(complaint(|it| it.checks = streams(100).map(|id| check(&id)).collect()), "none");
        let message = complaint(|it| it.checks = streams(101).map(|id| check(&id)).collect());
        assert_eq!(message, "checks: 101 of them, over the limit of 100");
        let message = complaint(|it| it.conditions = vec![it.conditions[0].clone(); 17]);
        assert_eq!(message, "conditions: 17 of them, over the limit of 16");
    }
}
