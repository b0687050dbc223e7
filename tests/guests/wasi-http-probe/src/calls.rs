//! Calls of `exesdb:gateway/store`.

use crate::bindings::exesdb::gateway::requests::{Call, Outcome, Query, Reply, WriteCall};
use crate::bindings::exesdb::gateway::store::{name, run, wait, who};
use crate::bindings::exesdb::store::types::{
    AllSelection, Append, Direction, Error, ExpectedVersion, Selection, Source, WriteRequest,
};

/// The outcomes of calls, as texts.
pub(crate) fn outcomes() -> Vec<String> {
    let made = run(&[
        Call::LogEnd,
        append("first", ExpectedVersion::NoStream),
        append("second", ExpectedVersion::Exact(0)),
        append("third", ExpectedVersion::Exact(6)),
        Call::StreamInfo("no such stream".to_owned()),
        read(0),
    ]);
    let too_many = run(&(0..65).map(|_| Call::LogEnd).collect::<Vec<_>>());
    let mut texts: Vec<String> = made.iter().map(shown).collect();
    texts.push(shown(&run(&[read(10)])[0]));
    texts.push(format!("{} of 65, {}", too_many.len(), shown(&too_many[64])));
    texts.push(format!("{} {:?} {}", name(), who().identity, who().scopes.len()));
    texts.push(format!("{:?} {:?}", wait(None, 0, 1_000), wait(Some("quiet"), 1_000, 1)));
    texts
}

/// The end of the store.
pub(crate) fn end() -> String {
    shown(&run(&[Call::LogEnd])[0])
}

fn append(id: &str, expected: ExpectedVersion) -> Call {
    let event = exesdb_packed::EventParts::<'_, String> {
        flags: 0,
        version: 0,
        created: 0,
        stream_id: "called",
        id,
        event_type: "t",
        content_type: "text/plain",
        tags: &[],
        data: b"data",
        metadata: b"",
    };
    let mut events = Vec::new();
    exesdb_packed::push_event(&mut events, 0, &event).expect("it is short");
    let append = Append { stream_id: "called".to_owned(), expected, events };
    let (checks, conditions, options) = (Vec::new(), Vec::new(), Vec::new());
    let request = WriteRequest { appends: vec![append], checks, conditions, options };
    Call::Write(WriteCall { request, histories: Vec::new() })
}

fn read(count: u32) -> Call {
    let source = Source::All(AllSelection { from: None, until: None });
    let (direction, options) = (Direction::Forward, Vec::new());
    let selection = Selection { source, direction, count, max_bytes: 1 << 20, options };
    Call::Read(Query { selection, filter: None, at_least: Some(0), history_id: None })
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Ok(answer) => match &answer.reply {
            Reply::Changed(result) => format!("version {}", result.placed[0].last_version),
            Reply::LogEnd(end) => format!("end {}", end.next_position),
            Reply::Page(page) => {
                format!("page {}", exesdb_packed::Events::check(&page.events).expect("a page has events"))
            }
            other => format!("{other:?}"),
        },
        Err(Error::NotFound) => "not found".to_owned(),
        Err(Error::WrongExpectedVersion(conflict)) => format!("conflict {:?}", conflict.last_version),
        Err(Error::Invalid(invalid)) => format!("invalid {}", invalid.argument),
        Err(Error::Problem(problem)) => format!("problem {}", problem.code),
        Err(other) => format!("{other:?}"),
    }
}
