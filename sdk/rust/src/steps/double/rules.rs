//! What a step may consist of, whatever came before it. A panic names the rule.

use super::wire::{Action, Bulk, Intake, NumberedCall, Pending};
use crate::steps::{Call, Header, Marks, Response, ResponseHead};
use crate::types::Source;

/// The most bytes of a token.
const TOKEN_BYTES_MAX: usize = 64 << 10;

/// The most actions of a step.
const ACTIONS_MAX: usize = 256;

/// The most bytes of the context of a call.
const CONTEXT_BYTES_MAX: usize = 4 << 10;

/// The most bytes of a piece of a body.
const PIECE_BYTES_MAX: u32 = 9 << 20;

/// The most bytes of a page.
const PAGE_BYTES_MAX: u32 = 1 << 20;

/// The most bytes of a representation.
const REPRESENTATION_BYTES_MAX: usize = 256;

/// The most headers of a response, and the most trailers.
const HEADERS_MAX: usize = 100;

/// The most bytes of their names and values.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Headers that are the connection's.
const OF_THE_CONNECTION: [&str; 6] =
    ["connection", "transfer-encoding", "upgrade", "proxy-authenticate", "keep-alive", "proxy-connection"];

/// Checks the token of a step and the number of its actions.
pub(super) fn pending(pending: &Pending) {
    let Pending { token, actions } = pending;
    assert!(token.len() <= TOKEN_BYTES_MAX, "the token has {} bytes (P18)", token.len());
    assert!(actions.len() <= ACTIONS_MAX, "the step has {} actions (P32)", actions.len());
    let end = actions.iter().position(|action| matches!(action, Action::Finish(_)));
    assert!(end.is_none_or(|end| end + 1 == actions.len()), "an action after `finish` (P5)");
    if token.is_empty() {
        let may = actions.iter().all(|action| matches!(action, Action::Call(_) | Action::Receive(_)));
        assert!(may, "a step that runs again has other actions than `call` and `receive` (P16)");
    }
}

pub(super) fn call(call: &NumberedCall) {
    let bytes = call.context.len();
    assert!(bytes <= CONTEXT_BYTES_MAX, "the context of call {} has {bytes} bytes (P24)", call.id);
    let is_append = matches!(&call.call, Call::Write(write) if write.request.appends.len() == 1);
    assert!(call.held.is_none() || is_append, "call {} has held events and is no append (P25)", call.id);
}

pub(super) fn intake(intake: &Intake) {
    let Intake { at_least, at_most, .. } = *intake;
    let is_good = at_least <= at_most && (1..=PIECE_BYTES_MAX).contains(&at_most);
    assert!(is_good, "`receive` of at least {at_least} and at most {at_most} bytes (P29)");
}

pub(super) fn bulk(bulk: &Bulk) {
    let (token, representation) = (bulk.token.len(), bulk.representation.len());
    assert!(token <= TOKEN_BYTES_MAX, "the token has {token} bytes (P18)");
    assert!(
        representation <= REPRESENTATION_BYTES_MAX,
        "the representation has {representation} bytes (P19)"
    );
    assert!((1..=PAGE_BYTES_MAX).contains(&bulk.page_bytes), "a page of {} bytes (P20)", bulk.page_bytes);
    let wants_idle = bulk.marks & Marks::IDLE == Marks::IDLE;
    assert!(!wants_idle || bulk.idle_ms > 0, "the mark `idle` after 0 milliseconds (P21)");
    let is_all = matches!(bulk.query.selection.source, Source::All(_));
    assert!(bulk.query.filter.is_none() || is_all, "a read of one stream has a filter");
    head(&bulk.head);
    let says_length = bulk.head.headers.iter().any(|header| header.name == "content-length");
    assert!(!says_length, "`content-length` without a whole body (Q8)");
}

/// Checks a whole response.
pub(super) fn response(response: &Response, is_head: bool) {
    head(&response.head);
    trailers(&response.trailers);
    let mut lengths = response.head.headers.iter().filter(|header| header.name == "content-length");
    if let Some(length) = lengths.next() {
        let of_body = response.body.len().to_string();
        let is_good = is_head || response.trailers.is_empty() && length.value == of_body.as_bytes();
        assert!(is_good && lengths.next().is_none(), "`content-length` is not that of the body (Q8)");
    }
}

/// Checks the head of a response whose body comes in parts.
pub(super) fn started(head: &ResponseHead) {
    self::head(head);
    let says_length = head.headers.iter().any(|header| header.name == "content-length");
    assert!(!says_length, "`content-length` without a whole body (Q8)");
}

pub(super) fn trailers(trailers: &[Header]) {
    headers(trailers);
    let says_length = trailers.iter().any(|header| header.name == "content-length");
    assert!(!says_length, "`content-length` among the trailers (Q8)");
}

fn head(head: &ResponseHead) {
    assert!((200..=999).contains(&head.status), "the status {} (Q7)", head.status);
    headers(&head.headers);
}

fn headers(headers: &[Header]) {
    let bytes: usize = headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    let count = headers.len();
    assert!(count <= HEADERS_MAX && bytes <= HEADER_BYTES_MAX, "{count} headers of {bytes} bytes (Q8)");
    for Header { name, value } in headers {
        let is_of_name = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        };
        assert!(!name.is_empty() && name.bytes().all(is_of_name), "{name:?} names no header (Q9)");
        assert!(!OF_THE_CONNECTION.contains(&name.as_str()), "the header {name} is the connection's (Q8)");
        let is_of_value = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        assert!(value.iter().all(is_of_value), "the header {name} has a value that HTTP does not allow (Q8)");
    }
}
