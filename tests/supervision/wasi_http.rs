//! A gateway that speaks `wasi:http`: a component that was made from the WIT without the SDK, and packs events with
//! `exesdb-packed`. It makes calls and misbehaves.

use std::io::{Read as _, Write as _};

use exesdb_tests::{Client, Connection, Host, Response, eventually};

use crate::crashes::{check_last, give_sleepers_back};
use crate::gateway::{cut_off_often, trap_often};
use crate::limits::{Excess, MEMORY_MIB, without_effect_on_neighbours};
use crate::wasi::check_denials;

const PROBE: &str = "wasi-http-probe";

/// A path that the probe serves without doing anything bad.
const SERVED: &str = "/v1/stores/main/probe/end";

fn ask(host: &Host, name: &str) -> Response {
    host.http.get(&format!("/v1/stores/main/probe/{name}"))
}

#[test]
fn it_makes_the_same_calls_as_a_gateway_on_steps() {
    let host = Host::with_gateway(PROBE, "");
    let got = ask(&host, "calls").expect(200).text;
    let expected = [
        "end 0",
        "version 0",
        "version 1",
        "conflict Some(1)",
        "not found",
        "invalid selection.count",
        "page 2",
        "65 of 65, problem too-large",
        "main None 0",
        "Wake::Events Wake::Timeout",
    ];
    assert_eq!(got.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn bodies_arrive_whole_in_both_directions() {
    let host = Host::with_gateway(PROBE, "");
    let body = "0123456789abcdef".repeat(40_000);
    let echo = host.http.post_bytes("/v1/stores/main/probe/echo", "text/plain", body.as_bytes()).expect(200);
    assert!(echo.text == body, "{} of {} bytes", echo.text.len(), body.len());
}

#[test]
fn a_trap_affects_only_its_request() {
    let host = Host::with_gateway(PROBE, "");
    trap_often(&host, 1);
    for _ in 0..6 {
        host.http.get(SERVED).expect(200);
    }
}

#[test]
fn a_trap_in_the_middle_of_a_response_cuts_it_off() {
    cut_off_often(&Host::with_gateway(PROBE, ""), SERVED);
}

#[test]
fn each_crash_is_one_warning_and_the_client_is_told_the_limit() {
    let limits = "[store.limits.gateway]\ncall_cpu_ms = 300\nresponse_wall_ms = 700\nmemory_mib = 8";
    let host = Host::with_gateway(PROBE, limits);
    // call, kind, text for the client, the log and the telemetry
    let table = [
        ("loop", "deadline", "used its 300 ms of CPU (`call_cpu_ms`)"),
        ("hungry", "memory-limit", "needed more than its 8 MiB of memory (`memory_mib`)"),
        ("handles", "handle-limit", "held the 1,000 handles that an instance may have"),
        ("sleep", "timeout", "did not begin its response within 700 ms (`response_wall_ms`)"),
        ("trap", "trap", "trapped"),
    ];
    for (index, (name, kind, said)) in table.into_iter().enumerate() {
        check_last(&host, index + 1, &ask(&host, name), ("gateway", kind, said));
    }
    assert_eq!(host.traps().len(), table.len(), "one for each");
}

#[test]
fn requests_that_sleep_give_their_instances_back() {
    give_sleepers_back(PROBE, "response_wall_ms", SERVED);
}

#[test]
fn loops_and_excessive_memory_are_stopped_without_effect_on_neighbours() {
    let limits = format!("[store.limits]\ncall_cpu_ms = 300\nmemory_mib = {MEMORY_MIB}");
    let host = Host::with_gateway(PROBE, &limits);
    let excess = |name: &'static str, kind: &'static str| -> Excess {
        (Box::new(move |host: &Host| ask(host, name)), 500, "internal", kind)
    };
    let table = [excess("loop", "deadline"), excess("hungry", "memory-limit")];
    without_effect_on_neighbours(&host, &table, |host| {
        host.http.get(SERVED).expect(200);
    });
}

#[test]
fn denied_calls_return_errors() {
    check_denials(&Host::with_gateway(PROBE, ""));
}

#[test]
fn an_invalid_header_is_an_error_of_the_guest() {
    let host = Host::with_gateway(PROBE, "");
    let said = ask(&host, "bad-header").expect(200).text;
    assert!(said.starts_with("Some(HeaderError::InvalidSyntax"), "{said}");
}

#[test]
fn a_request_without_a_response_is_a_500() {
    let host = Host::with_gateway(PROBE, "");
    let response = ask(&host, "silent").expect_problem(500, "internal");
    assert!(response.detail().contains("gave no answer"), "{}", response.text);
    assert_eq!(host.traps().len(), 0);
    let why = "it returned without setting a response";
    eventually("the log says why", || host.log().iter().any(|line| line.contains(why)).then_some(()));
}

/// Requests a body without end, and reads its beginning.
fn reader(client: &Client) -> Connection {
    let mut connection = client.connect();
    connection
        .write_all(b"GET /v1/stores/main/probe/long HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .expect("the host reads");
    let mut head = [0; 15];
    connection.read_exact(&mut head).expect("the host responds");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    connection
}

/// Long responses keep their instances, so they may have three quarters of them.
#[test]
fn long_responses_leave_instances_to_short_ones() {
    let limits = "gateway_pool_size = 1\n[store.limits]\ngateway_instances_per_worker = 8";
    let host = Host::with_gateway(PROBE, limits);
    let readers: Vec<_> = (0..6).map(|_| reader(&host.http)).collect();
    for _ in 0..20 {
        host.http.get(SERVED).expect(200);
    }
    let refused = ask(&host, "long").expect_problem(503, "overloaded");
    assert!(refused.detail().contains("6 long responses"), "{}", refused.text);
    // One that leaves makes room for another one.
    drop(readers);
    eventually("there is room again", || {
        let mut connection = host.http.connect();
        let request = b"GET /v1/stores/main/probe/long HTTP/1.1\r\nhost: localhost\r\n\r\n";
        connection.write_all(request).expect("the host reads");
        let mut head = [0; 12];
        connection.read_exact(&mut head).expect("the host responds");
        (&head == b"HTTP/1.1 200").then_some(())
    });
    assert!(host.stop().status.success());
}
