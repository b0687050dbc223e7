//! A ledger of what clients were told about one store, over all deaths of its hosts, and the checks against it.

use std::path::Path;
use std::time::Duration;

use exesdb_test_support::Rng;
use exesdb_tests::{
    Append, Down, Follower, Host, Outcome, Report, Response, Stopped, Transaction, disorder, faults, halves,
};
use serde_json::Value;

use crate::STORE;

/// What the clients of a store's hosts were told.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// The appends, with their outcomes.
    appends: Vec<Append>,
    transactions: Vec<Transaction>,
    /// The appends of each pipeline, in its order.
    pipelines: Vec<Vec<Append>>,
    /// The events that followers were shown, with their positions.
    shown: Vec<(u64, Value)>,
    /// Responses that contradict each other.
    violations: Vec<String>,
}

/// The totals of a test, over all of its stores.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rounds: u64,
    acknowledged: u64,
    piped: u64,
    unanswered: u64,
    reopened: Vec<Duration>,
    table_bytes: u64,
}

/// The number of appends that [`Witness::send_again`] sends.
const SENT_AGAIN: usize = 30;

/// The violations of a store that kept every promise.
pub(crate) const NO_VIOLATIONS: [&str; 0] = [];

impl Witness {
    /// Records what the clients of a load were told.
    pub(crate) fn record(&mut self, report: Report, tally: &mut Tally) {
        let acknowledged = |append: &&Append| matches!(append.outcome, Outcome::Acknowledged { .. });
        let events = |append: &Append| append.ids.len() as u64;
        let of_transactions = report.transactions.iter().flat_map(|transaction| &transaction.appends);
        let piped = report.pipelines.iter().flatten();
        tally.piped += piped.clone().filter(acknowledged).count() as u64;
        tally.unanswered += piped.clone().filter(|append| append.outcome == Outcome::Unknown).count() as u64;
        let all = report.appends.iter().chain(of_transactions).chain(piped);
        tally.acknowledged += all.filter(acknowledged).map(events).sum::<u64>();
        self.appends.extend(report.appends);
        self.transactions.extend(report.transactions);
        self.pipelines.extend(report.pipelines);
        self.violations.extend(report.violations);
    }

    /// Records what a follower was shown until its host ended.
    pub(crate) fn record_follower(&mut self, follower: Follower) {
        self.shown.extend(follower.rest());
    }

    /// Starts a host again, and checks its events. Then appends with unknown outcomes are sent again, and must be stored
    /// exactly once.
    ///
    /// # Errors
    ///
    /// The violations, or the log of a host that does not start.
    pub(crate) fn reopen(&mut self, down: Down, tally: &mut Tally) -> Result<Host, Vec<String>> {
        let host = down.try_start().map_err(|stopped| vec![refusal(&stopped)])?;
        tally.rounds += 1;
        tally.reopened.push(host.start_took());
        self.check(&host)?;
        let mut sent = false;
        let unknown = |outcome: Outcome| outcome == Outcome::Unknown;
        let piped = self.pipelines.iter_mut().flatten();
        for append in self.appends.iter_mut().chain(piped).filter(|append| unknown(append.outcome)) {
            let response = append.send(&host.http);
            if unknown(append.outcome) {
                return Err(vec![format!("the outcome is still unknown: {append:?}: {}", response.text)]);
            }
            sent = true;
        }
        for transaction in self.transactions.iter_mut().filter(|transaction| unknown(transaction.outcome())) {
            let response = transaction.send(&host.http);
            if unknown(transaction.outcome()) {
                return Err(vec![format!(
                    "the outcome is still unknown: {transaction:?}: {}",
                    response.text
                )]);
            }
            sent = true;
        }
        if sent {
            self.check(&host)?;
        }
        Ok(host)
    }

    /// Checks a host's events against the ledger.
    ///
    /// # Errors
    ///
    /// The violations.
    pub(crate) fn check(&self, host: &Host) -> Result<(), Vec<String>> {
        let events = host.http.try_read_all();
        let unreadable =
            |page: Box<Response>| vec![format!("not all can be read: {}: {}", page.status, page.text)];
        let violations = self.violations(&events.map_err(unreadable)?);
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Sends some acknowledged appends again. Each must get its first acknowledgement again, or an error; the errors are
    /// returned.
    ///
    /// # Errors
    ///
    /// Another acknowledgement or a refusal.
    pub(crate) fn send_again(&self, host: &Host, random: &mut Rng) -> Result<Vec<Response>, String> {
        let mut errors = Vec::new();
        let acknowledged = |append: &&Append| matches!(append.outcome, Outcome::Acknowledged { .. });
        let known: Vec<&Append> = self.appends.iter().filter(acknowledged).collect();
        for _ in 0..SENT_AGAIN {
            let first = known[random.usize(..known.len())];
            let mut again = Append { outcome: Outcome::Unknown, ..first.clone() };
            let response = again.send(&host.http);
            if again.outcome == Outcome::Unknown {
                errors.push(response);
            } else if again.outcome != first.outcome {
                return Err(format!("{first:?}, sent again: {:?}", again.outcome));
            }
        }
        Ok(errors)
    }

    /// The violations in the events of the store.
    pub(crate) fn violations(&self, events: &[Value]) -> Vec<String> {
        let mut violations = self.violations.clone();
        let of_transactions = self.transactions.iter().flat_map(|transaction| &transaction.appends);
        let piped = self.pipelines.iter().flatten();
        let appends: Vec<Append> = self.appends.iter().chain(of_transactions).chain(piped).cloned().collect();
        violations.extend(faults(events, &appends));
        violations.extend(disorder(events, &self.pipelines));
        violations.extend(halves(events, &self.transactions));
        for (position, shown) in &self.shown {
            let found = usize::try_from(*position).ok().and_then(|position| events.get(position));
            if found != Some(shown) {
                violations.push(format!("position {position} was shown as {}", shown["id"]));
            }
        }
        violations
    }
}

/// A message about a host that ended instead of becoming ready.
pub(crate) fn refusal(stopped: &Stopped) -> String {
    format!("the host did not start: {}: {}", stopped.status, stopped.log.join("\n"))
}

impl Tally {
    /// Records how many bytes of a store are in tables.
    pub(crate) fn record_tables(&mut self, data: &Path) {
        self.table_bytes = self.table_bytes.max(table_bytes(&data.join(STORE).join("data/keyspaces")));
    }

    /// A line about the whole test.
    pub(crate) fn summary(&mut self, what: &str) -> String {
        self.reopened.sort_unstable();
        let median = self.reopened.get(self.reopened.len() / 2).copied().unwrap_or_default();
        let longest = self.reopened.last().copied().unwrap_or_default();
        let Self { rounds, acknowledged, piped, unanswered, table_bytes, .. } = self;
        format!(
            "{what}: {rounds} rounds, {acknowledged} events acknowledged, in pipelines {piped} appends and {unanswered} without an answer, until it was ready again {} ms (median), {} ms (longest), at most {} MiB in tables",
            median.as_millis(),
            longest.as_millis(),
            *table_bytes >> 20
        )
    }

    /// The number of rounds after which the host became ready again.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// The number of acknowledged appends of pipelines.
    pub(crate) fn piped(&self) -> u64 {
        self.piped
    }
}

/// The total size, in bytes, of all files in folders named `tables` below a folder.
fn table_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => table_bytes(&entry.path()),
        Ok(metadata) if folder.ends_with("tables") => metadata.len(),
        _ => 0,
    };
    entries.map(size).sum()
}
