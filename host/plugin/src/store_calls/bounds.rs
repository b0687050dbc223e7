//! What a gateway may ask in one call. Pure.

use exesdb_packed::Events;

use crate::bindings::gateway::requests::Call;
use crate::bindings::store::fields::Field;
use crate::bindings::store::types::{Error, InvalidArgument, Selection, Source};
use crate::problem::{code, problem};
use crate::text::printable;

/// Most entries of a list, and most streams that one call asks about: the contract's largest page.
const ENTRIES_MAX: usize = 1_000;

/// Most events of one page: ten times what a bulk read has in one. A larger count is lowered to it.
const PAGE_EVENTS_MAX: u32 = 10_000;

/// Most bytes of one page: what one write may have. A larger number is lowered to it.
const PAGE_BYTES_MAX: u32 = 8 << 20;

/// Bytes of a name that an error shows.
pub(super) const NAME_BYTES_SHOWN: usize = 64;

/// Checks a call before anything of it is done. What only the component knows, it checks itself.
pub(super) fn check(call: &Call) -> Result<(), Error> {
    match call {
        Call::Write(write) => {
            for (index, append) in write.request.appends.iter().enumerate() {
                events(|| format!("appends[{index}].events"), &append.events)?;
            }
            let (given, conditions) = (write.histories.len(), write.request.conditions.len());
            if given != 0 && given != conditions {
                let message = format!(
                    "has {given} entries; it must have {conditions}, one for each condition, or none"
                );
                return Err(invalid("histories", message));
            }
            Ok(())
        }
        Call::Read(query) => {
            at_least_one("selection.count", query.selection.count)?;
            at_least_one("selection.max-bytes", query.selection.max_bytes)?;
            match (&query.filter, &query.selection.source) {
                (Some(_), Source::OneStream(_)) => {
                    Err(invalid("filter", "is only for reads of the whole store".to_owned()))
                }
                _ => Ok(()),
            }
        }
        Call::ImportEvents(import) => events(|| "events".to_owned(), &import.events),
        Call::ImportStates(lookup) => entries("stream-ids", lookup.stream_ids.len(), 0),
        Call::ListStreams(listing) => entries("count", listing.count as usize, 1),
        Call::ListSnapshots(listing) => entries("count", listing.count as usize, 1),
        Call::Remove(_)
        | Call::Retain(_)
        | Call::StreamInfo(_)
        | Call::ChangeSnapshot(_)
        | Call::ReadSnapshot(_)
        | Call::LatestSnapshot(_)
        | Call::LogEnd
        | Call::Named(_) => Ok(()),
    }
}

/// A selection as the component gets it.
pub(super) fn lowered(selection: Selection) -> Selection {
    Selection {
        count: selection.count.min(PAGE_EVENTS_MAX),
        max_bytes: selection.max_bytes.min(PAGE_BYTES_MAX),
        ..selection
    }
}

/// Refuses options that this host would have to understand (the rule H1): it knows none.
pub(crate) fn check_options(options: &[Field]) -> Result<(), Error> {
    match options.iter().find(|option| option.name.starts_with('!')) {
        None => Ok(()),
        Some(Field { name, .. }) => {
            let name = printable(name, NAME_BYTES_SHOWN);
            Err(problem(code::UNSUPPORTED, format!("this host does not have the option `{name}`")))
        }
    }
}

/// Checks the events of a request before a component gets them (the rule T4).
fn events(argument: impl FnOnce() -> String, packed: &[u8]) -> Result<(), Error> {
    match Events::check(packed) {
        Ok(_) => Ok(()),
        Err(broken) => Err(invalid(&argument(), broken.to_string())),
    }
}

fn at_least_one(argument: &str, number: u32) -> Result<(), Error> {
    if number > 0 { Ok(()) } else { Err(invalid(argument, "is 0; it must be at least 1".to_owned())) }
}

fn entries(argument: &str, count: usize, least: usize) -> Result<(), Error> {
    if (least..=ENTRIES_MAX).contains(&count) {
        return Ok(());
    }
    Err(invalid(argument, format!("is {count}; it must be {least} to {ENTRIES_MAX}")))
}

fn invalid(argument: &str, message: String) -> Error {
    Error::Invalid(InvalidArgument { argument: argument.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::{check, check_options, lowered};
    use crate::bindings::gateway::requests::{
        Call, ImportLookup, Listing, Query, SnapshotListing, WriteCall,
    };
    use crate::bindings::store::fields::Field;
    use crate::bindings::store::places::Direction;
    use crate::bindings::store::snapshot_types::SnapshotScope;
    use crate::bindings::store::types::{
        AllSelection, Append, AppendCondition, Error, EventFilter, ExpectedVersion, ImportRequest, Selection,
        Source, StreamSelection, WriteRequest,
    };

    fn read(count: u32, max_bytes: u32, source: Source, filter: Option<EventFilter>) -> Call {
        let selection =
            Selection { source, direction: Direction::Forward, count, max_bytes, options: Vec::new() };
        Call::Read(Query { selection, filter, at_least: None, history_id: None })
    }

    fn write(events: &[u8], conditions: usize, histories: usize) -> Call {
        let append = |events: &[u8]| Append {
            stream_id: "s".into(),
            expected: ExpectedVersion::Any,
            events: events.to_vec(),
        };
        let request = WriteRequest {
            appends: vec![append(b""), append(events)],
            checks: Vec::new(),
            conditions: vec![AppendCondition { query: Vec::new(), after: None }; conditions],
            options: Vec::new(),
        };
        Call::Write(WriteCall { request, histories: vec![None; histories] })
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        let all = || Source::All(AllSelection { from: None, until: None });
        let stream = Source::OneStream(StreamSelection { stream_id: "s".into(), from: None });
        let filter = EventFilter {
            query: Vec::new(),
            stream_prefixes: Vec::new(),
            stream_pattern: None,
            type_pattern: None,
            correlation_id: None,
            causation_id: None,
            options: Vec::new(),
        };
        let scope = || SnapshotScope { stream_id: None, source_id: None };
        let list =
            |count| Call::ListStreams(Listing { prefix: String::new(), after: None, count, deleted: false });
        let snapshots = |count| Call::ListSnapshots(SnapshotListing { scope: scope(), after: None, count });
        let states = |streams| {
            let stream_ids = vec![String::new(); streams];
            Call::ImportStates(ImportLookup { source: "f".into(), stream_ids })
        };
        let import = |events: &[u8]| {
            let (events, marks, options) = (events.to_vec(), Vec::new(), Vec::new());
            Call::ImportEvents(ImportRequest { events, at_positions: false, marks, options })
        };
        let table = [
            (read(1, 1, all(), Some(filter.clone())), None),
            (read(u32::MAX, u32::MAX, all(), None), None),
            (read(0, 1, all(), None), Some("selection.count")),
            (read(1, 0, all(), None), Some("selection.max-bytes")),
            (read(1, 1, stream, Some(filter)), Some("filter")),
            (write(b"", 2, 0), None),
            (write(b"", 2, 2), None),
            (write(b"", 2, 1), Some("histories")),
            (write(b"", 0, 1), Some("histories")),
            (write(&[0; 20], 0, 0), Some("appends[1].events")),
            (import(b""), None),
            (import(&[0xff; 13]), Some("events")),
            (list(1_000), None),
            (list(0), Some("count")),
            (list(1_001), Some("count")),
            (snapshots(1), None),
            (snapshots(1_001), Some("count")),
            (states(0), None),
            (states(1_000), None),
            (states(1_001), Some("stream-ids")),
            (Call::LogEnd, None),
        ];
        for (call, expected) in table {
            match (check(&call), expected) {
                (Ok(()), None) => {}
                (Err(Error::Invalid(invalid)), Some(argument)) => assert_eq!(invalid.argument, argument),
                (checked, _) => panic!("{checked:?} of {call:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_page_is_lowered_to_what_one_may_have() {
        let Call::Read(query) =
            read(u32::MAX, u32::MAX, Source::All(AllSelection { from: None, until: None }), None)
        else {
            panic!("a read is a read")
        };
        let lowered = lowered(query.selection);
        assert_eq!((lowered.count, lowered.max_bytes), (10_000, 8 << 20));
    }

    #[test]
    fn options_that_have_to_be_understood_are_refused() {
        let field = |name: &str| Field { name: name.into(), value: String::new() };
        assert!(check_options(&[field("leader"), field("x")]).is_ok());
        match check_options(&[field("leader"), field("!leader")]) {
            Err(Error::Problem(problem)) => {
                assert_eq!(problem.code, "unsupported");
                assert!(problem.message.contains("`!leader`"), "{}", problem.message);
            }
            other => panic!("{other:?}"),
        }
    }
}
