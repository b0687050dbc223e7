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
    /// Those that have to be asked for by name, the first one before the others where they are equally welcome: a
    /// browser or curl that takes anything wants a page.
    const NAMED: [Self; 3] = [Self::EventStream, Self::Frames, Self::Lines];

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

/// How welcome the forms are, in thousandths, as far as the header says.
#[derive(Clone, Copy, Debug, Default)]
struct Weights {
    json: u16,
    /// As in [`Form::NAMED`].
    named: [u16; Form::NAMED.len()],
}

/// The form that a reader of events wants: JSON unless another is named and at least as welcome.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly allows none.
pub fn form(head: &Head<'_>) -> Result<Form, Problem> {
    let Some(accept) = head.header("accept")? else { return Ok(Form::Json) };
    let weights = weights(&accept);
    let best = weights.named.into_iter().max().unwrap_or(0);
    let named = Form::NAMED.into_iter().zip(weights.named).find(|(_, weight)| *weight == best);
    match named {
        Some((form, weight)) if weight > 0 && weight >= weights.json => Ok(form),
        _ if weights.json > 0 || accept.is_empty() => Ok(Form::Json),
        _ => {
            let forms = [Form::Json, Form::EventStream, Form::Lines, Form::Frames].map(Form::media_type);
            Err(not_acceptable(&accept, &forms.join(", ")))
        }
    }
}

/// The form that a reader of one thing wants: JSON unless a line of it is named and at least as welcome.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly allows neither.
pub fn json_or_line(head: &Head<'_>) -> Result<Form, Problem> {
    let Some(accept) = head.header("accept")? else { return Ok(Form::Json) };
    let weights = weights(&accept);
    let line = Form::NAMED.into_iter().zip(weights.named).find(|(form, _)| *form == Form::Lines);
    match line {
        Some((form, weight)) if weight > 0 && weight >= weights.json => Ok(form),
        _ if weights.json > 0 || accept.is_empty() => Ok(Form::Json),
        _ => {
            let forms = [Form::Json, Form::Lines].map(Form::media_type);
            Err(not_acceptable(&accept, &forms.join(", ")))
        }
    }
}

/// Checks that JSON is acceptable.
///
/// # Errors
/// [`Kind::NotAcceptable`] if the header clearly does not allow it.
pub fn json_only(head: &Head<'_>) -> Result<(), Problem> {
    match head.header("accept")? {
        Some(accept) if !accept.is_empty() && weights(&accept).json == 0 => {
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
            weights.json = weight;
        }
        for (form, named) in Form::NAMED.into_iter().zip(&mut weights.named) {
            if name == form.media_type() {
                *named = weight;
            }
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
            ("application/x-ndjson, application/vnd.exesdb.events", frames, false),
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
            assert_eq!(form(&head).map_err(|problem| problem.kind), expected, "{accept}");
            assert_eq!(json_only(&head).is_ok(), json_acceptable, "{accept}");
            let one = match expected {
                Ok(Form::Lines) => lines,
                _ if json_acceptable => json,
                _ if accept.starts_with("application/x-ndjson,") => lines,
                _ => neither,
            };
            assert_eq!(json_or_line(&head).map_err(|problem| problem.kind), one, "{accept}");
        }
        let head = Head { method: "GET", target: "/", headers: &[] };
        assert_eq!(form(&head), Ok(Form::Json));
        assert_eq!(json_only(&head), Ok(()));
    }
}
