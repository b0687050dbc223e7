//! What has to hold, whatever happened: one property a file, each a function over what was recorded.

mod acknowledged;
mod fences;
mod guards;
mod leaders;
mod order;
mod positions;
mod reads;
mod replicas;
#[cfg(test)]
mod sample;
mod time;

use std::fmt;

use crate::committed::{Replay, replay};
use crate::history::{Answer, Append, History, Outcome};

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property.
    pub property: &'static str,
    /// What breaks it.
    pub what: String,
}

impl Violation {
    /// Says what breaks which property.
    #[must_use]
    pub fn new(property: &'static str, what: String) -> Self {
        Self { property, what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)
    }
}

type Check = fn(&History) -> Result<(), String>;
type CheckLog = fn(&History, &Replay) -> Result<(), String>;

/// Checks all properties; of a simulation that did not come to its end, those that need no end.
#[must_use]
pub fn check(history: &History, is_complete: bool) -> Vec<Violation> {
    const ANYWHERE: [(&str, Check); 4] = [
        ("in real time, what is acknowledged first is first", order::check),
        ("a term has one ready leader", leaders::check_terms),
        ("a read sees what its level promises", reads::check),
        ("replicas that have applied the same are the same", replicas::check_seen),
    ];
    const AT_THE_END: [(&str, CheckLog); 7] = [
        ("what is acknowledged is there once, in its place", acknowledged::check),
        ("positions are dense", positions::check),
        ("what is expected holds, in the order of the log", guards::check),
        ("a fenced commit is applied under its term only", fences::check),
        ("terms follow each other in the log", leaders::check_log),
        ("replicas are equal in the end", replicas::check_end),
        ("time does not go back", time::check),
    ];
    let broken =
        |property, checked: Result<(), String>| checked.err().map(|what| Violation::new(property, what));
    let mut violations: Vec<_> =
        ANYWHERE.into_iter().filter_map(|(property, check)| broken(property, check(history))).collect();
    if is_complete {
        match replay(history) {
            Ok(replay) => violations.extend(
                AT_THE_END
                    .into_iter()
                    .filter_map(|(property, check)| broken(property, check(history, &replay))),
            ),
            Err(what) => violations.push(Violation::new("everything committed is known", what)),
        }
    }
    violations
}

/// Where a client was told that its append is.
fn position(append: &Append) -> Option<u64> {
    match append.answer {
        Some((_, Answer::Decided { outcome: Outcome::Applied { position }, .. })) => Some(position),
        _ => None,
    }
}
