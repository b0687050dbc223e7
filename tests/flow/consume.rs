//! `exesdb consume` as it runs on: over restarts of the host, until it is stopped, and while its subscription is paused.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use exesdb_tests::{Host, PATIENCE, eventually, stderr};
use serde_json::{Value, json};

/// The command `exesdb consume`, which runs. It is killed on drop.
struct Consuming {
    child: Child,
    /// The positions of the events that it prints.
    printed: mpsc::Receiver<u64>,
    /// What it says on stderr.
    said: Arc<Mutex<String>>,
}

impl Consuming {
    fn start(host: &Host, arguments: &[&str]) -> Self {
        let mut command = host.command();
        command.args(["consume", "--json"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be run");
        let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let errors = BufReader::new(child.stderr.take().expect("it was piped")).lines();
        let (sender, printed) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).expect("each line is JSON");
                // The test may be over.
                sender.send(event["position"].as_u64().expect("an event has a position")).ok();
            }
        });
        let said: Arc<Mutex<String>> = Arc::default();
        let kept = said.clone();
        std::thread::spawn(move || {
            for line in errors.map_while(Result::ok) {
                *kept.lock().expect("nobody panics") += &format!("{line}\n");
            }
        });
        Self { child, printed, said }
    }

    /// The position of the next event that it prints.
    #[track_caller]
    fn position(&self) -> u64 {
        let printed = self.printed.recv_timeout(PATIENCE);
        printed.unwrap_or_else(|_| panic!("it prints nothing: {}", self.said.lock().expect("nobody panics")))
    }

    /// The positions of what it prints, up to this one.
    #[track_caller]
    fn up_to(&self, last: u64) -> Vec<u64> {
        let mut positions = vec![self.position()];
        while positions.last() != Some(&last) {
            positions.push(self.position());
        }
        positions
    }

    /// Waits until it has said something.
    #[track_caller]
    fn says(&self, text: &str) {
        eventually(text, || self.said.lock().expect("nobody panics").contains(text).then_some(()));
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill can be run");
        assert!(sent.success(), "the command was running");
    }

    /// Waits for its end. Returns the positions of what it has printed and nobody has asked for.
    fn ended(mut self) -> Vec<u64> {
        eventually("the command ends", || self.child.try_wait().expect("it is our child"));
        self.printed.iter().collect()
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        self.child.wait().expect("it is our child");
    }
}

fn create(host: &Host, settings: Value) {
    host.http.put(&host.http.subscription("s"), &json!({ "settings": settings })).expect(201);
}

/// What the emitter knows of its consumers.
fn consumers(host: &Host) -> Value {
    host.http.described("s")["emitter"]["consumers"].take()
}

#[test]
fn the_command_goes_on_when_the_host_is_there_again() {
    let host = Host::start();
    create(&host, json!({}));
    let consuming = Consuming::start(&host, &["s", "--retry-for", "60"]);
    host.http.append_many("a", 5).expect(200);
    let mut positions = consuming.up_to(4);
    let host = host.crash_and_restart();
    host.http.append_many("a", 5).expect(200);
    positions.extend(consuming.up_to(9));
    let host = host.stop().down.start();
    host.http.append_many("a", 5).expect(200);
    positions.extend(consuming.up_to(14));
    // What was not acknowledged comes again.
    let mut first_times = Vec::new();
    for position in positions {
        if !first_times.contains(&position) {
            first_times.push(position);
        }
    }
    assert_eq!(first_times, (0..15).collect::<Vec<u64>>());
    consuming.says("trying again for up to 60 s");
    consuming.says("the subscription has cut off this consumer, or was restarted; going on as another one");
}

#[test]
fn the_command_leaves_when_it_is_stopped() {
    for signal in ["TERM", "INT"] {
        let host = Host::start();
        // Nothing comes back because its time is over.
        create(&host, json!({ "ack_timeout_ms": 3_600_000 }));
        let consuming = Consuming::start(&host, &["s"]);
        host.http.append_one("a").expect(200);
        assert_eq!(consuming.position(), 0);
        eventually("the event is acknowledged", || (consumers(&host)[0]["in_flight"] == 0).then_some(()));
        consuming.signal(signal);
        // The command may still be given this event, and may print it.
        host.http.append_one("a").expect(200);
        let mut seen = consuming.ended();
        eventually("it has left", || (consumers(&host) == json!([])).then_some(()));
        host.http.append_one("a").expect(200);
        let mut other = host.http.consume("s", 10);
        while seen.last() != Some(&2) {
            let events = other.take(1);
            other.acknowledge(&events);
            seen.push(events[0]["position"].as_u64().expect("a number"));
        }
        seen.dedup();
        assert_eq!(seen, [1, 2], "{signal}");
    }
}

#[test]
fn the_command_says_that_its_subscription_is_paused() {
    let host = Host::start();
    create(&host, json!({}));
    host.ok(&["subscription", "pause", "s"]);
    let paused = "the subscription is paused: nothing is delivered until `exesdb subscription resume s`";
    let output = host.exesdb(&["consume", "s", "--json", "--idle-for", "1"]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", stderr(&output));
    assert!(stderr(&output).contains(paused), "{}", stderr(&output));

    let consuming = Consuming::start(&host, &["s"]);
    consuming.says(paused);
    host.http.append_one("a").expect(200);
    host.ok(&["subscription", "resume", "s"]);
    assert_eq!(consuming.position(), 0);
    consuming.says("the subscription is not paused any more");
}
