//! Clients that append without a pause and remember what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Answer, Append, Client, Outcome, Random, eventually};

/// Pause before an append that was refused is sent again.
const PAUSE: Duration = Duration::from_millis(5);

/// A stream that every client of a load appends to, beside its own.
const SHARED_STREAM: &str = "shared";

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
    /// Every append, in each client's order.
    pub appends: Vec<Append>,
    /// Answers that were no acknowledgement.
    pub refusals: Vec<Answer>,
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

impl Load {
    /// Clients of a host that answers: what is refused is sent again, with the same ids, until it is acknowledged.
    /// `name` keeps their streams and ids apart from those of other loads.
    pub fn patient(client: &Client, name: &str, clients: usize) -> Self {
        Self::start(client, name, clients, Refused::Again)
    }

    /// Clients of a host that will end: each stops at the first answer that is no acknowledgement.
    pub fn until_refused(client: &Client, name: &str, clients: usize) -> Self {
        Self::start(client, name, clients, Refused::Stop)
    }

    fn start(client: &Client, name: &str, clients: usize, refused: Refused) -> Self {
        let (ending, acknowledged): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let client = |index: usize| {
            let appender = Appender {
                client: client.clone(),
                name: format!("{name}-{index}"),
                refused,
                random: Random::new(index as u64 + 1),
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
            report.refusals.extend(its.refusals);
        }
        report
    }
}

struct Appender {
    client: Client,
    name: String,
    refused: Refused,
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
            let outcome = self.append(number, &mut report);
            if outcome == Outcome::Unknown {
                break;
            }
        }
        report
    }

    fn append(&mut self, number: u64, report: &mut Report) -> Outcome {
        // One in three goes to the stream of all; one in sixteen is large enough to be cut by a crash.
        let stream = match number % 3 {
            0 => SHARED_STREAM.to_owned(),
            turn => format!("{}-{turn}", self.name),
        };
        let size = if self.random.below(16) == 0 { 50 } else { 1 + self.random.below(4) };
        let ids = (0..size).map(|event| format!("{}-{number}-{event}", self.name)).collect();
        let mut append = Append { stream, ids, outcome: Outcome::Unknown };
        loop {
            let answer = append.send(&self.client);
            if append.outcome != Outcome::Unknown {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
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
}
