//! Writing a response.

use std::fmt;

use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{OutputStream, StreamError};

/// The reason why a response was not written completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RespondError {
    /// The status or a header is not valid HTTP. Nothing was sent, and the client gets a 500 from the host.
    InvalidHead(String),
    /// The client is gone, or the host closed the connection: stop writing. This is how most long responses end.
    Gone,
}

impl fmt::Display for RespondError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidHead(text) => write!(out, "the head of the response is not valid: {text}"),
            Self::Gone => out.write_str("the client is gone"),
        }
    }
}

impl std::error::Error for RespondError {}

/// Sends a complete response, with its `content-length`. A `body` of none, for status 204 and responses to `HEAD`, is not
/// the same as an empty one.
///
/// # Errors
/// [`RespondError`].
pub fn respond(
    out: ResponseOutparam,
    status: u16,
    headers: &[(&str, &[u8])],
    body: Option<&[u8]>,
) -> Result<(), RespondError> {
    let Some(bytes) = body else {
        ResponseOutparam::set(out, Ok(response(status, headers, None)?));
        return Ok(());
    };
    let response = response(status, headers, Some(bytes.len()))?;
    let body = StreamingBody::of(&response)?;
    // Bytes that the connection takes without blocking are written before the head, so that a short response is sent in
    // one piece. The rest must wait until the head is sent, because before that nobody reads.
    let at_once = body.write_some(bytes)?;
    let rest = bytes.get(at_once..).unwrap_or_default();
    if rest.is_empty() {
        body.finish()?;
        ResponseOutparam::set(out, Ok(response));
        return Ok(());
    }
    ResponseOutparam::set(out, Ok(response));
    body.write(rest)?;
    body.finish()
}

/// Sends the head of a response at once, and returns the body to write.
///
/// # Errors
/// [`RespondError`].
pub fn respond_streaming(
    out: ResponseOutparam,
    status: u16,
    headers: &[(&str, &[u8])],
) -> Result<StreamingBody, RespondError> {
    let response = response(status, headers, None)?;
    let body = StreamingBody::of(&response)?;
    ResponseOutparam::set(out, Ok(response));
    Ok(body)
}

fn response(
    status: u16,
    headers: &[(&str, &[u8])],
    content_length: Option<usize>,
) -> Result<OutgoingResponse, RespondError> {
    let mut entries: Vec<Entry> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
    if let Some(length) = content_length {
        entries.push(("content-length".to_owned(), length.to_string().into_bytes()));
    }
    let fields = Fields::from_list(&entries).map_err(|error| {
        let is_wrong = |entry: &&Entry| Fields::from_list(std::slice::from_ref(*entry)).is_err();
        RespondError::InvalidHead(format!("{}: {error:?}", wrong_header(&entries, is_wrong)))
    })?;
    let response = OutgoingResponse::new(fields);
    response
        .set_status_code(status)
        .map_err(|()| RespondError::InvalidHead(format!("the status {status}")))?;
    Ok(response)
}

/// The name and value of a header.
type Entry = (String, Vec<u8>);

/// Names the header that is not valid: the error for the whole list does not say which one it is.
fn wrong_header(entries: &[Entry], is_wrong: impl FnMut(&&Entry) -> bool) -> String {
    match entries.iter().find(is_wrong) {
        Some((name, value)) => {
            format!("the header {name:?} with the value {:?}", String::from_utf8_lossy(value))
        }
        None => "the headers together".to_owned(),
    }
}

/// The body of a streamed response. Dropping it without [`finish`](Self::finish) aborts the response, which the client can
/// detect.
#[derive(Debug)]
pub struct StreamingBody {
    // Fields are dropped in order. The stream belongs to the body, so it must be dropped first.
    stream: OutputStream,
    body: OutgoingBody,
}

impl StreamingBody {
    fn of(response: &OutgoingResponse) -> Result<Self, RespondError> {
        let taken = |()| RespondError::InvalidHead("the body was taken before".to_owned());
        let body = response.body().map_err(taken)?;
        let stream = body.write().map_err(taken)?;
        Ok(Self { stream, body })
    }

    /// Writes and flushes bytes. Blocks while the client is slower.
    ///
    /// # Errors
    /// [`RespondError::Gone`].
    pub fn write(&self, mut bytes: &[u8]) -> Result<(), RespondError> {
        loop {
            let written = self.write_some(bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            self.stream.subscribe().block();
        }
        self.stream.flush().map_err(gone)
    }

    /// Completes the body.
    ///
    /// # Errors
    /// [`RespondError::Gone`].
    pub fn finish(self) -> Result<(), RespondError> {
        drop(self.stream);
        OutgoingBody::finish(self.body, None).map_err(|_| RespondError::Gone)
    }

    /// Writes as many bytes as possible without blocking, and returns how many.
    fn write_some(&self, bytes: &[u8]) -> Result<usize, RespondError> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            let permit = usize::try_from(self.stream.check_write().map_err(gone)?).unwrap_or(usize::MAX);
            let piece = rest.get(..permit.min(rest.len())).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            self.stream.write(piece).map_err(gone)?;
            written += piece.len();
        }
        Ok(written)
    }
}

/// After any stream error, nothing more can be written.
fn gone(_: StreamError) -> RespondError {
    RespondError::Gone
}

#[cfg(test)]
mod tests {
    use super::{RespondError, wrong_header};

    #[test]
    fn the_invalid_header_is_named_and_escaped() {
        let entry = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
        let entries = [entry("x-good", b"a"), entry("x-bad", b"a\nb"), entry("x-worse", b"\xff\r")];
        let has_control = |entry: &&super::Entry| entry.1.iter().any(|byte| *byte < b' ');
        let named = wrong_header(&entries, has_control);
        assert_eq!(named, "the header \"x-bad\" with the value \"a\\nb\"");
        let text = RespondError::InvalidHead(named).to_string();
        assert!(text.starts_with("the head of the response is not valid: the header \"x-bad\""), "{text}");
        assert_eq!(wrong_header(&entries[..1], has_control), "the headers together");
    }
}
