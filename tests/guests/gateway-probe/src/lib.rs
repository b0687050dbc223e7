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
//! | `bad-header` | responds with an invalid header |

use std::hint::black_box;

use exesdb_gateway_http::{Form, HttpGateway};
use exesdb_sdk::steps::{
    Action, Closing, Ending, Event, Gateway, Mark, Outcome, Pending, Request, Response, ResponseHead, Step,
    Timer,
};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};
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

fn misdeed(path: &str) -> Option<Misdeed> {
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

/// What a request goes on with.
#[derive(Debug, Serialize, Deserialize)]
enum State {
    /// That of the original.
    Original(exesdb_gateway_http::State),
    /// The beginning of the response was sent.
    TrapMidResponse,
}

impl Gateway for Probe {
    type State = State;
    type Representation = Form;

    fn begin(request: Request) -> Step<State, Form> {
        match misdeed(&request.path) {
            None => HttpGateway::begin(request).map(State::Original),
            Some(misdeed) => misbehave(misdeed),
        }
    }

    fn resume(state: State, event: Event) -> Step<State, Form> {
        match state {
            State::Original(state) => HttpGateway::resume(state, event).map(State::Original),
            State::TrapMidResponse => panic!("the probe traps in the middle of a response, as it was told"),
        }
    }

    fn run_again(request: Request, outcomes: Vec<Outcome>) -> Step<State, Form> {
        HttpGateway::run_again(request, outcomes).map(State::Original)
    }

    fn encode(form: &Form, page: &[u8]) -> Result<Vec<u8>, Error> {
        HttpGateway::encode(form, page)
    }

    fn encode_mark(form: &Form, mark: Mark) -> Vec<u8> {
        HttpGateway::encode_mark(form, mark)
    }

    fn conclude(form: &Form, ending: Ending) -> Closing {
        HttpGateway::conclude(form, ending)
    }
}

fn misbehave(misdeed: Misdeed) -> Step<State, Form> {
    match misdeed {
        Misdeed::Trap => panic!("the probe traps, as it was told"),
        Misdeed::Loop => loop {
            black_box(());
        },
        Misdeed::Hunger => {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                // Written to, so that the memory is really allocated.
                eaten.push(vec![1; 1 << 20]);
                black_box(&eaten);
            }
        }
        Misdeed::TrapMidResponse => {
            let head = ResponseHead::new(200).header("content-type", "text/plain");
            let beginning = Action::Send(b"the beginning of an answer".to_vec());
            let pending = Pending::new(State::TrapMidResponse).action(Action::Start(head)).action(beginning);
            pending.action(Action::Timer(Timer { id: 1, ms: 1 })).into()
        }
        Misdeed::Sleep => {
            monotonic_clock::subscribe_duration(DAY_NS).block();
            respond("good morning")
        }
        Misdeed::Handles => {
            let mut held = Vec::new();
            loop {
                held.push(monotonic_clock::subscribe_duration(DAY_NS));
            }
        }
        Misdeed::Exit => {
            exit::exit(Err(()));
            respond("it goes on")
        }
        Misdeed::Print => {
            print(&stdout::get_stdout(), "first line\nsecond line\nhalf a ");
            print(&stdout::get_stdout(), "line\nwithout an end");
            print(&stderr::get_stderr(), "an error\nforged\r{\"level\": \"INFO\"}\n");
            print(&stdout::get_stdout(), &"x".repeat(10_000));
            respond("printed")
        }
        Misdeed::PrintAndTrap => {
            print(&stderr::get_stderr(), "Traceback (most recent call last):\n");
            print(&stderr::get_stderr(), "RuntimeError: as it was told");
            std::process::abort();
        }
        Misdeed::Denied => respond(&denials().join("\n")),
        Misdeed::BadHeader => Response::new(200).header("x-bad", "a\nb").into(),
    }
}

fn respond(text: &str) -> Step<State, Form> {
    Response::new(200).header("content-type", "text/plain").body(text).into()
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

exesdb_sdk::steps_plugin!(Probe);

#[cfg(test)]
mod tests {
    use super::{Misdeed, misdeed};

    #[test]
    fn a_path_chooses_the_misdeed() {
        assert_eq!(misdeed("/v1/stores/main/probe/trap"), Some(Misdeed::Trap));
        assert_eq!(misdeed("/v1/stores/main/probe/loop"), Some(Misdeed::Loop));
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
