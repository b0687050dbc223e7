//! SIGTERM under load: the host finishes accepted requests, and ends. So does SIGHUP, unless it is ignored.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use exesdb_tests::{Append, Host, Load, NO_FAULTS, Outcome, disorder, faults};

use crate::lives::PIPELINES;

/// How often a host is stopped under load.
const STOPS: usize = 10;

#[test]
fn a_stop_under_load_finishes_accepted_requests() {
    let mut host = Host::start();
    let (mut ledger, mut pipelines): (Vec<Append>, Vec<Vec<Append>>) = Default::default();
    for round in 0..STOPS {
        let load = Load::until_refused(&host.http, &format!("round-{round}"), 6);
        let piped = Load::piped(&host.http, &format!("piped-{round}"), PIPELINES, round as u64);
        let followers = [
            host.http.follow("/v1/stores/main/events?from=end", None),
            host.http.follow("/v1/stores/main/streams/shared/events", None),
        ];
        load.go_on(20);
        piped.go_on(20);
        let stopped = host.stop();
        let log = stopped.log.join("\n");
        assert_eq!(stopped.status.code(), Some(0), "round {round}: {log}");
        assert!(log.contains("everything acknowledged is on disk"), "round {round}: {log}");
        // Live responses ended with the host.
        followers.into_iter().for_each(|follower| drop(follower.rest()));
        let (report, piped) = (load.wait(), piped.wait());
        // A late client was told to retry, or could not connect.
        let late = |status: u16| [0, 503].contains(&status);
        for refusals in [&report.refusals, &piped.refusals] {
            assert!(refusals.iter().all(|response| late(response.status)), "{refusals:#?}");
        }
        assert_eq!(piped.violations, NO_FAULTS, "round {round}");
        ledger.extend(report.appends);
        ledger.extend(piped.pipelines.iter().flatten().cloned());
        pipelines.extend(piped.pipelines);
        host = stopped.down.start();
        let events = host.http.read_all();
        assert_eq!(faults(&events, &ledger), NO_FAULTS, "round {round}");
        assert_eq!(disorder(&events, &pipelines), NO_FAULTS, "round {round}");
    }
    for append in ledger.iter_mut().filter(|append| append.outcome == Outcome::Unknown) {
        append.send(&host.http).expect(200);
    }
    assert_eq!(faults(&host.http.read_all(), &ledger), NO_FAULTS);
}

#[test]
fn sighup_is_an_ordinary_stop() {
    let host = Host::start();
    host.http.append_one("s").expect(200);
    host.signal("HUP");
    let stopped = host.ended();
    let log = stopped.log.join("\n");
    assert_eq!(stopped.status.code(), Some(0), "{log}");
    assert!(log.contains("everything acknowledged is on disk"), "{log}");
    assert_eq!(stopped.down.start().http.read("s").len(), 1);
}

#[test]
fn a_host_started_with_nohup_ignores_sighup() {
    let folder = exesdb_tests::folder();
    let mut command = Command::new("sh");
    // As `nohup` does.
    command.args(["-c", "trap '' HUP; exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\""]);
    command.arg(exesdb_tests::binary()).arg(folder.path().join("data"));
    let mut host = command.stderr(Stdio::piped()).spawn().expect("there is a shell");
    let mut log = BufReader::new(host.stderr.take().expect("stderr was piped")).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("exesdb is ready")), "it did not start");
    let signal = |name: &str| {
        let sent = Command::new("kill").args(["-s", name, &host.id().to_string()]).status();
        assert!(sent.is_ok_and(|sent| sent.success()), "the host ran");
    };
    signal("HUP");
    signal("HUP");
    // A second signal would end the host immediately, so this checks that both SIGHUPs were ignored.
    signal("TERM");
    let rest: Vec<String> = log.collect();
    assert_eq!(host.wait().expect("it is our child").code(), Some(0), "{rest:#?}");
    assert!(rest.iter().any(|line| line.contains("everything acknowledged is on disk")), "{rest:#?}");
}

#[test]
fn clients_that_stay_connected_do_not_delay_the_stop() {
    let host = Host::start();
    let large = serde_json::json!({ "type": "t", "data": "x".repeat(900 << 10) });
    for _ in 0..20 {
        host.http.append("large", "any", std::slice::from_ref(&large)).expect(200);
    }
    let head = "POST /v1/stores/main/streams/s/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let held = [
        String::new(),
        "GET /v1/stores".to_owned(),
        format!("{head}content-length: 100\r\n\r\n{{\"events\":"),
        format!("{head}transfer-encoding: chunked\r\n\r\n5\r\n{{\"eve"),
        // Live responses that nobody reads; one is larger than every buffer.
        "GET /v1/stores/main/events?from=end HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"
            .to_owned(),
        "GET /v1/stores/main/events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n".to_owned(),
        "GET /v1/stores/main/events?count=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(),
    ];
    let connections: Vec<_> = held
        .iter()
        .map(|bytes| {
            let mut connection = host.http.connect();
            connection.write_all(bytes.as_bytes()).expect("the host reads");
            connection
        })
        .collect();
    // A telemetry follower that does not read, either.
    let mut events = host.command();
    events.args(["events", "--follow"]).stdout(std::process::Stdio::piped());
    let mut events = events.spawn().expect("the binary can be run");
    let load = Load::until_refused(&host.http, "load", 4);
    load.go_on(50);
    let stopped = host.stop();
    assert_eq!(stopped.status.code(), Some(0), "{}", stopped.log.join("\n"));
    drop(connections);
    drop(events.stdout.take());
    drop(events.kill());
    events.wait().expect("it was our child");
    let report = load.wait();
    let host = stopped.down.start();
    let mut ledger = report.appends;
    let before: Vec<_> =
        host.http.read_all().into_iter().filter(|event| event["stream"] == "large").collect();
    assert_eq!(before.len(), 20);
    for event in &before {
        ledger.push(Append {
            stream: "large".to_owned(),
            ids: vec![event["id"].as_str().expect("an event has an id").to_owned()],
            outcome: Outcome::Unknown,
        });
    }
    assert_eq!(faults(&host.http.read_all(), &ledger), NO_FAULTS);
}
