//! Damage at rest: a flipped bit or a truncated file, while no host runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use exesdb_test_support::{Rng, number, random};
use exesdb_tests::fault_fs::{CAPACITY_MAX, Disk};
use exesdb_tests::{Down, Host, Load, stderr};
use serde_json::{Value, json};

use crate::STORE;
use crate::witness::{NO_VIOLATIONS, Tally, Witness, refusal};

/// The number of damages, unless `EXESDB_FLIP_ROUNDS` is set.
const ROUNDS: u64 = 40;

/// Most characters of a violation that are printed: it may contain a log.
const VIOLATION_CHARS: usize = 1_000;

/// A store at rest, and the ledger of its clients.
struct AtRest {
    name: &'static str,
    disk: Disk,
    witness: Witness,
    /// Its events before any damage.
    events: Vec<Value>,
}

/// The effect of a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The store did not open.
    Refused,
    /// The store opened, but something was unreadable.
    ReadError,
    /// Everything is readable and unchanged.
    Unharmed,
}

/// How the host of a store ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    Stopped,
}

impl AtRest {
    fn new(name: &'static str, load: &str, appends: u64, end: End) -> Self {
        let disk = Disk::new(CAPACITY_MAX);
        let mut host = Down::on_disk(None, &disk).start();
        let mut witness = Witness::default();
        // Two runs, so that there is more than one journal.
        for life in 0..2 {
            let load = Load::mixed(&host.http, &format!("{load}{life}"), 4, life);
            load.go_on(appends);
            witness.record(load.finish(), &mut Tally::default());
            host = host.crash_and_restart();
        }
        let events = host.http.read_all();
        assert_eq!(witness.violations(&events), NO_VIOLATIONS);
        let down = match end {
            End::Killed => host.crash(),
            End::Stopped => host.stop().down,
        };
        let disk = down.at_rest(|disk| disk.copy());
        Self { name, disk, witness, events }
    }

    /// Damages a copy, and checks what a host serves from it.
    fn damaged(&self, random: &mut Rng) -> Result<(Outcome, String), String> {
        let disk = self.disk.copy();
        let what = format!("{}: {}", self.name, damage(&disk, random));
        let (outcome, down) = match Down::on_disk(None, &disk).try_start() {
            Ok(host) => {
                let outcome =
                    self.check(&host, random).map_err(|violation| format!("{what}: {violation}"))?;
                (outcome, host.crash())
            }
            Err(stopped) if stopped.status.code() == Some(1) => (Outcome::Refused, stopped.down),
            Err(stopped) => return Err(format!("{what}: {}", refusal(&stopped))),
        };
        // The doctor may report harmless damage, and must report harmful damage.
        let verdict = down.exesdb(&["doctor"]);
        let expected: &[i32] = if outcome == Outcome::Unharmed { &[0, 1] } else { &[1] };
        if !verdict.status.code().is_some_and(|code| expected.contains(&code)) {
            return Err(format!(
                "{what}: {outcome:?}, and the doctor: {}: {}",
                verdict.status,
                stderr(&verdict)
            ));
        }
        Ok((outcome, what))
    }

    /// Reads everything, and checks it.
    fn check(&self, host: &Host, random: &mut Rng) -> Result<Outcome, String> {
        let mut outcome = Outcome::Unharmed;
        match host.http.try_read_all() {
            Ok(events) => {
                let violations = self.witness.violations(&events);
                if violations != NO_VIOLATIONS {
                    return Err(format!("silently wrong: {violations:#?}"));
                }
            }
            Err(response) => outcome = outcome.min(error(&response)?),
        }
        let mut streams: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for event in &self.events {
            streams.entry(event["stream"].as_str().expect("an event has a stream")).or_default().push(event);
        }
        for (stream, events) in &streams {
            match host.http.try_read(stream) {
                Ok(found) if found.iter().eq(events.iter().copied()) => {}
                Ok(found) => return Err(format!("{stream} has {} events of {}", found.len(), events.len())),
                Err(response) => outcome = outcome.min(error(&response)?),
            }
        }
        for response in self.witness.send_again(host, random)? {
            outcome = outcome.min(error(&response)?);
        }
        // An append gets the next version, or is refused.
        for (stream, events) in streams.iter().take(3) {
            let response = host.http.append(stream, "any", &[json!({ "id": "new", "type": "t", "data": 1 })]);
            if response.status != 200 {
                outcome = outcome.min(error(&response)?);
            } else if response.json["first_version"] != events.len() {
                return Err(format!("{stream} went on at {} after {}", response.text, events.len()));
            }
        }
        Ok(outcome)
    }
}

/// Checks that a response is an error with a detail.
fn error(response: &exesdb_tests::Response) -> Result<Outcome, String> {
    if response.status >= 500 && !response.detail().is_empty() {
        return Ok(Outcome::ReadError);
    }
    Err(format!("{}: {}", response.status, response.text))
}

/// Whether a log contains the path of a file, or of its keyspace's folder.
fn names(log: &str, path: &Path) -> bool {
    let tree =
        path.ancestors().find(|part| part.parent().is_some_and(|parent| parent.ends_with("keyspaces")));
    log.contains(&*tree.unwrap_or(path).to_string_lossy())
}

/// Damages one random file of the store: mostly a bit, sometimes everything from an offset on.
fn damage(disk: &Disk, random: &mut Rng) -> String {
    let extents = disk.extents(Path::new(STORE));
    // Half of the time every file is equally likely, half of the time every byte.
    let extents: Vec<_> = if random.bool() {
        let files: BTreeSet<&PathBuf> = extents.iter().map(|extent| &extent.path).collect();
        let path = *files.iter().nth(random.usize(..files.len())).expect("there are files");
        extents.iter().filter(|extent| extent.path == *path).collect()
    } else {
        extents.iter().collect()
    };
    let mut place = random.u64(..extents.iter().map(|extent| extent.length).sum::<u64>());
    let extent = extents
        .iter()
        .find(|extent| {
            let inside = place < extent.length;
            place -= if inside { 0 } else { extent.length };
            inside
        })
        .expect("the place is in one of them");
    let (path, offset) = (&extent.path, extent.offset + place);
    if random.u64(..4) == 0 {
        disk.truncate(path, offset);
        format!("{} truncated at {offset}", path.display())
    } else {
        let mask = 1 << random.u64(..8);
        disk.flip(path, offset, mask);
        format!("{} with byte {offset} flipped by {mask:#04x}", path.display())
    }
}

#[test]
fn damage_is_found_or_harmless() {
    let mut random = random();
    let stores = [
        AtRest::new("killed", "small-", 150, End::Killed),
        AtRest::new("stopped", "small-", 150, End::Stopped),
        AtRest::new("killed, with tables", "large-", 110, End::Killed),
    ];
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    let mut violations = Vec::new();
    let rounds = number("EXESDB_FLIP_ROUNDS", ROUNDS);
    for round in 0..rounds {
        match stores[round as usize % stores.len()].damaged(&mut random) {
            Ok((outcome, what)) => {
                println!("{outcome:?}: {what}");
                *outcomes.entry(outcome).or_default() += 1;
            }
            Err(violation) => {
                let violation: String = violation.chars().take(VIOLATION_CHARS).collect();
                violations.push(format!("round {round}: {violation}"));
            }
        }
    }
    println!("damages: {rounds} rounds, {outcomes:?}, {} violations", violations.len());
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(outcomes.contains_key(&Outcome::Refused), "some damage is found at open: {outcomes:?}");
}

#[test]
fn a_damaged_file_that_keeps_a_store_from_opening_is_named() {
    let store = AtRest::new("stopped", "small-", 150, End::Stopped);
    let extents = store.disk.extents(Path::new(STORE));
    let mut unnamed = Vec::new();
    let mut refused = BTreeSet::new();
    for path in extents.iter().map(|extent| &extent.path).collect::<BTreeSet<_>>() {
        // Truncated to a half, every kind of file that an open reads is refused.
        let length: u64 =
            extents.iter().filter(|e| e.path == *path).map(|e| e.offset + e.length).max().unwrap_or(0);
        let disk = store.disk.copy();
        disk.truncate(path, length / 2);
        let Err(stopped) = Down::on_disk(None, &disk).try_start() else { continue };
        refused.insert(path.clone());
        let log = stopped.log.join("\n");
        if !names(&log, path) {
            unnamed.push(format!("{}: {}", path.display(), stopped.log.last().map_or("", String::as_str)));
        }
    }
    assert!(refused.len() >= 3, "only {refused:?} were refused");
    assert!(unnamed.is_empty(), "{} of {} were not named: {unnamed:#?}", unnamed.len(), refused.len());
}
