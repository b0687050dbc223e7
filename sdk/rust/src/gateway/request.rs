//! Reading a request.

use std::fmt;

use wasip2::http::types::{ErrorCode, IncomingBody, IncomingRequest, Method, http_error_code};
use wasip2::io::streams::StreamError;

/// Bytes asked for in one read: a typical body at once, without a large buffer for a small one.
const READ_BYTES: usize = 64 << 10;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than the limit. What lies beyond was not read.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// It broke off before its end.
    Incomplete,
    /// It took longer than the host waits for a body.
    TooSlow,
    /// It was read before.
    Taken,
}

impl fmt::Display for BodyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(out, "the body is longer than {limit} bytes"),
            Self::Incomplete => out.write_str("the body broke off before its end"),
            Self::TooSlow => out.write_str("the body took too long"),
            Self::Taken => out.write_str("the body was read before"),
        }
    }
}

impl std::error::Error for BodyError {}

/// The request's method as in HTTP: `GET`.
pub fn method_name(request: &IncomingRequest) -> String {
    match request.method() {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(name) => name,
    }
}

/// The request's headers, names and values, in the order in which they came.
pub fn header_entries(request: &IncomingRequest) -> Vec<(String, Vec<u8>)> {
    request.headers().entries()
}

/// Reads the whole body if it is at most `limit` bytes long, and stops reading as soon as it is not.
///
/// # Errors
/// [`BodyError`]. A body can be read only once.
pub fn read_body(request: &IncomingRequest, limit: usize) -> Result<Vec<u8>, BodyError> {
    let announced = announced_length(&request.headers().get("content-length"));
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge { limit });
    }
    // The announcement is the client's word: it saves asking for more when all is there, and reserves little.
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let taken = |()| BodyError::Taken;
    let incoming: IncomingBody = request.consume().map_err(taken)?;
    let stream = incoming.stream().map_err(taken)?;
    let mut body = Vec::with_capacity(announced.unwrap_or(0).min(READ_BYTES));
    while announced != Some(body.len()) {
        // One byte more than is allowed shows that the body is too long.
        let wanted = limit.saturating_add(1).saturating_sub(body.len()).min(READ_BYTES);
        match stream.blocking_read(wanted as u64) {
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => break,
            // The error's own text is for the host's developers, and may hold a backtrace.
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(match http_error_code(&error) {
                    Some(ErrorCode::ConnectionReadTimeout) => BodyError::TooSlow,
                    _ => BodyError::Incomplete,
                });
            }
        }
        if body.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
    }
    Ok(body)
}

/// The length in a `content-length` header, if there is just one and it is a number.
fn announced_length(values: &[Vec<u8>]) -> Option<u64> {
    let [value] = values else { return None };
    let text = std::str::from_utf8(value).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::announced_length;

    #[test]
    fn a_length_is_announced_by_one_number() {
        for (values, expected) in [
            (&["12"][..], Some(12)),
            (&["0"], Some(0)),
            (&[], None),
            (&["1", "1"], None),
            (&[""], None),
            (&["-1"], None),
            (&["+1"], None),
            (&["99999999999999999999"], None),
        ] {
            let values: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
            assert_eq!(announced_length(&values), expected);
        }
    }
}
