//! Arguments that several operations read from the head of a request.

use exesdb_sdk::arguments::{self, COUNT_MAX, InvalidArgument};

use crate::accept::essence;
use crate::limits::{PAGE_COUNT_DEFAULT, SOURCE_BYTES_MAX};
use crate::problem::{Kind, Problem, quoted};
use crate::query::{Query, percent_decode};
use crate::request::Head;
use crate::store_error::{Subject, problem};

pub(crate) fn count(query: &Query<'_>) -> Result<u32, Problem> {
    let count = query.number("count", 1, u64::from(COUNT_MAX))?;
    Ok(count.and_then(|count| u32::try_from(count).ok()).unwrap_or(PAGE_COUNT_DEFAULT))
}

pub(crate) fn stream_name(segment: &str) -> Result<String, Problem> {
    let name = percent_decode(segment).map_err(|bad| Problem::invalid("stream", bad))?;
    checked(arguments::check_stream_id("stream", &name))?;
    Ok(name.into_owned())
}

/// The given source of snapshots, which may be the empty one.
pub(crate) fn source(query: &Query<'_>) -> Result<Option<String>, Problem> {
    match query.get("source") {
        None => Ok(None),
        Some(source) => {
            checked(arguments::check_part("source", source, SOURCE_BYTES_MAX))?;
            Ok(Some(source.to_owned()))
        }
    }
}

/// Turns the violation of one of the store's rules into a problem.
pub(crate) fn checked(rule: Result<(), InvalidArgument>) -> Result<(), Problem> {
    rule.map_err(|error| problem(error, Subject::Store))
}

/// Checks that the headers declare a JSON body. A body without a type is refused: any web page can make a browser send
/// one, as it can with the types of HTML forms.
pub(crate) fn json_body(head: &Head<'_>) -> Result<(), Problem> {
    media_type(head, &["application/json"], "`application/json`").map(|_| ())
}

/// The media type of the body, one of `known`. Also checks that the body is not compressed.
pub(crate) fn media_type(
    head: &Head<'_>,
    known: &[&'static str],
    expected: &str,
) -> Result<&'static str, Problem> {
    let unsupported = |field: &str, found: &str, expected: &str| {
        let detail = format!("{} is not read; send {expected}", quoted(found));
        Problem::of_field(Kind::UnsupportedMediaType, field, detail)
    };
    let media_type = match head.header("content-type")? {
        None => {
            let detail = format!("is missing; send {expected}");
            return Err(Problem::of_field(Kind::UnsupportedMediaType, "content-type", detail));
        }
        Some(content_type) => {
            let essence = essence(&content_type);
            let found = known.iter().find(|known| known.eq_ignore_ascii_case(essence));
            *found.ok_or_else(|| unsupported("content-type", &content_type, expected))?
        }
    };
    if let Some(encoding) = head.header("content-encoding")?
        && !encoding.eq_ignore_ascii_case("identity")
    {
        return Err(unsupported("content-encoding", &encoding, "the body as it is"));
    }
    Ok(media_type)
}
