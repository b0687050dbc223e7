//! What holds in every store, whatever its events are.

use exesdb_sdk::keyspaces::{Keyspaces, MemoryKeyspaces, chain_link};
use exesdb_streams::layout::{EVENTS, Envelope, Head, RETAINED, STREAMS};
use exesdb_streams::maintenance::verify;
use proptest::{prop_assert, prop_assert_eq};

use crate::run::Checked;

/// Checks the invariants of any store.
pub(crate) fn check(store: &MemoryKeyspaces) -> Checked {
    let mut link = 0;
    for (key, value) in store.entries(EVENTS) {
        let envelope = Envelope::decode(0, &value).expect("it is an envelope");
        if let Envelope::Event { .. } = envelope {
            let computed = chain_link(link, &key, &value, Envelope::LINK_AT as usize);
            prop_assert_eq!(computed, Some(envelope.link()));
        }
        link = envelope.link();
    }
    prop_assert_eq!(store.log_end().map(|end| end.chain), Ok(link));
    let extended = store
        .entries(STREAMS)
        .into_iter()
        .filter(|(_, head)| Head::decode(head).is_ok_and(|head| head.is_extended()));
    let extended: Vec<_> = extended.map(|(stream_id, _)| (stream_id, Vec::new())).collect();
    prop_assert_eq!(store.entries(RETAINED), extended);
    Ok(())
}

/// Runs all steps of verification, which must find nothing.
pub(crate) fn verify_all(store: &MemoryKeyspaces) -> Checked {
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
