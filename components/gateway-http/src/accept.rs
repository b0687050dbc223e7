//! The form of an answer: what the header `accept` allows.

use crate::frame;
use crate::json::essence;
use crate::problem::{Kind, Problem, quoted};
use crate::route::Head;

/// The forms that events have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON page.
    Json,
    /// Server-sent events.
    EventStream,
    /// Page after page, one event on each line.
    Lines,
    /// Page after page, one event in each binary frame.
    Frames,
}

impl Form {
    /// The form's media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::EventStream => "text/event-stream",
            Self::Lines => "application/x-ndjson",
            Self::Frames => frame::MEDIA_TYPE,
        }
    }
}

/// How welcome a form is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Welcome {
    /// In thousandths; 0 if it is not welcome at all.
    weight: u16,
    /// Where in the header the form stands by its name; none if only a wildcard lets it in.
    named_at: Option<usize>,
}

impl Welcome {
    /// What comes first in this order is sent: the highest weight; of equal ones, those that are named before those that
    /// a wildcard lets in; of these, in the order of the header.
    fn rank(self) -> (u16, std::cmp::Reverse<usize>) {
        (self.weight, std::cmp::Reverse(self.named_at.unwrap_or(usize::MAX)))
    }
}

/// The form that a reader of events wants. A read that is `bounded`, as by `count`, has an end, which an event stream does
/// not have: that is sent only to those who want nothing else, and who are told then.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly allows none.
pub fn form(head: &Head<'_>, bounded: bool) -> Result<Form, Problem> {
    let all = [Form::Json, Form::EventStream, Form::Lines, Form::Frames];
    if bounded && let Ok(form) = best(head, &[Form::Json, Form::Lines, Form::Frames]) {
        return Ok(form);
    }
    best(head, &all)
}

/// The form that a reader of one thing wants: JSON, or a line of it.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly allows neither.
pub fn json_or_line(head: &Head<'_>) -> Result<Form, Problem> {
    best(head, &[Form::Json, Form::Lines])
}

/// The most welcome of the forms that there are; the first of them without a header.
fn best(head: &Head<'_>, forms: &[Form]) -> Result<Form, Problem> {
    let Some(accept) = head.header("accept")?.filter(|accept| !accept.is_empty()) else {
        return Ok(Form::Json);
    };
    let welcomes = forms.iter().map(|form| (*form, welcome(&accept, *form)));
    // Of equal ones the first: `max_by_key` alone gives the last.
    match welcomes.rev().max_by_key(|(_, welcome)| welcome.rank()) {
        Some((form, welcome)) if welcome.weight > 0 => Ok(form),
        _ => Err(not_acceptable(
            &accept,
            &forms.iter().map(|form| form.media_type()).collect::<Vec<_>>().join(", "),
        )),
    }
}

/// Checks that JSON is acceptable.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly does not allow it.
pub fn json_only(head: &Head<'_>) -> Result<(), Problem> {
    match head.header("accept")? {
        Some(accept) if !accept.is_empty() && welcome(&accept, Form::Json).weight == 0 => {
            Err(not_acceptable(&accept, "application/json"))
        }
        _ => Ok(()),
    }
}

fn not_acceptable(accept: &str, forms: &str) -> Problem {
    let detail = format!("{} allows none of the forms there are: {forms}", quoted(accept));
    Problem::of_field(Kind::NotAcceptable, "accept", detail)
}

/// How welcome a form is, as far as the header says. Only JSON is let in by a wildcard: a browser or curl that takes
/// anything wants a page.
fn welcome(accept: &str, form: Form) -> Welcome {
    let mut welcome = Welcome::default();
    // How exactly the form was named so far: the most exact range decides.
    let mut exactness = 0;
    for (at, range) in accept.split(',').enumerate() {
        let name = essence(range).to_ascii_lowercase();
        let found = match name.as_str() {
            name if name == form.media_type() => 3,
            "application/problem+json" | "application/*" if form == Form::Json => 2,
            "*/*" if form == Form::Json => 1,
            _ => 0,
        };
        if found > exactness {
            exactness = found;
            welcome = Welcome { weight: weight(range), named_at: (found == 3).then_some(at) };
        }
    }
    welcome
}

/// The parameter `q` of a media range in thousandths: 1,000 without one or with one that cannot be read.
fn weight(range: &str) -> u16 {
    range
        .split(';')
        .skip(1)
        .find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
        })
        .and_then(|value| value.parse::<f32>().ok())
        .filter(|quality| (0.0..=1.0).contains(quality))
        .map_or(1_000, |quality| (quality * 1_000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::{Form, form, json_only, json_or_line};
    use crate::problem::Kind;
    use crate::route::Head;

    #[test]
    fn forms() {
        let json = Ok(Form::Json);
        let events = Ok(Form::EventStream);
        let (lines, frames) = (Ok(Form::Lines), Ok(Form::Frames));
        let neither = Err(Kind::NotAcceptable);
        for (accept, expected, json_acceptable) in [
            ("", json, true),
            ("*/*", json, true),
            ("application/json", json, true),
            ("Application/*;q=0.5", json, true),
            ("text/html, application/xhtml+xml, */*;q=0.8", json, true),
            ("text/event-stream", events, false),
            ("text/event-stream, */*", events, true),
            ("TEXT/Event-Stream; q=0.9, application/json;q=0.1", events, true),
            ("text/event-stream; q=0.1, application/json", json, true),
            ("text/event-stream;q=0, */*", json, true),
            ("text/event-stream;q=0", neither, false),
            ("application/json;q=0, */*", neither, false),
            ("application/x-ndjson", lines, false),
            ("Application/X-NDJSON, */*;q=0.1", lines, true),
            ("application/x-ndjson;q=0.5, application/json", json, true),
            ("application/vnd.exesdb.events", frames, false),
            ("application/x-ndjson, application/vnd.exesdb.events", lines, false),
            ("application/vnd.exesdb.events, application/x-ndjson", frames, false),
            ("application/json, text/event-stream", json, true),
            ("text/event-stream, application/json", events, true),
            ("*/*, text/event-stream", events, true),
            ("application/json;q=0.9, text/event-stream;q=0.8, */*;q=0.1", json, true),
            ("application/json;q=0.5, text/event-stream;q=0.8", events, true),
            ("application/json;q=0.5, application/x-ndjson;q=0.5", json, true),
            ("application/x-ndjson, application/vnd.exesdb.events;q=0.9", lines, false),
            ("application/x-ndjson;q=0, application/vnd.exesdb.events;q=0", neither, false),
            ("text/html", neither, false),
            ("text/*", neither, false),
            ("application/json;q=nonsense", json, true),
            ("application/json;q=-1;;=;q", json, true),
            (",,;;,", neither, false),
        ] {
            let headers = [("Accept".to_owned(), accept.as_bytes().to_vec())];
            let head = Head { method: "GET", target: "/", headers: &headers };
            assert_eq!(form(&head, false).map_err(|problem| problem.kind), expected, "{accept}");
            assert_eq!(json_only(&head).is_ok(), json_acceptable, "{accept}");
            let one = match expected {
                Ok(Form::Lines) => lines,
                _ if json_acceptable => json,
                _ if accept.contains("application/x-ndjson") && !accept.contains("ndjson;q=0") => lines,
                _ => neither,
            };
            assert_eq!(json_or_line(&head).map_err(|problem| problem.kind), one, "{accept}");
        }
        let head = Head { method: "GET", target: "/", headers: &[] };
        assert_eq!(form(&head, false), Ok(Form::Json));
        assert_eq!(json_only(&head), Ok(()));
    }

    #[test]
    fn a_bounded_read_is_an_event_stream_only_for_those_who_want_nothing_else() {
        for (accept, expected) in [
            ("application/json, text/event-stream", Form::Json),
            ("text/event-stream, application/json", Form::Json),
            ("text/event-stream, application/json;q=0.1", Form::Json),
            ("text/event-stream, */*;q=0.1", Form::Json),
            ("text/event-stream, application/x-ndjson", Form::Lines),
            ("text/event-stream", Form::EventStream),
            ("text/event-stream, application/json;q=0", Form::EventStream),
        ] {
            let headers = [("accept".to_owned(), accept.as_bytes().to_vec())];
            let head = Head { method: "GET", target: "/", headers: &headers };
            assert_eq!(form(&head, true), Ok(expected), "{accept}");
        }
    }
}
