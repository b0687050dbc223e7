//! Clients that append in a closed loop and record what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use exesdb_test_support::Rng;
use serde_json::{Value, json};

use crate::ledger::LARGE;
use crate::piped::PipedAppender;
use crate::{Append, Client, Outcome, Response, Transaction, eventually};

/// Pause before a retry.
const PAUSE: Duration = Duration::from_millis(5);

/// A stream that every client of a load appends to, besides its own streams.
pub(crate) const SHARED_STREAM: &str = "shared";

/// A stream that every client of a mixed load appends to, each with the version that it last knew.
const CONTENDED_STREAM: &str = "contended";

/// Appending clients, one thread each.
#[derive(Debug)]
pub struct Load {
    ending: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Report>>,
}

/// What the clients of a load did.
#[derive(Debug, Default)]
pub struct Report {
    /// Every single append, in each client's order.
    pub appends: Vec<Append>,
    /// Every transaction, in each client's order.
    pub transactions: Vec<Transaction>,
    /// Every append of each pipeline, in the pipeline's order.
    pub pipelines: Vec<Vec<Append>>,
    /// Responses that were neither an acknowledgement nor a version conflict.
    pub refusals: Vec<Response>,
    /// Responses that contradict the request, or earlier responses to the same client.
    pub violations: Vec<String>,
}

impl Report {
    /// Asserts that there was no refusal.
    #[track_caller]
    pub fn expect_no_refusal(&self) {
        assert!(self.refusals.is_empty(), "{:#?}", self.refusals);
    }
}

/// What a client does with an append that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// It sends the append again until it is acknowledged.
    Again,
    /// It stops.
    Stop,
}

/// Which expected versions a client sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    /// Any.
    Any,
    /// In turn: any version in the shared stream; any and exact versions in the client's own streams; an exact version in
    /// the contended stream; and a transaction over its own and the contended stream.
    Mixed,
}

impl Load {
    /// Clients that send a refused append again, with the same ids, until it is acknowledged. `name` separates their
    /// streams and ids from those of other loads.
    pub fn patient(client: &Client, name: &str, clients: usize) -> Self {
        Self::start(client, name, clients, Refused::Again, Versions::Any, 0)
    }

    /// Clients of a host that will end: each stops at the first response that is not an acknowledgement.
    pub fn until_refused(client: &Client, name: &str, clients: usize) -> Self {
        Self::start(client, name, clients, Refused::Stop, Versions::Any, 0)
    }

    /// As [`Load::until_refused`], with transactions and with exact versions: in each client's own streams, where they
    /// always hold, and in one stream that the clients compete for. `seed` decides on the sizes of batches. If `name`
    /// begins with `large-`, events have 100 KiB.
    pub fn mixed(client: &Client, name: &str, clients: usize, seed: u64) -> Self {
        Self::start(client, name, clients, Refused::Stop, Versions::Mixed, seed)
    }

    /// Clients of a host that will end, each of which sends small appends in a pipeline until the first answer that is not an
    /// acknowledgement. Some have exact versions, in streams of one client, where they always hold.
    pub fn piped(client: &Client, name: &str, pipelines: usize, seed: u64) -> Self {
        let (ending, acknowledged): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let pipeline = |index: usize| {
            let (name, seed) = (format!("{name}-{index}"), seed.wrapping_add(index as u64 + 1));
            let appender = PipedAppender::new(client, name, seed, ending.clone(), acknowledged.clone());
            std::thread::spawn(move || appender.run())
        };
        Self { clients: (0..pipelines).map(pipeline).collect(), ending, acknowledged }
    }

    fn start(
        client: &Client,
        name: &str,
        clients: usize,
        refused: Refused,
        versions: Versions,
        seed: u64,
    ) -> Self {
        let (ending, acknowledged): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let client = |index: usize| {
            let appender = Appender {
                client: client.clone(),
                name: format!("{name}-{index}"),
                refused,
                versions,
                known: BTreeMap::new(),
                position: None,
                random: Rng::with_seed(seed.wrapping_add(index as u64 + 1)),
                ending: ending.clone(),
                acknowledged: acknowledged.clone(),
            };
            std::thread::spawn(move || appender.run())
        };
        Self { clients: (0..clients).map(client).collect(), ending, acknowledged }
    }

    /// The number of appends acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more appends are acknowledged.
    #[track_caller]
    pub fn go_on(&self, appends: u64) {
        let goal = self.acknowledged() + appends;
        eventually("the load goes on", || {
            assert!(self.is_going_on(), "every client was refused");
            (self.acknowledged() >= goal).then_some(())
        });
    }

    /// Whether a client still appends.
    pub fn is_going_on(&self) -> bool {
        self.clients.iter().any(|client| !client.is_finished())
    }

    /// Stops the clients after their current append, and reports what they did.
    pub fn finish(self) -> Report {
        self.ending.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until every client was refused, and reports what they did.
    pub fn wait(self) -> Report {
        let mut report = Report::default();
        for client in self.clients {
            let its = client.join().expect("a client does not panic");
            report.appends.extend(its.appends);
            report.transactions.extend(its.transactions);
            report.pipelines.extend(its.pipelines);
            report.refusals.extend(its.refusals);
            report.violations.extend(its.violations);
        }
        report
    }
}

struct Appender {
    client: Client,
    name: String,
    refused: Refused,
    versions: Versions,
    /// The last known version of each stream.
    known: BTreeMap<String, u64>,
    /// The position of the last acknowledgement.
    position: Option<u64>,
    random: Rng,
    ending: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Appender {
    fn run(mut self) -> Report {
        let mut report = Report::default();
        for number in 0_u64.. {
            if self.ending.load(Ordering::Relaxed) {
                break;
            }
            let transaction = self.versions == Versions::Mixed && number % 5 == 4;
            let outcome = if transaction {
                self.transact(number, &mut report)
            } else {
                self.append(number, &mut report)
            };
            if outcome == Outcome::Unknown {
                break;
            }
        }
        report
    }

    fn append(&mut self, number: u64, report: &mut Report) -> Outcome {
        let (stream, exact) = self.stream(number);
        let expected = if exact { self.expected(&stream) } else { json!("any") };
        let mut append = self.new_append(stream, &number.to_string());
        loop {
            let response = append.send_at(&self.client, expected.clone());
            if append.outcome != Outcome::Unknown {
                self.check(&append, &expected, &response, report);
                break;
            }
            let status = response.status;
            report.refusals.push(response);
            if self.refused == Refused::Stop || (status == 0 && self.ending.load(Ordering::Relaxed)) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let outcome = append.outcome;
        report.appends.push(append);
        outcome
    }

    /// Sends a transaction once: only mixed loads have transactions, and they stop when refused.
    fn transact(&mut self, number: u64, report: &mut Report) -> Outcome {
        let own = self.new_append(format!("{}-2", self.name), &format!("{number}-own"));
        let contended = self.new_append(CONTENDED_STREAM.to_owned(), &format!("{number}-contended"));
        let expected_versions = vec![self.expected(&own.stream), self.expected(&contended.stream)];
        let mut transaction = Transaction { appends: vec![own, contended], expected_versions };
        let response = transaction.send(&self.client);
        let before = self.position;
        let mut last = before;
        for (append, expected) in transaction.appends.iter().zip(&transaction.expected_versions) {
            self.position = before;
            // A refused transaction does not say which of its streams had another version.
            if append.outcome != Outcome::Refused {
                self.check(append, expected, &response, report);
            }
            last = last.max(self.position);
        }
        self.position = last;
        let outcome = transaction.outcome();
        match outcome {
            Outcome::Acknowledged { .. } => {}
            Outcome::Refused => drop(self.known.remove(CONTENDED_STREAM)),
            Outcome::Unknown => report.refusals.push(response),
        }
        report.transactions.push(transaction);
        outcome
    }

    /// The version of a stream, as far as this client knows.
    fn expected(&self, stream: &str) -> Value {
        self.known.get(stream).map_or(json!("no_stream"), |version| json!(version))
    }

    fn new_append(&mut self, stream: String, name: &str) -> Append {
        // One batch in sixteen is large enough for a crash to interrupt its write, as is every large event.
        let batch = !self.name.starts_with(LARGE) && self.random.u64(..16) == 0;
        let size = if batch { 50 } else { 1 + self.random.u64(..4) };
        let ids = (0..size).map(|event| format!("{}-{name}-{event}", self.name)).collect();
        Append { stream, ids, outcome: Outcome::Unknown }
    }

    /// The stream of an append, and whether it is sent with an exact version.
    fn stream(&self, number: u64) -> (String, bool) {
        match (self.versions, number % 5, number % 3) {
            (Versions::Any, _, 0) | (Versions::Mixed, 0, _) => (SHARED_STREAM.to_owned(), false),
            (Versions::Any, _, turn) => (format!("{}-{turn}", self.name), false),
            (Versions::Mixed, 3, _) => (CONTENDED_STREAM.to_owned(), true),
            (Versions::Mixed, turn, _) => (format!("{}-{turn}", self.name), turn == 2),
        }
    }

    /// Checks a response against the request and the responses before it.
    fn check(&mut self, append: &Append, expected: &Value, response: &Response, report: &mut Report) {
        match append.outcome {
            Outcome::Acknowledged { first_version, last_version, position } => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                let due = match expected.as_str() {
                    Some("any") => None,
                    _ => Some(expected.as_u64().map_or(0, |version| version + 1)),
                };
                if due.is_some_and(|due| due != first_version) {
                    report.violations.push(format!("expected version {expected}: {append:?}"));
                }
                if self.position.is_some_and(|before| before >= position) {
                    report.violations.push(format!("not after position {:?}: {append:?}", self.position));
                }
                self.position = Some(position);
                self.known.insert(append.stream.clone(), last_version);
            }
            Outcome::Refused => {
                if append.stream != CONTENDED_STREAM {
                    let text = &response.text;
                    report
                        .violations
                        .push(format!("a conflict in a stream of one writer: {append:?}: {text}"));
                }
                match response.json["actual_version"].as_u64() {
                    Some(version) => drop(self.known.insert(append.stream.clone(), version)),
                    None => drop(self.known.remove(&append.stream)),
                }
            }
            Outcome::Unknown => {}
        }
    }
}
