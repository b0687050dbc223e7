//! Invalid cursors and failures of the storage.

use exesdb_sdk::types::{Error, code};
use exesdb_streams::layout::{INDEX, index_key};

use crate::driver::{scavenge, verify};

use crate::{NOW, everything, head, put, store};

#[test]
fn invalid_cursors_are_refused() {
    let store = store();
    let refused = |outcome: Result<(), Error>| {
        assert!(
            matches!(&outcome, Err(Error::Invalid(invalid)) if invalid.argument == "from"),
            "{outcome:?}"
        );
    };
    for cursor in
        [vec![], vec![0], vec![0xff; 9], vec![2; 5_000], vec![1; 3], [&[1, 9][..], &[0; 16]].concat()]
    {
        refused(verify(&store, Some(&cursor), true).map(drop));
        refused(scavenge(&store, NOW, Some(&cursor)).map(drop));
    }
    refused(verify(&store, Some(&vec![64]), true).map(drop));
    refused(scavenge(&store, NOW, Some(&vec![65])).map(drop));
    refused(scavenge(&store, NOW, Some(&vec![65; 8])).map(drop));
    // A cursor that could be right is accepted, and does no harm.
    let whole = everything(&store);
    for tag in 2..=7 {
        verify(&store, Some(&vec![tag, 0xff, 0xff]), true).unwrap();
    }
    scavenge(&store, NOW, Some(&vec![64, 0xff])).unwrap();
    scavenge(&store, NOW, Some(&[&[65][..], &[0xff; 9]].concat())).unwrap();
    assert_eq!(everything(&store), whole);
}

#[test]
fn storage_failures_are_returned() {
    let store = store();
    store.remove(INDEX, &index_key(head(&store, "a").origin, 2));
    put(&store, "b", &["44"]);
    let whole = everything(&store);
    store.fail_reads(true);
    let is_gone = |error| matches!(error, Error::Problem(problem) if problem.code == code::RESTARTING);
    assert!(is_gone(verify(&store, None, true).unwrap_err()));
    assert!(is_gone(scavenge(&store, NOW, None).unwrap_err()));
    store.fail_reads(false);
    assert_eq!(everything(&store), whole);
}
