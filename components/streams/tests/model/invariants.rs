//! What holds in every store, whatever its events are.

use exesdb_sdk::memory::MemoryStore;
use exesdb_streams::layout::{Head, RETAINED, STREAMS};
use proptest::{prop_assert, prop_assert_eq};

use crate::driver::verify;
use crate::run::Checked;

/// The keyspaces that the component writes.
const KEYSPACES: [&str; 6] = ["ids", "imports", "index", "labels", RETAINED, STREAMS];

/// Checks the invariants of any store.
pub(crate) fn check(store: &MemoryStore) -> Checked {
    let keyspaces = store.keyspaces();
    prop_assert!(keyspaces.iter().all(|it| KEYSPACES.contains(&it.as_str())), "{:?}", keyspaces);
    let extended = store
        .entries(STREAMS)
        .into_iter()
        .filter(|(_, head)| Head::decode(head).is_ok_and(|head| head.is_extended()));
    let extended: Vec<_> = extended.map(|(stream_id, _)| (stream_id, Vec::new())).collect();
    prop_assert_eq!(store.entries(RETAINED), extended);
    Ok(())
}

/// Runs all steps of verification, which must find nothing.
pub(crate) fn verify_all(store: &MemoryStore) -> Checked {
    let mut cursor = None;
    loop {
        let step = verify(store, cursor.as_ref(), false);
        prop_assert!(step.as_ref().is_ok_and(|step| step.found == 0), "{:?}", step);
        cursor = step.ok().and_then(|step| step.next);
        if cursor.is_none() {
            return Ok(());
        }
    }
}
