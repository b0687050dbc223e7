//! Who remembers what a store said, over all its deaths, and holds it to that.

use std::path::Path;
use std::time::Duration;

use exesdb_test_support::Rng;
use exesdb_tests::{
    Append, Down, Follower, Host, Outcome, Report, Response, Stopped, Transaction, faults, halves,
};
use serde_json::Value;

use crate::STORE;

/// What was said about one store, by all of its hosts.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    /// What writers were told.
    appends: Vec<Append>,
    transactions: Vec<Transaction>,
    /// What followers were shown: positions and events.
    shown: Vec<(u64, Value)>,
    /// What was wrong by itself.
    violations: Vec<String>,
}

/// What a test came to, over all its stores.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rounds: u64,
    acknowledged: u64,
    reopened: Vec<Duration>,
    table_bytes: u64,
}

/// Appends that [`Witness::send_again`] sends.
const SENT_AGAIN: usize = 30;

/// What [`Witness::violations`] finds when the store kept its word.
pub(crate) const NO_VIOLATIONS: [&str; 0] = [];

impl Witness {
    /// Notes what the clients of a load were told.
    pub(crate) fn told(&mut self, report: Report, tally: &mut Tally) {
        let acknowledged = |append: &&Append| matches!(append.outcome, Outcome::Acknowledged { .. });
        let events = |append: &Append| append.ids.len() as u64;
        let of_transactions = report.transactions.iter().flat_map(|transaction| &transaction.appends);
        let all = report.appends.iter().chain(of_transactions);
        tally.acknowledged += all.filter(acknowledged).map(events).sum::<u64>();
        self.appends.extend(report.appends);
        self.transactions.extend(report.transactions);
        self.violations.extend(report.violations);
    }

    /// Notes what a follower was shown until its host was gone.
    pub(crate) fn saw(&mut self, follower: Follower) {
        self.shown.extend(follower.rest());
    }

    /// Starts a host again, and holds what it has against what was said. What no writer knows the end of is sent once
    /// more after that, and then is there, once.
    ///
    /// # Errors
    ///
    /// Everything that is wrong; with it, a host that does not start.
    pub(crate) fn reopen(&mut self, down: Down, tally: &mut Tally) -> Result<Host, Vec<String>> {
        let host = down.try_start().map_err(|stopped| vec![refusal(&stopped)])?;
        tally.rounds += 1;
        tally.reopened.push(host.start_took());
        self.check(&host)?;
        let mut sent = false;
        let unknown = |outcome: Outcome| outcome == Outcome::Unknown;
        for append in self.appends.iter_mut().filter(|append| unknown(append.outcome)) {
            let response = append.send(&host.http);
            if unknown(append.outcome) {
                return Err(vec![format!("it cannot be sent again: {append:?}: {}", response.text)]);
            }
            sent = true;
        }
        for transaction in self.transactions.iter_mut().filter(|transaction| unknown(transaction.outcome())) {
            let response = transaction.send(&host.http);
            if unknown(transaction.outcome()) {
                return Err(vec![format!("it cannot be sent again: {transaction:?}: {}", response.text)]);
            }
            sent = true;
        }
        if sent {
            self.check(&host)?;
        }
        Ok(host)
    }

    /// Holds what a host has against what was said.
    ///
    /// # Errors
    ///
    /// Everything that is wrong.
    pub(crate) fn check(&self, host: &Host) -> Result<(), Vec<String>> {
        let violations = self.violations(&host.http.read_all());
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Sends some of what was acknowledged once more: it is answered as it was then, or with an error.
    ///
    /// # Errors
    ///
    /// Another response, or a second acknowledgement of the same at another place.
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

    /// Everything that is wrong with the events of the store, in the light of what was said.
    pub(crate) fn violations(&self, events: &[Value]) -> Vec<String> {
        let mut violations = self.violations.clone();
        let of_transactions = self.transactions.iter().flat_map(|transaction| &transaction.appends);
        let appends: Vec<Append> = self.appends.iter().chain(of_transactions).cloned().collect();
        violations.extend(faults(events, &appends));
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

/// Why a host ended that was to serve.
pub(crate) fn refusal(stopped: &Stopped) -> String {
    format!("the host did not start: {}: {}", stopped.status, stopped.log.join("\n"))
}

impl Tally {
    /// Notes how much of a store has come from journals into tables.
    pub(crate) fn looked_at_tables(&mut self, data: &Path) {
        self.table_bytes = self.table_bytes.max(table_bytes(&data.join(STORE).join("data/keyspaces")));
    }

    /// One line for whoever reads the output.
    pub(crate) fn summary(&mut self, what: &str) -> String {
        self.reopened.sort_unstable();
        let median = self.reopened.get(self.reopened.len() / 2).copied().unwrap_or_default();
        let longest = self.reopened.last().copied().unwrap_or_default();
        let Self { rounds, acknowledged, table_bytes, .. } = self;
        format!(
            "{what}: {rounds} rounds, {acknowledged} events acknowledged, until it served again {} ms (median), {} ms (longest), at most {} MiB in tables",
            median.as_millis(),
            longest.as_millis(),
            *table_bytes >> 20
        )
    }

    /// Rounds in which the host served again.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }
}

/// Bytes of all files in folders named `tables` below a folder.
fn table_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => table_bytes(&entry.path()),
        Ok(metadata) if folder.ends_with("tables") => metadata.len(),
        _ => 0,
    };
    entries.map(size).sum()
}
