//! Each fault breaks the promise that it is named after.
#![cfg(feature = "faults")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scratch;

use exesdb_log::disk::MemoryDisk;
use exesdb_log::{FailPoint, Fault, Options};
use scratch::{Held, hold_at, open, outcome, set_state, small};

fn faulty(fault: Fault) -> Options {
    Options { fault: Some(fault), ..small() }
}

#[test]
fn callback_before_sync_calls_back_what_a_loss_of_power_takes() {
    let disk = MemoryDisk::new();
    let (options, Held { reached, go }) = hold_at(FailPoint::AfterSync, 2, faulty(Fault::CallbackBeforeSync));
    let (log, _) = open(&disk, options).unwrap();
    let (callback, told) = outcome();
    log.append(1, 1, &["a".into()], callback).unwrap();
    told.recv().unwrap().unwrap();
    reached.recv().unwrap();
    assert!(told.recv().is_err(), "it is called once");
    drop(go);
}

#[test]
fn state_not_synced_loses_a_vote() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, faulty(Fault::StateNotSynced)).unwrap();
    set_state(&log, 1, b"vote");
    disk.cut(&mut |_| 0);
    drop(log);
    assert_eq!(open(&disk, small()).unwrap().0.group(1), None);
}
