//! Clients that append to a cluster through any node, read from it, and record everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use exesdb_test_support::{Rng, time_below};
use exesdb_tests::{Append, Client, Outcome, Response};

use crate::nodes::{Nodes, within};
use crate::record::{Call, Clock, Expected, History, Level, Read};

/// Streams that all clients append to.
const STREAMS: [&str; 6] = ["s-0", "s-1", "s-2", "s-3", "s-4", "s-5"];

/// Longest pause between two operations of a client. Nodes and clients share a machine.
const PAUSE_MAX: Duration = Duration::from_millis(8);

/// Pause before an attempt is repeated.
const AGAIN: Duration = Duration::from_millis(20);

/// How long an append is repeated whose outcome is unknown. Then it stays so.
const GIVE_UP: Duration = Duration::from_secs(240);

/// Most events of an append.
const BATCH_MAX: u64 = 4;

/// Clients, one thread each.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<History>>,
}

struct Shared {
    clock: Clock,
    ending: AtomicBool,
    acknowledged: AtomicU64,
    /// Held for reading during an operation.
    operating: RwLock<()>,
    watch: Mutex<Watch>,
}

/// Looks for the first acknowledgement of what was sent from a time on.
#[derive(Default)]
struct Watch {
    from: u64,
    acknowledged: Option<u64>,
}

impl Load {
    /// Starts clients of all nodes.
    pub(crate) fn start(nodes: &Nodes, clients: usize, random: &mut Rng) -> Self {
        let shared = Arc::new(Shared {
            clock: Clock::start(),
            ending: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            operating: RwLock::new(()),
            watch: Mutex::default(),
        });
        let client = |number: usize| {
            let client = LoadClient {
                number,
                nodes: nodes.clients(),
                shared: Arc::clone(&shared),
                random: random.fork(),
                known: BTreeMap::new(),
                token: None,
                history: History::default(),
            };
            std::thread::spawn(move || client.run())
        };
        let clients = (0..clients).map(client).collect();
        Self { shared, clients }
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more appends are acknowledged.
    #[track_caller]
    pub(crate) fn go_on(&self, appends: u64) {
        let goal = self.acknowledged() + appends;
        within("the load goes on", || {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a client has panicked");
            (self.acknowledged() >= goal).then_some(())
        });
    }

    /// Begins to look for the next append that is sent and acknowledged.
    pub(crate) fn watch(&self) {
        let from = self.shared.clock.now();
        *self.shared.watch.lock().expect("nobody panics") = Watch { from, acknowledged: None };
    }

    /// Waits for what [`Load::watch`] looks for. Returns how long it took since then.
    #[track_caller]
    pub(crate) fn next_acknowledgement(&self) -> Duration {
        within("an append is acknowledged", || {
            let watch = self.shared.watch.lock().expect("nobody panics");
            watch.acknowledged.map(|at| Duration::from_micros(at - watch.from))
        })
    }

    /// Waits until no client has an operation under way. None begins another one while the guard lives.
    pub(crate) fn rest(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.operating.write().expect("no client panics")
    }

    /// Stops the clients after their current operation, and returns what all of them did.
    pub(crate) fn finish(self) -> History {
        self.shared.ending.store(true, Ordering::Relaxed);
        let mut history = History::default();
        for client in self.clients {
            history.add(client.join().expect("a client does not panic"));
        }
        history
    }
}

struct LoadClient {
    number: usize,
    nodes: Vec<Client>,
    shared: Arc<Shared>,
    random: Rng,
    /// The last known version of each stream.
    known: BTreeMap<String, u64>,
    /// The highest token of a response.
    token: Option<u64>,
    history: History,
}

impl LoadClient {
    fn run(mut self) -> History {
        let shared = Arc::clone(&self.shared);
        while !shared.ending.load(Ordering::Relaxed) {
            let operating = shared.operating.read().expect("nobody panics while it rests");
            match self.random.u8(..10) {
                0..3 => self.read(),
                3..6 => self.append(true),
                _ => self.append(false),
            }
            drop(operating);
            std::thread::sleep(time_below(&mut self.random, PAUSE_MAX));
        }
        self.history
    }

    /// One of all clients' streams, or its own one.
    fn stream(&mut self) -> String {
        match self.random.usize(..=STREAMS.len()) {
            index if index < STREAMS.len() => STREAMS[index].to_owned(),
            _ => format!("own-{}", self.number),
        }
    }

    fn node(&mut self) -> Client {
        self.nodes[self.random.usize(..self.nodes.len())].clone()
    }

    fn append(&mut self, is_exact: bool) {
        let stream = self.stream();
        let expected = match (is_exact, self.known.get(&stream)) {
            (false, _) => Expected::Any,
            (true, None) => Expected::NoStream,
            (true, Some(version)) => Expected::Version(*version),
        };
        let (number, count) = (self.history.calls.len(), 1 + self.random.u64(..BATCH_MAX));
        let ids = (0..count).map(|event| format!("{}-{number}-{event}", self.number)).collect();
        let mut append = Append { stream, ids, outcome: Outcome::Unknown };
        let begun = self.shared.clock.now();
        let until = Instant::now() + GIVE_UP;
        let ended = loop {
            let client = self.node();
            let sent = self.shared.clock.now();
            let response = append.send_at(&client, expected.json());
            let ended = self.shared.clock.now();
            self.note_token(&response);
            match append.outcome {
                Outcome::Acknowledged { .. } => {
                    self.shared.note(sent, ended);
                    break ended;
                }
                Outcome::Refused => break ended,
                Outcome::Unknown if !may_pass(&response) => {
                    self.history.strange.push(format!("{append:?}: {}: {}", response.status, response.text));
                    break ended;
                }
                Outcome::Unknown if Instant::now() > until => break ended,
                Outcome::Unknown => {
                    self.history.repeated += 1;
                    std::thread::sleep(AGAIN);
                }
            }
        };
        match append.outcome {
            Outcome::Acknowledged { last_version, .. } => {
                self.known.insert(append.stream.clone(), last_version);
            }
            // What is there now, a read will tell.
            Outcome::Refused | Outcome::Unknown => drop(self.known.remove(&append.stream)),
        }
        self.history.calls.push(Call { client: self.number, append, expected, begun, ended });
    }

    fn read(&mut self) {
        let (stream, client) = (self.stream(), self.node());
        let (level, header) = match (self.random.u8(..10), self.token) {
            (0..2, _) => (Level::Local, "local".to_owned()),
            (2..5, Some(token)) => (Level::AtLeast, format!("at-least={token}")),
            _ => (Level::Linearizable, "linearizable".to_owned()),
        };
        let path = format!("{}/events?direction=backward&count=1", client.stream(&stream));
        let begun = self.shared.clock.now();
        let response = client.get_with(&path, &[("exesdb-read", &header)]);
        let ended = self.shared.clock.now();
        let last = match (response.status, response.problem()) {
            (200, _) if !response.cut_off => {
                let event = &response.json["events"][0];
                let version = event["version"].as_u64().expect("a stream that exists has a last event");
                Some((version, event["id"].as_str().expect("an event has an id").to_owned()))
            }
            (404, "stream-not-found") => None,
            _ if may_pass(&response) => return,
            _ => {
                let text = &response.text;
                self.history.strange.push(format!("read of {stream}, {header}: {}: {text}", response.status));
                return;
            }
        };
        self.note_token(&response);
        // Only a version that is surely there still will be expected.
        if let (Level::Linearizable, Some((version, _))) = (level, &last) {
            self.known.insert(stream.clone(), *version);
        }
        self.history.reads.push(Read { client: self.number, level, stream, last, begun, ended });
    }

    fn note_token(&mut self, response: &Response) {
        let token = response.header("exesdb-token").and_then(|token| token.parse().ok());
        self.token = self.token.max(token);
    }
}

impl Shared {
    /// Notes that what was sent at a time was acknowledged at another one.
    fn note(&self, sent: u64, ended: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut watch = self.watch.lock().expect("nobody panics");
        if sent >= watch.from && watch.acknowledged.is_none() {
            watch.acknowledged = Some(ended);
        }
    }
}

/// Whether a response says that it may be another one next time: there was none, or the node could not serve.
fn may_pass(response: &Response) -> bool {
    response.cut_off
        || response.status == 0
        || response.status >= 500
        || (response.status, response.problem()) == (421, "not-leader")
}
