//! Clients that append without a pause and remember what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ledger::LARGE;
use crate::{Answer, Append, Client, Outcome, Random, Transaction, eventually};

/// Pause before an append that was refused is sent again.
const PAUSE: Duration = Duration::from_millis(5);

/// A stream that every client of a load appends to, beside its own.
const SHARED_STREAM: &str = "shared";

/// A stream that every client of a mixed load appends to at the version that it believes the stream to have.
const CONTENDED_STREAM: &str = "contended";

/// Appending clients, each in a thread of its own.
#[derive(Debug)]
pub struct Load {
    ending: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Report>>,
}

/// What clients did.
#[derive(Debug, Default)]
pub struct Report {
    /// Every append by itself, in each client's order.
    pub appends: Vec<Append>,
    /// Every transaction, in each client's order.
    pub transactions: Vec<Transaction>,
    /// Answers that were neither an acknowledgement nor a refusal because of the version.
    pub refusals: Vec<Answer>,
    /// Answers that contradict what was asked for, or earlier answers to the same client.
    pub violations: Vec<String>,
}

impl Report {
    /// Checks that there was no refusal at all.
    #[track_caller]
    pub fn expect_no_refusal(&self) {
        assert!(self.refusals.is_empty(), "{:#?}", self.refusals);
    }
}

/// What a client does with an append that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// It sends the same again until it is.
    Again,
    /// It stops.
    Stop,
}

/// Which versions a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Versions {
    /// Any.
    Any,
    /// In turn: any, in the stream of all; any, in its own; exact, in its own; exact, in the contended one; and a
    /// transaction of the last two, which another writer than that of the contended stream decides.
    Mixed,
}

impl Load {
    /// Clients of a host that answers: what is refused is sent again, with the same ids, until it is acknowledged.
    /// `name` keeps their streams and ids apart from those of other loads.
    pub fn patient(client: &Client, name: &str, clients: usize) -> Self {
        Self::start(client, name, clients, Refused::Again, Versions::Any, 0)
    }

    /// Clients of a host that will end: each stops at the first answer that is no acknowledgement.
    pub fn until_refused(client: &Client, name: &str, clients: usize) -> Self {
        Self::start(client, name, clients, Refused::Stop, Versions::Any, 0)
    }

    /// As [`Load::until_refused`], with exact versions among the appends: in streams of one client, where they always
    /// hold, and in one that the clients race for; and with transactions. `seed` decides on sizes. Under a name that begins with `large-`,
    /// events are of 100 KiB.
    pub fn mixed(client: &Client, name: &str, clients: usize, seed: u64) -> Self {
        Self::start(client, name, clients, Refused::Stop, Versions::Mixed, seed)
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
                random: Random::new(seed.wrapping_add(index as u64 + 1)),
                ending: ending.clone(),
                acknowledged: acknowledged.clone(),
            };
            std::thread::spawn(move || appender.run())
        };
        Self { clients: (0..clients).map(client).collect(), ending, acknowledged }
    }

    /// Appends that were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more appends were acknowledged.
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

    /// Lets the clients finish what they are at, and tells what they did.
    pub fn finish(self) -> Report {
        self.ending.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until every client was refused, and tells what they did.
    pub fn wait(self) -> Report {
        let mut report = Report::default();
        for client in self.clients {
            let its = client.join().expect("a client does not panic");
            report.appends.extend(its.appends);
            report.transactions.extend(its.transactions);
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
    /// The version of a stream as it was told last.
    known: BTreeMap<String, u64>,
    /// The position of the last acknowledgement.
    position: Option<u64>,
    random: Random,
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
            let answer = append.send_at(&self.client, expected.clone());
            if append.outcome != Outcome::Unknown {
                self.look_at(&append, &expected, &answer, report);
                break;
            }
            let status = answer.status;
            report.refusals.push(answer);
            if self.refused == Refused::Stop || (status == 0 && self.ending.load(Ordering::Relaxed)) {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let outcome = append.outcome;
        report.appends.push(append);
        outcome
    }

    /// A transaction is sent once: only mixed loads have any, and they stop.
    fn transact(&mut self, number: u64, report: &mut Report) -> Outcome {
        let own = self.new_append(format!("{}-2", self.name), &format!("{number}-own"));
        let contended = self.new_append(CONTENDED_STREAM.to_owned(), &format!("{number}-contended"));
        let expected_versions = vec![self.expected(&own.stream), self.expected(&contended.stream)];
        let mut transaction = Transaction { appends: vec![own, contended], expected_versions };
        let answer = transaction.send(&self.client);
        let before = self.position;
        let mut last = before;
        for (append, expected) in transaction.appends.iter().zip(&transaction.expected_versions) {
            self.position = before;
            // Of a transaction that is refused, the stream that was not as expected is not said of each append.
            if append.outcome != Outcome::Refused {
                self.look_at(append, expected, &answer, report);
            }
            last = last.max(self.position);
        }
        self.position = last;
        let outcome = transaction.outcome();
        match outcome {
            Outcome::Acknowledged { .. } => {}
            Outcome::Refused => drop(self.known.remove(CONTENDED_STREAM)),
            Outcome::Unknown => report.refusals.push(answer),
        }
        report.transactions.push(transaction);
        outcome
    }

    /// The version that a stream has as far as this client knows.
    fn expected(&self, stream: &str) -> Value {
        self.known.get(stream).map_or(json!("no_stream"), |version| json!(version))
    }

    fn new_append(&mut self, stream: String, name: &str) -> Append {
        // One in sixteen is large enough to be cut by a crash; so is each large event.
        let batch = !self.name.starts_with(LARGE) && self.random.below(16) == 0;
        let size = if batch { 50 } else { 1 + self.random.below(4) };
        let ids = (0..size).map(|event| format!("{}-{name}-{event}", self.name)).collect();
        Append { stream, ids, outcome: Outcome::Unknown }
    }

    /// The stream of an append, and whether its version is asked for.
    fn stream(&self, number: u64) -> (String, bool) {
        match (self.versions, number % 5, number % 3) {
            (Versions::Any, _, 0) | (Versions::Mixed, 0, _) => (SHARED_STREAM.to_owned(), false),
            (Versions::Any, _, turn) => (format!("{}-{turn}", self.name), false),
            (Versions::Mixed, 3, _) => (CONTENDED_STREAM.to_owned(), true),
            (Versions::Mixed, turn, _) => (format!("{}-{turn}", self.name), turn == 2),
        }
    }

    /// Holds an answer against the question and the answers before it.
    fn look_at(&mut self, append: &Append, expected: &Value, answer: &Answer, report: &mut Report) {
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
                    report.violations.push(format!("not behind position {:?}: {append:?}", self.position));
                }
                self.position = Some(position);
                self.known.insert(append.stream.clone(), last_version);
            }
            Outcome::Refused => {
                if append.stream != CONTENDED_STREAM {
                    let text = &answer.text;
                    report.violations.push(format!("nobody else writes to it: {append:?}: {text}"));
                }
                match answer.json["actual_version"].as_u64() {
                    Some(version) => drop(self.known.insert(append.stream.clone(), version)),
                    None => drop(self.known.remove(&append.stream)),
                }
            }
            Outcome::Unknown => {}
        }
    }
}
