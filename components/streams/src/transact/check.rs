//! Checks the arguments of transactions, which come from clients.

use std::collections::HashSet;

use exesdb_sdk::arguments::{check_stream_id, invalid};
use exesdb_sdk::streams::Transaction;
use exesdb_sdk::types::Error;

use crate::check::{EVENTS_MAX, check_append, check_at_most, check_bytes, within};
use crate::filter::check_query;
use crate::layout::Envelope;

/// Maximum number of appends of one transaction. Each is to a stream that others may write to.
pub const APPENDS_MAX: usize = 100;

/// Maximum number of checks of one transaction, for the same reason.
pub const CHECKS_MAX: usize = 100;

/// Maximum number of conditions of one transaction. Each is a search.
pub const CONDITIONS_MAX: usize = 16;

/// Checks the arguments of one transaction.
///
/// # Errors
///
/// [`Error::Invalid`] names the argument; [`Error::TooLarge`] names it and the limit.
pub fn check_transaction(transaction: &Transaction) -> Result<(), Error> {
    let Transaction { appends, checks, conditions } = transaction;
    if appends.is_empty() {
        return Err(invalid("appends", format!("is empty; a transaction has 1 to {APPENDS_MAX} appends")));
    }
    check_at_most("appends", appends.len(), APPENDS_MAX)?;
    check_at_most("checks", checks.len(), CHECKS_MAX)?;
    check_at_most("conditions", conditions.len(), CONDITIONS_MAX)?;
    let mut streams = HashSet::new();
    let mut take = |argument: &dyn Fn() -> String, stream_id| {
        if streams.insert(stream_id) {
            return Ok(());
        }
        let message = format!("is {stream_id:?}, as another one of this transaction; streams must differ");
        Err(invalid(format!("{}.stream-id", argument()), message))
    };
    for (index, append) in appends.iter().enumerate() {
        let argument = || format!("appends[{index}]");
        check_append(append).map_err(|error| within(error, argument))?;
        take(&argument, append.stream_id.as_str())?;
    }
    for (index, check) in checks.iter().enumerate() {
        let argument = || format!("checks[{index}]");
        check_stream_id("stream-id", &check.stream_id).map_err(|error| within(error, argument))?;
        take(&argument, check.stream_id.as_str())?;
    }
    for (index, condition) in conditions.iter().enumerate() {
        let argument = || format!("conditions[{index}]");
        if condition.query.is_empty() {
            let message =
                "is empty; a condition has an item at least, and one without types and tags is for any event";
            return Err(within(invalid("query", message), argument));
        }
        check_query("query", &condition.query).map_err(|error| within(error, argument))?;
    }
    check_at_most(
        "the events of all appends",
        appends.iter().map(|append| append.events.len()).sum(),
        EVENTS_MAX,
    )?;
    let events = appends.iter().flat_map(|append| append.events.iter().map(move |event| (append, event)));
    check_bytes(
        "the events of all appends",
        events.map(|(append, event)| Envelope::bytes(&append.stream_id, event)),
    )
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::streams::{AppendCondition, AppendRequest, QueryItem, StreamCheck, Transaction};
    use exesdb_sdk::types::{Error, EventData, ExpectedVersion};

    use super::check_transaction;

    fn append(stream_id: &str, events: usize, bytes: usize) -> AppendRequest {
        let event = |id: usize| EventData {
            id: id.to_string(),
            event_type: "t".into(),
            content_type: "c".into(),
            data: vec![0; bytes],
            metadata: Vec::new(),
            tags: Vec::new(),
        };
        let events = (0..events).map(event).collect();
        AppendRequest { stream_id: stream_id.into(), expected: ExpectedVersion::Any, events }
    }

    fn check(stream_id: &str) -> StreamCheck {
        StreamCheck { stream_id: stream_id.into(), expected: ExpectedVersion::Any }
    }

    fn item(event_type: &str, tag: &str) -> QueryItem {
        QueryItem { types: vec![event_type.into()], tags: vec![tag.into()] }
    }

    /// The argument that the error names, or its message about a limit.
    fn complaint(change: impl Fn(&mut Transaction)) -> String {
        let mut transaction = Transaction {
            appends: vec![append("a", 1, 0), append("b", 2, 0)],
            checks: vec![check("c"), check("d")],
            conditions: vec![AppendCondition { query: vec![item("t", "g")], after: Some(u64::MAX) }],
        };
        change(&mut transaction);
        match check_transaction(&transaction) {
            Ok(()) => "none".into(),
            Err(Error::Invalid(invalid)) => invalid.argument,
            Err(Error::TooLarge(message)) => message,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_name_the_argument() {
        assert_eq!(complaint(|_| ()), "none");
        assert_eq!(complaint(|it| it.appends.clear()), "appends");
        assert_eq!(complaint(|it| it.appends[1].events.clear()), "appends[1].events");
        assert_eq!(complaint(|it| it.appends[1].events[1].id = "0".into()), "appends[1].events[1].id");
        assert_eq!(complaint(|it| it.appends[1].stream_id = "a".into()), "appends[1].stream-id");
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
            move |it: &mut Transaction| {
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
