//! What a step may consist of, whatever came before it. Pure.

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;

use super::limits::{CONTEXT_BYTES_MAX, PIECE_BYTES_MAX, REPRESENTATION_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::bindings::gateway::requests::{Call, Header, Response, ResponseHead};
use crate::bindings::gateway::steps::{Bulk, Intake, Marks, NumberedCall};
use crate::bindings::store::snapshot_types::SnapshotRequest;
use crate::bindings::store::types::Source;
use crate::long_read::PAGE_BYTES_MAX;
use crate::text::printable;

/// The step breaks the contract; the text says how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Breach(pub(super) String);

/// Headers of a response that are the connection's, and so the host's.
const HEADERS_OF_THE_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Headers of a response, or its trailers: as many as clients usually accept.
const HEADERS_MAX: usize = 100;

/// Bytes of their names and values.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Bytes of a name that a breach shows.
const NAME_BYTES_SHOWN: usize = 64;

/// A breach, if it is one.
pub(super) fn unless(holds: bool, breach: impl FnOnce() -> String) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(Breach(breach())) }
}

pub(super) fn token(token: &[u8]) -> Result<(), Breach> {
    unless(token.len() <= TOKEN_BYTES_MAX, || {
        format!("the token has {} bytes, over the limit of {TOKEN_BYTES_MAX}", token.len())
    })
}

/// What comes with the head of a response.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// A whole body of so many bytes.
    Whole(usize),
    /// The parts of a body, one after the other.
    Streamed,
    /// Nothing, because the client asked for the head alone.
    None,
}

impl Content {
    /// That of a whole response.
    pub(super) fn of(response: &Response, is_head: bool) -> Self {
        match response.body.len() {
            _ if is_head => Self::None,
            // Trailers come after parts.
            length if response.trailers.is_empty() => Self::Whole(length),
            _ => Self::Streamed,
        }
    }
}

/// The head of a response.
pub(super) fn head(head: &ResponseHead, content: Content) -> Result<Parts, Breach> {
    let status = StatusCode::from_u16(head.status).ok().filter(|status| status.as_u16() >= 200);
    let status = status.ok_or_else(|| Breach(format!("{} is no status of a response", head.status)))?;
    let headers = headers(&head.headers)?;
    let mut said = headers.get_all(header::CONTENT_LENGTH).iter();
    if let Some(length) = said.next() {
        let length = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = length.and_then(|text| text.parse::<usize>().ok());
        let is_that_of_the_body = match content {
            Content::Whole(bytes) => length == Some(bytes),
            Content::Streamed => false,
            Content::None => length.is_some(),
        };
        unless(is_that_of_the_body && said.next().is_none(), || {
            "the header content-length is not that of the body".to_owned()
        })?;
    }
    let (mut parts, ()) = http::Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, headers);
    Ok(parts)
}

/// Headers or trailers.
pub(super) fn headers(list: &[Header]) -> Result<HeaderMap, Breach> {
    let bytes: usize = list.iter().map(|header| header.name.len() + header.value.len()).sum();
    unless(list.len() <= HEADERS_MAX && bytes <= HEADER_BYTES_MAX, || {
        format!("{} headers of {bytes} bytes; there may be {HEADERS_MAX} of {HEADER_BYTES_MAX}", list.len())
    })?;
    let mut headers = HeaderMap::new();
    for Header { name, value } in list {
        let shown = || printable(name, NAME_BYTES_SHOWN);
        let known = HeaderName::from_bytes(name.as_bytes()).ok().filter(|known| known.as_str() == name);
        let known =
            known.ok_or_else(|| Breach(format!("`{}` is no name of a header in lower case", shown())))?;
        unless(!HEADERS_OF_THE_CONNECTION.contains(&known), || {
            format!("the header `{}` is the host's", shown())
        })?;
        let value = HeaderValue::from_bytes(value)
            .map_err(|_| Breach(format!("the header `{}` has a value that HTTP does not allow", shown())))?;
        headers.append(known, value);
    }
    Ok(headers)
}

/// Trailers, which say nothing of the body that they follow.
pub(super) fn trailers(list: &[Header]) -> Result<HeaderMap, Breach> {
    let trailers = headers(list)?;
    let says_length = trailers.contains_key(header::CONTENT_LENGTH);
    unless(!says_length, || "the header content-length among the trailers".to_owned())?;
    Ok(trailers)
}

/// A bulk read.
pub(super) fn bulk(bulk: &Bulk) -> Result<(), Breach> {
    token(&bulk.token)?;
    head(&bulk.head, Content::Streamed)?;
    let (bytes, pages) = (bulk.representation.len(), bulk.page_bytes);
    unless(bytes <= REPRESENTATION_BYTES_MAX, || {
        format!("the representation has {bytes} bytes, over the limit of {REPRESENTATION_BYTES_MAX}")
    })?;
    unless((1..=PAGE_BYTES_MAX).contains(&pages), || {
        format!("page-bytes is {pages}; it must be 1 to {PAGE_BYTES_MAX}")
    })?;
    unless(!bulk.marks.contains(Marks::IDLE) || bulk.idle_ms > 0, || {
        "idle-ms is 0; it must be at least 1".to_owned()
    })?;
    let is_all = matches!(bulk.query.selection.source, Source::All(_));
    unless(bulk.query.filter.is_none() || is_all, || "a read of one stream has a filter".to_owned())
}

/// What is taken of the body.
pub(super) fn intake(intake: &Intake) -> Result<(), Breach> {
    let Intake { at_least, at_most, .. } = *intake;
    unless(at_least <= at_most && (1..=PIECE_BYTES_MAX).contains(&at_most), || {
        format!(
            "receive: at least {at_least} and at most {at_most} bytes; a piece has 1 to {PIECE_BYTES_MAX}"
        )
    })
}

/// A call.
pub(super) fn call(call: &NumberedCall) -> Result<(), Breach> {
    let (id, bytes) = (call.id, call.context.len());
    unless(bytes <= CONTEXT_BYTES_MAX, || {
        format!("call {id} has a context of {bytes} bytes, over the limit of {CONTEXT_BYTES_MAX}")
    })?;
    let is_append = matches!(&call.call, Call::Write(write) if write.request.appends.len() == 1);
    unless(call.held.is_none() || is_append, || {
        format!("call {id} has held events and is no write of one append")
    })
}

/// Bytes of what a call writes.
pub(super) fn call_bytes(call: &Call) -> usize {
    match call {
        Call::Write(write) => write.request.appends.iter().map(|append| append.events.len()).sum(),
        Call::ImportEvents(import) => import.events.len(),
        Call::ChangeSnapshot(SnapshotRequest::Put(new)) => {
            new.snapshot.data.len() + new.snapshot.metadata.len()
        }
        Call::Named(named) => named.payload.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Breach, Content, bulk, call, head, headers, intake, token, trailers};
    use crate::bindings::gateway::requests::{Call, Header, Query, ResponseHead, WriteCall};
    use crate::bindings::gateway::steps::{Bulk, Intake, Marks, NumberedCall};
    use crate::bindings::store::places::Direction;
    use crate::bindings::store::types::{
        AllSelection, Append, EventFilter, ExpectedVersion, Selection, Source, StreamSelection, WriteRequest,
    };

    fn header(name: &str, value: &[u8]) -> Header {
        Header { name: name.into(), value: value.to_vec() }
    }

    fn expect<T: std::fmt::Debug>(checked: Result<T, Breach>, expected: Option<&str>) {
        match (checked, expected) {
            (Ok(_), None) => {}
            (Err(Breach(text)), Some(part)) => assert!(text.contains(part), "{text}\nexpected {part}"),
            (checked, expected) => panic!("{checked:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_head_is_one_that_can_be_sent() {
        let long = |said: &[u8]| vec![header("content-length", said)];
        let (three, streamed, none) = (Content::Whole(3), Content::Streamed, Content::None);
        let table = [
            (200, vec![header("content-type", b"text/plain"), header("x-y", b"\xff")], three, None),
            (599, Vec::new(), streamed, None),
            (404, long(b"3"), three, None),
            (200, long(b"4"), none, None),
            (0, Vec::new(), streamed, Some("0 is no status")),
            (101, Vec::new(), streamed, Some("101 is no status")),
            (1_000, Vec::new(), streamed, Some("1000 is no status")),
            (200, long(b"4"), three, Some("content-length")),
            (200, long(b"+3"), three, Some("content-length")),
            (200, long(b"3"), streamed, Some("content-length")),
            (200, long(b"x"), none, Some("content-length")),
            (200, [long(b"3"), long(b"3")].concat(), three, Some("content-length")),
            (200, [long(b"3"), long(b"4")].concat(), none, Some("content-length")),
            (200, vec![header("Content-Type", b"x")], three, Some("lower case")),
            (200, vec![header("a b", b"x")], three, Some("lower case")),
            (200, vec![header("", b"x")], three, Some("lower case")),
            (200, vec![header("x", b"a\r\nb: c")], three, Some("does not allow")),
            (200, vec![header("transfer-encoding", b"chunked")], three, Some("is the host's")),
            (200, vec![header("connection", b"close")], three, Some("is the host's")),
        ];
        for (status, headers, content, expected) in table {
            expect(head(&ResponseHead { status, headers }, content), expected);
        }
        expect(headers(&vec![header("x", b"y"); 100]), None);
        expect(headers(&vec![header("x", b"y"); 101]), Some("101 headers of 202 bytes"));
        expect(headers(&[header("x", &[b'y'; 64 << 10])]), Some("1 headers of 65537 bytes"));
        expect(trailers(&[header("grpc-status", b"0")]), None);
        expect(trailers(&[header("content-length", b"0")]), Some("among the trailers"));
        let same =
            headers(&[header("set-cookie", b"a"), header("set-cookie", b"b")]).expect("they are valid");
        assert_eq!(same.get_all("set-cookie").iter().count(), 2);
    }

    fn read(source: Source) -> Query {
        let selection =
            Selection { source, direction: Direction::Forward, count: 0, max_bytes: 0, options: Vec::new() };
        Query { selection, filter: None, at_least: None, history_id: None }
    }

    fn filter() -> EventFilter {
        EventFilter {
            query: Vec::new(),
            stream_prefixes: Vec::new(),
            stream_pattern: None,
            type_pattern: None,
            correlation_id: None,
            causation_id: None,
            options: Vec::new(),
        }
    }

    #[test]
    fn a_bulk_read_has_bounds() {
        let good = || Bulk {
            query: read(Source::All(AllSelection { from: None, until: None })),
            token: Vec::new(),
            follow: true,
            head: ResponseHead { status: 200, headers: Vec::new() },
            representation: vec![0; 256],
            as_is: false,
            opening: Vec::new(),
            page_bytes: 1 << 20,
            marks: Marks::empty(),
            idle_ms: 0,
            progress_every: 0,
            progress_ms: 0,
            within_ms: None,
        };
        type Change = fn(&mut Bulk);
        let table: [(Change, Option<&str>); 10] = [
            (|_| (), None),
            (|bulk| bulk.query.filter = Some(filter()), None),
            (|bulk| bulk.page_bytes = 0, Some("page-bytes is 0")),
            (|bulk| bulk.page_bytes = (1 << 20) + 1, Some("page-bytes is 1048577")),
            (|bulk| bulk.representation = vec![0; 257], Some("257 bytes")),
            (|bulk| bulk.token = vec![0; (64 << 10) + 1], Some("65537 bytes")),
            (|bulk| bulk.marks = Marks::IDLE, Some("idle-ms is 0")),
            (|bulk| bulk.head.status = 99, Some("99 is no status")),
            (|bulk| bulk.head.headers = vec![header("content-length", b"1")], Some("content-length")),
            (
                |bulk| {
                    let stream = StreamSelection { stream_id: "s".into(), from: None };
                    bulk.query = Query { filter: Some(filter()), ..read(Source::OneStream(stream)) };
                },
                Some("one stream has a filter"),
            ),
        ];
        for (change, expected) in table {
            let mut changed = good();
            change(&mut changed);
            expect(bulk(&changed), expected);
        }
    }

    #[test]
    fn tokens_pieces_and_contexts_have_bounds() {
        expect(token(&[0; 64 << 10]), None);
        expect(token(&[0; (64 << 10) + 1]), Some("65537 bytes"));
        let most = 9 << 20;
        for (at_least, at_most, expected) in [
            (0, 1, None),
            (most, most, None),
            (0, 0, Some("at most 0")),
            (2, 1, Some("at least 2")),
            (0, most + 1, Some("at most 9437185")),
        ] {
            expect(intake(&Intake { used: 0, at_least, until: None, at_most }), expected);
        }
        let write = |appends| {
            let append = Append { stream_id: "s".into(), expected: ExpectedVersion::Any, events: Vec::new() };
            let request = WriteRequest {
                appends: vec![append; appends],
                checks: Vec::new(),
                conditions: Vec::new(),
                options: Vec::new(),
            };
            Call::Write(WriteCall { request, histories: Vec::new() })
        };
        for (made, context, held, expected) in [
            (Call::LogEnd, 4 << 10, None, None),
            (Call::LogEnd, (4 << 10) + 1, None, Some("4097 bytes")),
            (write(1), 0, Some(1), None),
            (write(2), 0, Some(1), Some("no write of one append")),
            (Call::LogEnd, 0, Some(1), Some("no write of one append")),
        ] {
            let context = vec![0; context];
            let (in_order, within_ms, options) = (false, None, Vec::new());
            expect(
                call(&NumberedCall { id: 7, call: made, context, held, in_order, within_ms, options }),
                expected,
            );
        }
    }
}
