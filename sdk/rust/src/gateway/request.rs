//! Reading a request.

use std::fmt;

use wasip2::http::types::{ErrorCode, IncomingBody, IncomingRequest, Method, http_error_code};
use wasip2::io::streams::StreamError;

/// Bytes per read: enough for a typical body, without a large buffer for a small one.
const READ_BYTES: usize = 64 << 10;

/// The reason why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The body is longer than the limit. Bytes beyond the limit were not read.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body ended prematurely.
    Incomplete,
    /// The body took longer than the host waits for one.
    TooSlow,
    /// The body was read before.
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

/// The request's HTTP method, such as `GET`.
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

/// The names and values of the request's headers, in the order received.
pub fn header_entries(request: &IncomingRequest) -> Vec<(String, Vec<u8>)> {
    request.headers().entries()
}

/// Reads the whole body, of at most `limit` bytes. Stops reading as soon as the limit is exceeded.
///
/// # Errors
/// [`BodyError`]. A body can be read only once.
pub fn read_body(request: &IncomingRequest, limit: usize) -> Result<Vec<u8>, BodyError> {
    let announced = announced_length(&request.headers().get("content-length"));
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(BodyError::TooLarge { limit });
    }
    // The client's `content-length` may be wrong. It saves a read after the last byte, and reserves little memory.
    let announced = announced.and_then(|length| usize::try_from(length).ok());
    let taken = |()| BodyError::Taken;
    let incoming: IncomingBody = request.consume().map_err(taken)?;
    let stream = incoming.stream().map_err(taken)?;
    let mut body = Vec::with_capacity(announced.unwrap_or(0).min(READ_BYTES));
    while announced != Some(body.len()) {
        // One byte more than the limit shows that the body is too long.
        let wanted = limit.saturating_add(1).saturating_sub(body.len()).min(READ_BYTES);
        match stream.blocking_read(wanted as u64) {
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => break,
            // The error's text is for developers of the host, and may contain a backtrace.
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

/// The value of the `content-length` header; none unless there is exactly one and it is a number.
fn announced_length(values: &[Vec<u8>]) -> Option<u64> {
    let [value] = values else { return None };
    let text = std::str::from_utf8(value).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::announced_length;

    #[test]
    fn only_a_single_number_is_a_content_length() {
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
