//! What a topic says, as an event stream: from now on, and lost with the connection.

use exesdb_json::text_bytes;
use exesdb_sdk::packed::{Broken, Events};
use exesdb_sdk::steps::{Delivered, Event, Stopped};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Step, Waiting, live, unexpected};
use crate::accept::require_event_stream;
use crate::encode::push_data;
use crate::form::closing;
use crate::problem::{Kind, Problem};
use crate::query::{Query, percent_decode};
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};

/// A listener of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listen {
    topic: String,
    has_begun: bool,
}

/// The payload of the feed.
#[derive(Serialize)]
struct Payload<'a> {
    topic: &'a str,
}

/// What the feed says besides events. It is passed on as it is.
#[derive(Deserialize)]
struct Notes<'a> {
    #[serde(borrow)]
    begun: Option<&'a RawValue>,
    #[serde(borrow)]
    dropped: Option<&'a RawValue>,
    #[serde(borrow, default)]
    records: Vec<&'a RawValue>,
}

impl Listen {
    /// Reads the head.
    pub(crate) fn parse(head: &Head<'_>, topic: &str) -> Result<Route, Problem> {
        Query::parse(head.query, &[])?;
        require_event_stream(head)?;
        let topic = percent_decode(topic).map_err(|bad| Problem::invalid("topic", bad))?.into_owned();
        Ok(Route::Listen(Self { topic, has_begun: false }))
    }

    /// The first step.
    pub(super) fn begin(self) -> Step<Waiting> {
        live::subscribe(Waiting::Listen(self.clone()), "topics/follow", &Payload { topic: &self.topic }, None)
    }

    pub(super) fn resume(self, event: Event) -> Result<Step<Waiting>, Problem> {
        match event {
            Event::Page(delivered) => self.page(&delivered),
            Event::Stopped(Stopped { error, .. }) => {
                let subject = self.topic.strip_prefix("stream:").map_or(Subject::Store, Subject::Stream);
                let reason = error.map_or_else(closing, |error| problem(error, subject));
                if self.has_begun { Ok(live::end(Waiting::Listen(self), &reason)) } else { Err(reason) }
            }
            Event::Timer(_) => Ok(live::keep_alive(Waiting::Listen(self))),
            Event::Draining(_) => Ok(live::end(Waiting::Listen(self), &closing())),
            _ => Err(unexpected("another event than what is heard")),
        }
    }

    fn page(mut self, delivered: &Delivered) -> Result<Step<Waiting>, Problem> {
        let out = messages(delivered)?;
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        Ok(live::send(Waiting::Listen(self), out, is_first))
    }
}

/// The messages of a page: what was dropped, and then what came after it.
fn messages(delivered: &Delivered) -> Result<Vec<u8>, Problem> {
    let notes: Notes<'_> = serde_json::from_slice(&delivered.notes)
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let mut out = Vec::with_capacity(text_bytes(&delivered.events) + delivered.notes.len() + 64);
    let said = [("topic", notes.begun), ("dropped", notes.dropped)];
    let said = said.into_iter().filter_map(|(kind, data)| Some((kind, data?)));
    for (kind, data) in said.chain(notes.records.into_iter().map(|record| ("record", record))) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        // One line: the host writes no white space.
        out.extend_from_slice(data.get().as_bytes());
        out.extend_from_slice(b"\n\n");
    }
    let broken = |broken: Broken| Problem::new(Kind::Internal, broken.to_string());
    for event in Events::new(&delivered.events) {
        let (position, envelope) = event.map_err(broken)?;
        push_data(&mut out, position, &envelope);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::steps::Delivered;

    use super::messages;

    fn said(notes: &str) -> Result<String, String> {
        let notes = notes.as_bytes().to_vec();
        let delivered = Delivered { id: 0, events: Vec::new(), next: None, notes, caught_up: true };
        let messages = messages(&delivered).map_err(|problem| problem.detail)?;
        Ok(String::from_utf8(messages).expect("it is text"))
    }

    #[test]
    fn notes_become_messages_in_their_order() {
        for (notes, expected) in [
            ("{}", ""),
            (
                r#"{"begun":{"topic":"$all","from":4}}"#,
                "event: topic\ndata: {\"topic\":\"$all\",\"from\":4}\n\n",
            ),
            (
                r#"{"dropped":{"from":1,"until":3,"events":2},"records":[{"kind":"a"},{"kind":"b\n"}]}"#,
                "event: dropped\ndata: {\"from\":1,\"until\":3,\"events\":2}\n\n\
                 event: record\ndata: {\"kind\":\"a\"}\n\nevent: record\ndata: {\"kind\":\"b\\n\"}\n\n",
            ),
        ] {
            assert_eq!(said(notes).as_deref(), Ok(expected), "{notes}");
        }
        assert!(said("").is_err());
    }
}
