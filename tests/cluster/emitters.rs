//! Durable subscriptions and a sink while the leader is killed: nothing acknowledged goes undelivered, and nothing that a stored
//! checkpoint says is settled comes again.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use exesdb_test_support::{Rng, number, random};
use exesdb_tests::{Client, folder};
use serde_json::{Value, json};

use crate::judge;
use crate::load::Load;
use crate::nodes::{Nodes, within};

const CLIENTS: usize = 3;

/// Appends before and after each kill.
const BETWEEN: u64 = 30;

/// Subscriptions: of a consumer over HTTP, of `exesdb consume`, and of the sink.
const OVER_HTTP: &str = "http";
const BY_COMMAND: &str = "command";
const OF_SINK: &str = "sink";

/// Events that the consumer over HTTP has at a time.
const WINDOW: u32 = 20;

/// The id of the last event, after which consumers end.
const LAST: &str = "the-last";

/// Pause before another session.
const AGAIN: Duration = Duration::from_millis(100);

/// What a consumer was given.
#[derive(Debug, Default)]
struct Given {
    /// The id of each event, by position.
    ids: BTreeMap<u64, String>,
    deliveries: usize,
    violations: Vec<String>,
}

impl Given {
    /// Notes an event. Returns whether it came for the first time.
    fn note(&mut self, event: &Value) -> bool {
        let position = event["position"].as_u64().expect("an event has a position");
        let id = event["id"].as_str().expect("an event has an id");
        self.deliveries += 1;
        match self.ids.insert(position, id.to_owned()) {
            None => true,
            Some(before) => {
                if before != id {
                    self.violations.push(format!("at {position} there was {before}, and now it is {id}"));
                }
                false
            }
        }
    }

    /// Compares it with what is stored.
    #[track_caller]
    fn expect_all(&self, who: &str, events: &[Value]) {
        println!("{who}: {} events in {} deliveries", self.ids.len(), self.deliveries);
        assert!(self.violations.is_empty(), "{who}: {:#?}", self.violations);
        let is_missing = |event: &&Value| {
            let position = event["position"].as_u64().expect("an event has a position");
            self.ids.get(&position).map(String::as_str) != event["id"].as_str()
        };
        let missing: Vec<&Value> = events.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "{who} misses {} events: {:?}", missing.len(), missing.first());
        assert_eq!(self.ids.len(), events.len(), "{who} was given what is not stored");
    }
}

/// A consumer that acknowledges each event at once, in session after session through any node, until the last event. Nothing
/// before `settled`, which is a stored checkpoint, may be given to a session that begins after it was seen.
fn consume_over_http(clients: &[Client], settled: &AtomicU64, mut random: Rng) -> Given {
    let mut given = Given::default();
    let mut furthest: Option<u64> = None;
    loop {
        let any = |random: &mut Rng| clients[random.usize(..clients.len())].clone();
        let settled = settled.load(Ordering::SeqCst);
        let Ok(mut consumer) = any(&mut random).try_consume(OVER_HTTP, WINDOW) else {
            std::thread::sleep(AGAIN);
            continue;
        };
        while let Ok(event) = consumer.receive() {
            let place = event["delivery"]["place"].as_u64().expect("a delivery has a place");
            if place < settled {
                given.violations.push(format!("the checkpoint is at {settled}, and {event} comes again"));
            }
            if given.note(&event) {
                if furthest.is_some_and(|furthest| place < furthest) {
                    given
                        .violations
                        .push(format!("after {furthest:?} there comes for the first time {event}"));
                }
                furthest = Some(place);
            }
            let client = any(&mut random);
            let words = json!({ "consumer": consumer.number, "ack": [place] });
            let said = client.post(&format!("{}/settlements", client.subscription(OVER_HTTP)), &words);
            if said.status != 200 {
                // Whether it was heard is not known; in another session the event comes again if it was not.
                break;
            }
            if event["id"] == LAST {
                return given;
            }
        }
    }
}

/// The events that `exesdb consume` prints, run against one node after the other until the last event.
fn consume_by_command(nodes: &Nodes) -> impl FnOnce() -> Given + Send + use<> {
    let arguments = ["consume", BY_COMMAND, "--json", "--retry-for", "30"];
    let mut commands: Vec<_> = (0..nodes.len()).map(|node| nodes.command(node, &arguments)).collect();
    move || {
        let mut given = Given::default();
        for turn in 0.. {
            let index = turn % commands.len();
            let child = commands[index].stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
            let mut child = child.expect("the binary can be run");
            let output = BufReader::new(child.stdout.take().expect("stdout was piped"));
            let mut is_last = false;
            for line in output.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).expect("a line is JSON");
                given.note(&event);
                is_last = event["id"] == LAST;
                if is_last {
                    break;
                }
            }
            // It has acknowledged what it printed, or what follows comes again.
            drop(child.kill());
            child.wait().expect("it is our child");
            if is_last {
                break;
            }
            std::thread::sleep(AGAIN);
        }
        given
    }
}

/// What a sink has written: whole lines, some perhaps twice.
fn written(directory: &Path) -> Given {
    let mut given = Given::default();
    for entry in std::fs::read_dir(directory).expect("the sink has a folder") {
        let text = std::fs::read_to_string(entry.expect("it can be listed").path()).unwrap_or_default();
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            given.note(&serde_json::from_str(line).expect("a whole line is JSON"));
        }
    }
    given
}

/// The stored checkpoint of a subscription, if a node can tell.
fn checkpoint(client: &Client) -> Option<u64> {
    let info = client.get(&client.subscription(OVER_HTTP));
    (info.status == 200 && !info.cut_off).then(|| info.json["checkpoint"].as_u64())?
}

#[test]
fn nothing_acknowledged_goes_undelivered_while_leaders_are_killed() {
    let kills = number("EXESDB_CLUSTER_EMITTER_KILLS", 3);
    let mut random = random();
    let directory = folder();
    let stores = format!(
        "[[store]]\nname = \"main\"\n[store.sinks.file]\ncomponent = \"builtin:ndjson-file\"\n\
         subscription = \"{OF_SINK}\"\ndirectory = {:?}\n",
        directory.path(),
    );
    let mut nodes = Nodes::with_stores(3, &stores);
    let client = nodes.client(0);
    for (name, settings) in [
        // One consumer at a time, so that the order of events is that of the log.
        (OVER_HTTP, json!({ "consumers_max": 1, "checkpoint_ms": 50, "checkpoint_events_min": 0 })),
        (BY_COMMAND, json!({ "ack_timeout_ms": 2_000 })),
        (OF_SINK, json!({})),
    ] {
        within("the subscription is made", || {
            let made = client.put(&client.subscription(name), &json!({ "settings": settings.clone() }));
            [200, 201].contains(&made.status).then_some(())
        });
    }
    let settled = Arc::new(AtomicU64::new(0));
    let over_http = {
        let (clients, settled, random) = (nodes.clients(), Arc::clone(&settled), random.fork());
        std::thread::spawn(move || consume_over_http(&clients, &settled, random))
    };
    let by_command = std::thread::spawn(consume_by_command(&nodes));

    let load = Load::start(&nodes, CLIENTS, &mut random);
    for _ in 0..kills {
        load.go_on(BETWEEN);
        let leader = nodes.leader();
        if let Some(checkpoint) = checkpoint(&nodes.client(leader)) {
            settled.fetch_max(checkpoint, Ordering::SeqCst);
        }
        nodes.kill(leader);
        load.go_on(BETWEEN);
        nodes.start_node(leader);
        nodes.redundant();
    }
    judge(&nodes, load);

    within("the last event is appended", || {
        let last = json!({ "id": LAST, "type": "t", "data": 1 });
        (client.append("last", "any", &[last]).status == 200).then_some(())
    });
    let events = nodes.client(nodes.leader()).read_all();
    over_http.join().expect("the consumer ends").expect_all("the consumer over HTTP", &events);
    by_command.join().expect("the command ends").expect_all("exesdb consume", &events);
    within("the sink has written the last event", || {
        written(directory.path()).ids.values().any(|id| id == LAST).then_some(())
    });
    written(directory.path()).expect_all("the sink", &events);
    assert!(settled.load(Ordering::SeqCst) > 0, "a checkpoint was stored before a kill");
}

#[test]
fn emitters_run_on_the_leader_alone_and_move_with_it() {
    let nodes = Nodes::start(3);
    let client = nodes.client(0);
    client.put(&client.subscription(OVER_HTTP), &json!({})).expect(201);
    client.append_one("s").expect(200);
    for round in 0..3 {
        let leader = nodes.leader();
        let to = nodes.name((leader + 1) % nodes.len()).to_owned();
        within("the leader is moved", || {
            let moved = client.post("/v1/cluster/stores/main/transfer-leader", &json!({ "to": to.clone() }));
            (moved.status == 200 && moved.json["leader"] == *to).then_some(())
        });
        // A consumer through any node is served by the one that leads.
        let through = nodes.client(round % nodes.len());
        let mut consumer = within("an event is delivered", || through.try_consume(OVER_HTTP, WINDOW).ok());
        assert_eq!(consumer.receive().expect("an event comes")["position"], 0);
    }
}
