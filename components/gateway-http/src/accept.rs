//! The form of an answer: what the header `accept` allows.

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
}

/// How welcome each form is, in thousandths, as far as the header says.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    json: Option<u16>,
    event_stream: Option<u16>,
}

/// The form that a reader of events wants: JSON unless an event stream is named and at least as welcome.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly allows neither.
pub fn form(head: &Head<'_>) -> Result<Form, Problem> {
    let Some(accept) = head.header("accept")? else { return Ok(Form::Json) };
    let weights = weights(&accept);
    let json = weights.json.unwrap_or(0);
    let event_stream = weights.event_stream.unwrap_or(0);
    if event_stream > 0 && event_stream >= json {
        Ok(Form::EventStream)
    } else if json > 0 || accept.is_empty() {
        Ok(Form::Json)
    } else {
        Err(not_acceptable(&accept, "application/json and text/event-stream"))
    }
}

/// Checks that JSON is acceptable.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly does not allow it.
pub fn json_only(head: &Head<'_>) -> Result<(), Problem> {
    match head.header("accept")? {
        Some(accept) if !accept.is_empty() && weights(&accept).json.unwrap_or(0) == 0 => {
            Err(not_acceptable(&accept, "application/json"))
        }
        _ => Ok(()),
    }
}

fn not_acceptable(accept: &str, forms: &str) -> Problem {
    let detail = format!("{} allows none of the forms there are: {forms}", quoted(accept));
    Problem::of_field(Kind::NotAcceptable, "accept", detail)
}

fn weights(accept: &str) -> Weights {
    let mut weights = Weights::default();
    // How exactly JSON was named so far: the most exact range decides.
    let mut exactness = 0;
    for range in accept.split(',') {
        let name = essence(range).to_ascii_lowercase();
        let weight = weight(range);
        let json_exactness = match name.as_str() {
            "application/json" => 3,
            "application/problem+json" | "application/*" => 2,
            "*/*" => 1,
            _ => 0,
        };
        if json_exactness > exactness {
            exactness = json_exactness;
            weights.json = Some(weight);
        }
        // An event stream has to be asked for by name: a browser or curl that takes anything wants a page.
        if name == "text/event-stream" {
            weights.event_stream = Some(weight);
        }
    }
    weights
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
    use super::{Form, form, json_only};
    use crate::problem::Kind;
    use crate::route::Head;

    #[test]
    fn forms() {
        let json = Ok(Form::Json);
        let events = Ok(Form::EventStream);
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
            ("text/html", neither, false),
            ("text/*", neither, false),
            ("application/json;q=nonsense", json, true),
            ("application/json;q=-1;;=;q", json, true),
            (",,;;,", neither, false),
        ] {
            let headers = [("Accept".to_owned(), accept.as_bytes().to_vec())];
            let head = Head { method: "GET", target: "/", headers: &headers };
            assert_eq!(form(&head).map_err(|problem| problem.kind), expected, "{accept}");
            assert_eq!(json_only(&head).is_ok(), json_acceptable, "{accept}");
        }
        let head = Head { method: "GET", target: "/", headers: &[] };
        assert_eq!(form(&head), Ok(Form::Json));
        assert_eq!(json_only(&head), Ok(()));
    }
}
