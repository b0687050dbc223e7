//! Sends requests with the host's HTTP client.

use exesdb_sdk::sinks::wasip2::clocks::{monotonic_clock, wall_clock};
use exesdb_sdk::sinks::wasip2::http::outgoing_handler;
use exesdb_sdk::sinks::wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use exesdb_sdk::sinks::wasip2::io::poll;

use crate::deliver::Sender;
use crate::request::Request;
use crate::response::{NoResponse, Response};
use crate::settings::Url;

const NANOS_OF_MILLI: u64 = 1_000_000;

/// Bytes that WASI takes in one blocking write.
const WRITE_BYTES_MAX: usize = 4_096;

/// The client, for one call.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// When the call has begun.
    begun: u64,
}

impl Client {
    /// A client for the call that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self { begun: monotonic_clock::now() }
    }
}

impl Sender for Client {
    fn send(&mut self, url: &Url, request: &Request, timeout_ms: u32) -> Result<Response, NoResponse> {
        let timeout = u64::from(timeout_ms) * NANOS_OF_MILLI;
        let outgoing = outgoing(url, request)?;
        let body = outgoing.body().expect("it was not taken before");
        let future = outgoing_handler::handle(outgoing, Some(options(timeout))).map_err(no_response)?;
        write(body, &request.body);
        let response = wait(&future, timeout)?;
        let retry_after = response.headers().get("retry-after").into_iter().next();
        let retry_after = retry_after.and_then(|value| String::from_utf8(value).ok());
        Ok(Response { status: response.status(), retry_after })
    }

    fn elapsed_ms(&self) -> u64 {
        monotonic_clock::now().saturating_sub(self.begun) / NANOS_OF_MILLI
    }

    fn now(&self) -> u64 {
        wall_clock::now().seconds
    }
}

fn outgoing(url: &Url, request: &Request) -> Result<OutgoingRequest, NoResponse> {
    let fields = Fields::new();
    for (name, value) in &request.headers {
        let appended = fields.append(name, value.as_bytes());
        appended
            .map_err(|error| NoResponse::Invalid(format!("the header {name} cannot be sent: {error:?}")))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let is_set = outgoing.set_method(&Method::Post).is_ok()
        && outgoing.set_scheme(Some(&Scheme::Http)).is_ok()
        && outgoing.set_authority(Some(&url.authority)).is_ok()
        && outgoing.set_path_with_query(Some(&url.path)).is_ok();
    if is_set { Ok(outgoing) } else { Err(NoResponse::Invalid("this is no URL of HTTP".to_owned())) }
}

fn options(timeout: u64) -> RequestOptions {
    let options = RequestOptions::new();
    // A host that knows no such options has its own bounds, and the response is not waited for longer anyway.
    let (Ok(()) | Err(())) = options.set_connect_timeout(Some(timeout));
    let (Ok(()) | Err(())) = options.set_first_byte_timeout(Some(timeout));
    options
}

/// Writes the body. If that fails, the response says why.
fn write(body: OutgoingBody, bytes: &[u8]) {
    let Ok(stream) = body.write() else { return };
    let written = bytes.chunks(WRITE_BYTES_MAX).try_for_each(|piece| stream.blocking_write_and_flush(piece));
    drop(stream);
    if written.is_ok() {
        drop(OutgoingBody::finish(body, None));
    }
}

fn wait(future: &FutureIncomingResponse, timeout: u64) -> Result<IncomingResponse, NoResponse> {
    let (response, over) = (future.subscribe(), monotonic_clock::subscribe_duration(timeout));
    poll::poll(&[&response, &over]);
    match future.get() {
        Some(Ok(Ok(response))) => Ok(response),
        Some(Ok(Err(error))) => Err(no_response(error)),
        Some(Err(())) => Err(NoResponse::Unavailable("its response was taken before".to_owned())),
        None => Err(NoResponse::Unavailable("it did not respond in time".to_owned())),
    }
}

fn no_response(error: ErrorCode) -> NoResponse {
    match error {
        ErrorCode::HttpRequestDenied => NoResponse::Denied,
        ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong
        | ErrorCode::HttpRequestMethodInvalid => NoResponse::Invalid(error.to_string()),
        error => NoResponse::Unavailable(words(&error)),
    }
}

/// An error in words; the bindings print the names of the interface.
fn words(error: &ErrorCode) -> String {
    match error {
        ErrorCode::ConnectionRefused => "it refuses connections".to_owned(),
        ErrorCode::ConnectionTimeout => "no connection within the time".to_owned(),
        ErrorCode::ConnectionTerminated => "it closed the connection".to_owned(),
        ErrorCode::HttpResponseTimeout | ErrorCode::ConnectionReadTimeout => {
            "it did not respond in time".to_owned()
        }
        ErrorCode::DnsError(error) => {
            format!("its address was not found: {}", error.rcode.as_deref().unwrap_or("no reason is known"))
        }
        other => format!("{other:?}"),
    }
}
