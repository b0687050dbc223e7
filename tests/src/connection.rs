//! Plain TCP connections, for requests that no HTTP client would send. Their responses are checked like all others.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use exesdb_api_document::{Exchange, Head};

use crate::api::{self, AGAINST};

/// Bytes of each direction that are kept for the check. Bytes after these are transferred, but not checked.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Most headers that the check parses: more than the host accepts.
const HEADERS_MAX: usize = 128;

/// A connection that records its traffic. On drop, the responses that were read are checked.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, sent: Vec::new(), received: Vec::new() }
    }

    /// As [`TcpStream::shutdown`].
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }

    /// As [`TcpStream::set_read_timeout`].
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)
    }

    /// As [`TcpStream::set_write_timeout`].
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(timeout)
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.stream.read(buffer)?;
        keep(&mut self.received, &buffer[..bytes]);
        Ok(bytes)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        keep(&mut self.sent, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Err(complaint) = check(&self.sent, &self.received) {
            let received = String::from_utf8_lossy(&self.received);
            panic!("{AGAINST}: {complaint}\n{received:.2000}");
        }
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEPT_BYTES_MAX - kept.len();
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Checks the received responses against the sent requests, in order.
fn check(sent: &[u8], mut received: &[u8]) -> Result<(), String> {
    let mut requests = requests(sent).into_iter();
    let mut request = requests.next();
    while let Some(response) = take_response(&mut received, request.as_ref())? {
        // `100 Continue` and the like come before the response.
        if response.status < 200 {
            continue;
        }
        let Some(Request { method, path, is_valid }) = &request else {
            return Err(format!("a response of status {} without a request", response.status));
        };
        // A request that is not valid HTTP is refused either by the HTTP library or by the gateway.
        let is_http = *is_valid || response.headers.iter().any(|(name, _)| name == "content-type");
        let method = if is_http { method } else { "" };
        let Response { status, ref headers, ref body, is_whole } = response;
        let head = Head { method, path, status, headers };
        api::check(&Exchange { head, body, is_whole })?;
        request = requests.next();
    }
    Ok(())
}

/// The method and path of a request.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Empty if it cannot be parsed.
    method: String,
    path: String,
    /// Whether it is valid HTTP.
    is_valid: bool,
}

impl Request {
    fn unreadable() -> Self {
        Self { method: String::new(), path: String::new(), is_valid: false }
    }
}

/// The sent requests, up to the first one that is not valid: nothing says where the next one begins.
fn requests(mut sent: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while !sent.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(length)) = request.parse(sent) else {
            requests.push(Request::unreadable());
            return requests;
        };
        let (Some(method), Some(target)) = (request.method, request.path) else { break };
        let body = &sent[length..];
        let taken = taken_by_body(request.headers, body);
        let is_valid = taken.is_ok() && target.bytes().all(|byte| byte.is_ascii_graphic());
        requests.push(Request { method: method.to_owned(), path: path(target).to_owned(), is_valid });
        match taken {
            Ok(Some(bytes)) if is_valid => sent = &body[bytes..],
            _ => return requests,
        }
    }
    requests
}

/// The path in a request's target, which may be a whole URL.
fn path(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else {
        return target;
    };
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// The length of a request's body; `None` if its end has not been sent.
fn taken_by_body(headers: &[httparse::Header<'_>], bytes: &[u8]) -> Result<Option<usize>, NotHttp> {
    if header(headers, "transfer-encoding").is_some() {
        let chunks = chunks(bytes)?;
        return Ok(chunks.is_whole.then_some(chunks.taken));
    }
    let length = match header(headers, "content-length") {
        Some(length) => length.trim().parse::<u64>().map_err(|_| NotHttp)?,
        None => 0,
    };
    Ok(usize::try_from(length).ok().filter(|length| *length <= bytes.len()))
}

/// Bytes that are not valid HTTP.
#[derive(Debug, PartialEq, Eq)]
struct NotHttp;

/// A body in chunked encoding.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chunks {
    /// The decoded content.
    body: Vec<u8>,
    /// The encoded length.
    taken: usize,
    /// Whether the last chunk has arrived.
    is_whole: bool,
}

fn chunks(bytes: &[u8]) -> Result<Chunks, NotHttp> {
    let mut chunks = Chunks::default();
    loop {
        let rest = &bytes[chunks.taken..];
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(chunks),
            Err(_) => return Err(NotHttp),
        };
        let rest = &rest[start..];
        let size = usize::try_from(size).map_err(|_| NotHttp)?;
        let Some((data, end)) = rest.split_at_checked(size) else {
            chunks.body.extend_from_slice(rest);
            return Ok(chunks);
        };
        chunks.body.extend_from_slice(data);
        match end {
            [b'\r', b'\n', ..] => chunks.taken += start + size + 2,
            [] | [b'\r'] => return Ok(chunks),
            _ => return Err(NotHttp),
        }
        if size == 0 {
            chunks.is_whole = true;
            return Ok(chunks);
        }
    }
}

/// A response, as far as it has arrived.
#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    is_whole: bool,
}

/// Removes the first response from the received bytes; `None` if its head is incomplete.
fn take_response(received: &mut &[u8], request: Option<&Request>) -> Result<Option<Response>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(received) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("the response is not HTTP: {error}")),
    };
    let status = response.code.expect("a complete head has a status");
    let rest = &received[length..];
    let is_bare = status < 200 || status == 204 || request.is_some_and(|request| request.method == "HEAD");
    let (body, is_whole) = if is_bare {
        *received = rest;
        (Vec::new(), true)
    } else if header(response.headers, "transfer-encoding").is_some() {
        let chunks = chunks(rest).map_err(|NotHttp| "the chunks of the response are not HTTP".to_owned())?;
        *received = if chunks.is_whole { &rest[chunks.taken..] } else { &[] };
        (chunks.body, chunks.is_whole)
    } else if let Some(length) = header(response.headers, "content-length") {
        let length = length.parse().map_err(|_| format!("content-length is no number: {length}"))?;
        let (body, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        *received = rest;
        (body.to_vec(), body.len() == length)
    } else {
        // It lasts until the connection ends, and nothing says whether it is complete then.
        *received = &[];
        (rest.to_vec(), false)
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = response.headers.iter();
    let headers = headers.map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect();
    Ok(Some(Response { status, headers, body, is_whole }))
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(std::str::from_utf8(header.value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{check, chunks, requests};

    const GET: &str = "GET /v1/stores HTTP/1.1\r\nhost: localhost\r\n\r\n";
    const HEAD: &str = "HEAD /v1/stores HTTP/1.1\r\nhost: localhost\r\n\r\n";

    fn response(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn requests_are_read_as_far_as_they_are_http() {
        let read = |sent: &[u8]| {
            let requests = requests(sent).into_iter();
            requests.map(|request| (request.method, request.path, request.is_valid)).collect::<Vec<_>>()
        };
        let put = "PUT /a?b HTTP/1.1\r\ncontent-length: 2\r\n\r\nxx";
        let post = "POST http://h:1/c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        let all = format!("{GET}{put}{post}{GET}");
        let expected = [("GET", "/v1/stores"), ("PUT", "/a?b"), ("POST", "/c"), ("GET", "/v1/stores")];
        let expected = expected.map(|(method, path)| (method.to_owned(), path.to_owned(), true));
        assert_eq!(read(all.as_bytes()), expected);
        for (sent, method, is_valid) in [
            ("nonsense\r\n\r\n", "", false),
            ("GET / HTTP/9.9\r\n\r\n", "", false),
            ("GET /", "", false),
            ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", "POST", false),
            ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "POST", false),
            ("POST / HTTP/1.1\r\ncontent-length: 100\r\n\r\nx", "POST", true),
        ] {
            assert_eq!(
                read(sent.as_bytes()),
                [(method.to_owned(), read(sent.as_bytes())[0].1.clone(), is_valid)],
                "{sent}"
            );
        }
        let cut = chunks(b"3\r\nabc\r\n5\r\nde").expect("it is HTTP");
        assert_eq!((cut.body.as_slice(), cut.is_whole), (&b"abcde"[..], false));
    }

    #[test]
    fn responses_on_a_bare_connection_are_checked_in_their_order() {
        let json = "content-type: application/json";
        let stores = response("200 OK", json, r#"{"stores":[]}"#);
        let wrong = response("200 OK", json, r#"{"stores":[1]}"#);
        let bare = stores.split_inclusive("\r\n\r\n").next().expect("there is a head");
        let chunked = |end: &str| {
            let events = "retry: 1000\n\nevent: x\n\n";
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n\
                 exesdb-history: 00f1e2d3c4b5a697\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{events}{end}",
                events.len()
            )
        };
        let follow = "GET /v1/stores/main/events HTTP/1.1\r\naccept: text/event-stream\r\n\r\n";
        for (sent, received, fits) in [
            (GET.to_owned(), String::new(), true),
            (GET.to_owned(), stores.clone(), true),
            (GET.to_owned(), wrong.clone(), false),
            // A part that has not arrived is not wrong.
            (GET.to_owned(), wrong[..wrong.len() - 1].to_owned(), true),
            (GET.to_owned(), "nonsense\r\n\r\n".to_owned(), false),
            (GET.to_owned(), stores.replace(json, "content-type: text/html"), false),
            (GET.to_owned(), stores.replace(json, &format!("{json}\r\nexesdb-new: 1")), false),
            (GET.to_owned(), response("400 Bad Request", "date: now", ""), false),
            (GET.to_owned(), format!("{stores}{stores}"), false),
            (GET.to_owned(), format!("HTTP/1.1 100 Continue\r\n\r\n{stores}"), true),
            (format!("{GET}{HEAD}{GET}"), format!("{stores}{bare}{stores}"), true),
            (format!("{GET}{HEAD}{GET}"), format!("{stores}{bare}{wrong}"), false),
            (HEAD.to_owned(), stores.clone(), false),
            ("nonsense\r\n\r\n".to_owned(), response("400 Bad Request", "date: now", ""), true),
            ("nonsense\r\n\r\n".to_owned(), response("500 Failed", "date: now", ""), false),
            ("nonsense\r\n\r\n".to_owned(), stores, false),
            (follow.to_owned(), chunked(""), false),
            (follow.to_owned(), chunked("\r\n0\r\n\r\n"), false),
            (follow.to_owned(), chunked("").replace("event: x", "data: x"), false),
            (follow.to_owned(), chunked("").replace("event: x", ": hello"), true),
        ] {
            let checked = check(sent.as_bytes(), received.as_bytes());
            assert_eq!(checked.is_ok(), fits, "{sent}{received}: {checked:?}");
        }
    }
}
