//! Loss of power at random times while clients append: the host is killed, and unsynced changes are lost.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use exesdb_test_support::{Rng, number, random, time_below};
use exesdb_tests::fault_fs::{CAPACITY_MAX, Cut, Disk};
use exesdb_tests::{Down, Host, Load, Report, eventually};

use crate::lives::{CLIENTS, DEATHS, DEATHS_LARGE, LARGE_EACH, Lives};
use crate::witness::{NO_VIOLATIONS, Tally};
use crate::{STORE, Subject};

/// Cuts, unless `EXESDB_CUT_ROUNDS` says otherwise.
const ROUNDS: u64 = 50;

/// Cuts in journals with zeroes, unless `EXESDB_CUT_ZEROES_ROUNDS` says otherwise. Each round writes a whole journal first.
const ZEROES_ROUNDS: u64 = 5;

/// Fewest bytes of zeroes on the disk after the records of a journal. A file system's block is less.
const ZEROES_MIN: u64 = 256 << 10;

/// Latest moment of a cut after the first acknowledgement: long enough for dozens of commits.
const LATEST: Duration = Duration::from_millis(60);

/// Latest moment of a cut after the start of the process, in rounds that cut the start as well.
const LATEST_IN_START: Duration = Duration::from_millis(120);

/// Appends of large events before another journal is begun. Each event has 100 KiB.
const LARGE_APPENDS: u64 = 100;

/// Longest time of a sync: as on a slow disk, so that there is time to see what should not be seen before its end.
const SYNC: Duration = Duration::from_millis(4);

/// In one of this many rounds, the power fails during the start as well, so that it interrupts the recovery.
const CUT_IN_START_EACH: u64 = 4;

/// Cuts the power `rounds` times, and returns the violations after the first cut that caused any.
pub(crate) fn cuts(rounds: u64, random: &mut Rng, tally: &mut Tally, subject: Subject<'_>) -> Vec<String> {
    cut(false, rounds, random, tally, subject)
}

/// As [`cuts`], of hosts that have begun another journal under load: in such a journal zeroes are written ahead of the
/// records.
pub(crate) fn cuts_in_zeroes(
    rounds: u64,
    random: &mut Rng,
    tally: &mut Tally,
    subject: Subject<'_>,
) -> Vec<String> {
    cut(true, rounds, random, tally, subject)
}

fn cut(
    in_zeroes: bool,
    rounds: u64,
    random: &mut Rng,
    tally: &mut Tally,
    subject: Subject<'_>,
) -> Vec<String> {
    let new = || {
        let disk = Disk::new(CAPACITY_MAX);
        let down = Down::on_disk(None, &disk);
        if subject == Subject::LyingDisk {
            disk.lie(STORE);
        }
        down
    };
    let at_rest = |mut down: Down, random: &mut Rng| {
        let cut = Cut::ALL[random.usize(..Cut::ALL.len())];
        let sync = time_below(random, SYNC);
        down.at_rest(|disk| {
            disk.cut(cut, random);
            disk.syncs_take(sync);
        });
        if random.u64(..CUT_IN_START_EACH) == 0 {
            down = subject.prepare(down).crash_while_starting(time_below(random, LATEST_IN_START));
            down.at_rest(|disk| disk.cut(cut, random));
        }
        down
    };
    // The large events that begin a journal make a store as large as if it had only such events.
    let (deaths, large_each) = if in_zeroes { (DEATHS_LARGE, 0) } else { (DEATHS, LARGE_EACH) };
    let under_load = |host: &Host, name: &str| in_zeroes.then(|| begin_journal(host, name));
    Lives { latest: LATEST, deaths, large_each, new: &new, under_load: &under_load, at_rest: &at_rest }
        .live(rounds, random, tally, subject)
}

/// Makes a host begin another journal by large events, and waits until the disk has zeroes after its records: they follow
/// the small groups of the other clients.
fn begin_journal(host: &Host, name: &str) -> Report {
    let before = newest_journal(host);
    let load = Load::until_refused(&host.http, &format!("large-{name}"), CLIENTS);
    load.go_on(LARGE_APPENDS);
    // Before the compaction: how much they append during one depends on the machine, and a compaction needs as much room
    // as the store has.
    let report = load.finish();
    host.ok(&["scavenge"]);
    eventually("another journal is begun", || (newest_journal(host) > before).then_some(()));
    eventually("zeroes are written ahead", || {
        let number = newest_journal(host);
        let newest = data(host).join(format!("{number}.jnl"));
        let allocated = std::fs::metadata(&newest).ok()?.blocks() * 512;
        let bytes = std::fs::read(&newest).ok()?;
        let end = bytes.iter().rposition(|byte| *byte != 0)? as u64;
        (allocated > end + ZEROES_MIN).then_some(())
    });
    report
}

/// The number in the name of the journal that the engine began last.
fn newest_journal(host: &Host) -> u64 {
    let journals = std::fs::read_dir(data(host)).expect("the store's folder");
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok();
    let numbers = journals.filter_map(|entry| number(entry.expect("an entry").path()));
    numbers.max().expect("a store has a journal")
}

/// The folder of the engine.
fn data(host: &Host) -> PathBuf {
    host.data().join(STORE).join("data")
}

#[test]
fn a_loss_of_power_loses_nothing_that_was_acknowledged_or_shown() {
    let (rounds, mut tally) = (number("EXESDB_CUT_ROUNDS", ROUNDS), Tally::default());
    let violations = cuts(rounds, &mut random(), &mut tally, Subject::Binary);
    println!("{}", tally.summary("cuts of power"));
    assert_eq!(violations, NO_VIOLATIONS);
    assert_eq!(tally.rounds(), rounds);
    assert!(tally.piped() >= rounds, "each host had pipelines");
}

#[test]
fn a_loss_of_power_with_zeroes_ahead_loses_nothing_that_was_acknowledged_or_shown() {
    let (rounds, mut tally) = (number("EXESDB_CUT_ZEROES_ROUNDS", ZEROES_ROUNDS), Tally::default());
    let violations = cuts_in_zeroes(rounds, &mut random(), &mut tally, Subject::Binary);
    println!("{}", tally.summary("cuts of power with zeroes ahead"));
    assert_eq!(violations, NO_VIOLATIONS);
    assert_eq!(tally.rounds(), rounds);
    assert!(tally.piped() >= rounds, "each host had pipelines");
}
