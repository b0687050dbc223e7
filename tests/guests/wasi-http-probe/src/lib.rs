//! A gateway for tests that speaks `wasi:http`, waits in its calls of `exesdb:gateway/store`, and misbehaves on demand. The last
//! part of a path `/v1/stores/<store>/probe/<name>` says what a request does.
//!
//! | name | the request |
//! |---|---|
//! | `end` | responds with the end of the store |
//! | `calls` | responds with the outcomes of one call after the other |
//! | `echo` | responds with its own body |
//! | `long` | sends a body without end, until the client is gone |
//! | `trap` | panics before it responds |
//! | `trap-mid-response` | sends a head and the beginning of a body, then panics |
//! | `silent` | returns without a response |
//! | `loop` | loops forever |
//! | `hungry` | allocates memory without end |
//! | `sleep` | waits a day before it responds |
//! | `handles` | acquires handles without end |
//! | `denied` | tries to use files, sockets, name lookup, the environment and outgoing requests, and responds with the results |
//! | `bad-header` | responds with the error of an invalid header |

/// What wit-bindgen makes of the interfaces.
#[allow(unsafe_code, clippy::wildcard_imports, missing_docs)]
mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../../wit/host",
            "../../../wit/storage",
            "../../../wit/store",
            "../../../wit/gateway",
        ],
        inline: "
            package tests:wasi-http-probe@1.0.0;

            world wasi-http-probe {
                include exesdb:gateway/gateway-http-imports@0.2.0;
            }
        ",
        world: "tests:wasi-http-probe/wasi-http-probe",
        generate_all,
    });
}
mod calls;

use std::hint::black_box;

use bindings::exesdb::host::logging::{Level, log};
use wasip2::cli::environment;
use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::filesystem::preopens;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

const DAY_NS: u64 = 24 * 3_600 * 1_000_000_000;

struct Probe;

/// What the macro of `wasip2` makes of the export.
#[allow(unsafe_code)]
mod exported {
    use super::Probe;

    wasip2::http::proxy::export!(Probe with_types_in wasip2);
}

impl Guest for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "end" => respond(out, 200, calls::end().as_bytes()),
            "calls" => respond(out, 200, calls::outcomes().join("\n").as_bytes()),
            "echo" => respond(out, 200, &body(&request)),
            "long" => send_without_end(out),
            "trap" => {
                log(Level::Error, "the probe traps, as it was told", &[]);
                panic!("the probe traps, as it was told")
            }
            "trap-mid-response" => {
                let (stream, _body) = begin(out, 200);
                write(&stream, b"the beginning of an answer").expect("the client waits");
                log(Level::Error, "the probe traps in the middle of a response, as it was told", &[]);
                panic!("the probe traps in the middle of a response")
            }
            "silent" => {}
            "loop" => loop {
                black_box(());
            },
            "hungry" => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    // Written to, so that the memory is really allocated.
                    eaten.push(vec![1; 1 << 20]);
                    black_box(&eaten);
                }
            }
            "sleep" => {
                monotonic_clock::subscribe_duration(DAY_NS).block();
                respond(out, 200, b"good morning");
            }
            "handles" => {
                let mut held = Vec::new();
                loop {
                    held.push(monotonic_clock::subscribe_duration(DAY_NS));
                }
            }
            "denied" => respond(out, 200, denials().join("\n").as_bytes()),
            "bad-header" => {
                let fields = Fields::from_list(&[("x-bad".to_owned(), b"a\nb".to_vec())]);
                respond(out, 200, format!("{:?}", fields.err()).as_bytes());
            }
            _ => respond(out, 404, b"the probe does not have that"),
        }
    }
}

/// The body of a request.
fn body(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().expect("it was not taken before");
    let stream = body.stream().expect("it was not taken before");
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => bytes.extend(piece),
            Err(StreamError::Closed) => return bytes,
            Err(error) => panic!("the body broke off: {error:?}"),
        }
    }
}

/// Sends the head of a response, and returns its body.
fn begin(out: ResponseOutparam, status: u16) -> (OutputStream, OutgoingBody) {
    let fields = Fields::from_list(&[("content-type".to_owned(), b"text/plain".to_vec())]);
    let response = OutgoingResponse::new(fields.expect("it is valid"));
    response.set_status_code(status).expect("it is valid");
    let body = response.body().expect("it was not taken before");
    let stream = body.write().expect("it was not taken before");
    ResponseOutparam::set(out, Ok(response));
    (stream, body)
}

fn respond(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let (stream, body) = begin(out, status);
    write(&stream, bytes).expect("the client waits");
    // The stream belongs to the body.
    drop(stream);
    OutgoingBody::finish(body, None).expect("it is complete");
}

fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(4_096).try_for_each(|piece| stream.blocking_write_and_flush(piece))
}

fn send_without_end(out: ResponseOutparam) {
    let (stream, _body) = begin(out, 200);
    while write(&stream, &[b'x'; 4_096]).is_ok() {}
}

/// The host's results for everything that a component may not use.
fn denials() -> Vec<String> {
    let network = instance_network::instance_network();
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request.set_authority(Some("127.0.0.1:1")).expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let future = outgoing_handler::handle(request, None);
    let response = future.map(|future| {
        future.subscribe().block();
        future.get()
    });
    vec![
        format!("files: {:?}", preopens::get_directories().len()),
        format!("environment: {:?}", environment::get_environment()),
        format!("arguments: {:?}", environment::get_arguments()),
        format!("tcp: {:?}", tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).err()),
        format!("udp: {:?}", udp_create_socket::create_udp_socket(IpAddressFamily::Ipv6).err()),
        format!("names: {:?}", ip_name_lookup::resolve_addresses(&network, "localhost").err()),
        format!("request: {response:?}"),
    ]
}
