//! The gateway component that ships with exesdb, which misbehaves for tests if the path of a request begins with
//! `/v1/stores/<store>/probe/`. It handles all other requests like the original.
//!
//! | last segment | the request |
//! |---|---|
//! | `trap` | panics before it responds |
//! | `loop` | loops forever |
//! | `hungry` | allocates memory without end |
//! | `trap-mid-response` | sends a head and the beginning of a body, then panics |
//! | `sleep` | waits a day before it responds |
//! | `handles` | acquires handles without end |
//! | `exit` | exits the process |
//! | `print` | writes long and incomplete lines to stdout and stderr, then responds |
//! | `print-and-trap` | writes the reason to stderr, then traps without a panic message |
//! | `denied` | tries to use files, sockets, name lookup, the environment and outgoing requests, and responds with the results |
//! | `bad-header` | sets an invalid header, and responds with the result |

use std::hint::black_box;

use exesdb_gateway_http::HttpGateway;
use exesdb_sdk::gateway::wasip2;
use exesdb_sdk::gateway::{Gateway, IncomingRequest, ResponseOutparam, respond, respond_streaming};
use wasip2::cli::{environment, exit, stderr, stdout};
use wasip2::clocks::monotonic_clock;
use wasip2::filesystem::preopens;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};
use wasip2::io::streams::OutputStream;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::{instance_network, ip_name_lookup, tcp_create_socket, udp_create_socket};

const DAY_NS: u64 = 24 * 3_600 * 1_000_000_000;

struct Probe;

/// The way in which a request misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misdeed {
    Trap,
    Loop,
    Hunger,
    TrapMidResponse,
    Sleep,
    Handles,
    Exit,
    Print,
    PrintAndTrap,
    Denied,
    BadHeader,
}

fn misdeed(path_with_query: &str) -> Option<Misdeed> {
    let path = path_with_query.split('?').next()?;
    let segments: Vec<&str> = path.split('/').collect();
    let ["", "v1", "stores", _, "probe", name] = segments.as_slice() else { return None };
    match *name {
        "trap" => Some(Misdeed::Trap),
        "loop" => Some(Misdeed::Loop),
        "hungry" => Some(Misdeed::Hunger),
        "trap-mid-response" => Some(Misdeed::TrapMidResponse),
        "sleep" => Some(Misdeed::Sleep),
        "handles" => Some(Misdeed::Handles),
        "exit" => Some(Misdeed::Exit),
        "print" => Some(Misdeed::Print),
        "print-and-trap" => Some(Misdeed::PrintAndTrap),
        "denied" => Some(Misdeed::Denied),
        "bad-header" => Some(Misdeed::BadHeader),
        _ => None,
    }
}

impl Gateway for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match request.path_with_query().as_deref().and_then(misdeed) {
            None => HttpGateway::handle(request, out),
            Some(Misdeed::Trap) => panic!("the probe traps, as it was told"),
            Some(Misdeed::Loop) => loop {
                black_box(());
            },
            Some(Misdeed::Hunger) => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    // Written to, so that the memory is really allocated.
                    eaten.push(vec![1; 1 << 20]);
                    black_box(&eaten);
                }
            }
            Some(Misdeed::TrapMidResponse) => {
                let body = respond_streaming(out, 200, &[("content-type", b"text/plain")])
                    .expect("the request has no response yet");
                body.write(b"the beginning of an answer").expect("the client waits for the response");
                panic!("the probe traps in the middle of a response, as it was told");
            }
            Some(Misdeed::Sleep) => {
                monotonic_clock::subscribe_duration(DAY_NS).block();
                respond_text(out, "good morning");
            }
            Some(Misdeed::Handles) => {
                let mut held = Vec::new();
                loop {
                    held.push(monotonic_clock::subscribe_duration(DAY_NS));
                }
            }
            Some(Misdeed::Exit) => {
                exit::exit(Err(()));
                respond_text(out, "it goes on");
            }
            Some(Misdeed::Print) => {
                print(&stdout::get_stdout(), "first line\nsecond line\nhalf a ");
                print(&stdout::get_stdout(), "line\nwithout an end");
                print(&stderr::get_stderr(), "an error\nforged\r{\"level\": \"INFO\"}\n");
                print(&stdout::get_stdout(), &"x".repeat(10_000));
                respond_text(out, "printed");
            }
            Some(Misdeed::PrintAndTrap) => {
                print(&stderr::get_stderr(), "Traceback (most recent call last):\n");
                print(&stderr::get_stderr(), "RuntimeError: as it was told");
                std::process::abort();
            }
            Some(Misdeed::Denied) => respond_text(out, &denials().join("\n")),
            Some(Misdeed::BadHeader) => {
                let headers: [(&str, &[u8]); 2] = [("content-type", b"text/plain"), ("x-bad", b"a\nb")];
                let error = respond(out, 200, &headers, Some(b"")).expect_err("HTTP knows no line breaks");
                exesdb_sdk::logging::error(&error.to_string());
            }
        }
    }
}

fn respond_text(out: ResponseOutparam, text: &str) {
    respond(out, 200, &[("content-type", b"text/plain")], Some(text.as_bytes())).expect("the client waits");
}

fn print(stream: &OutputStream, text: &str) {
    for part in text.as_bytes().chunks(4_096) {
        stream.blocking_write_and_flush(part).expect("output is always taken");
    }
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

exesdb_sdk::gateway_plugin!(Probe);

#[cfg(test)]
mod tests {
    use super::{Misdeed, misdeed};

    #[test]
    fn a_path_chooses_the_misdeed() {
        assert_eq!(misdeed("/v1/stores/main/probe/trap"), Some(Misdeed::Trap));
        assert_eq!(misdeed("/v1/stores/main/probe/loop?x=1"), Some(Misdeed::Loop));
        assert_eq!(misdeed("/v1/stores/b/probe/hungry"), Some(Misdeed::Hunger));
        assert_eq!(misdeed("/v1/stores/b/probe/trap-mid-response"), Some(Misdeed::TrapMidResponse));
        for other in [
            "/",
            "",
            "/v1/stores/main/streams/probe/trap",
            "/v1/stores/main/probe/trap/x",
            "/v1/stores/main/probe/",
        ] {
            assert_eq!(misdeed(other), None, "{other:?}");
        }
    }
}
