//! Scavenging and verification of stores with random contents and random damage.

use exesdb_reference::AppendRequest;
use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::types::{Deletion, Direction, ExpectedVersion, Retention};
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::layout::{IDS, INDEX, LABELS, RETAINED, STREAMS};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::driver::{append, delete_stream, end, read_all, set_retention};
use crate::{
    KEYSPACES, NOW, STREAM_IDS, bytes, event, event_bytes, everything, log, put_at, reads, scavenge_all, walk,
};

/// A random action on one of a few streams.
#[derive(Clone, Debug)]
enum Act {
    Append {
        at: usize,
        count: u8,
    },
    /// Appends an id that may have been appended before; it is new if its event is hidden.
    AppendAgain {
        at: usize,
        id: u8,
    },
    Retain {
        at: usize,
        retention: Retention,
    },
    Delete {
        at: usize,
    },
    Pass {
        seconds: u64,
    },
    Scavenge,
}

fn acts() -> impl Strategy<Value = Act> {
    let some = |range: std::ops::Range<u64>| prop_oneof![Just(None), range.prop_map(Some)];
    let retention =
        (some(1..6), some(1..6), some(0..20)).prop_map(|(max_count, max_age_seconds, truncate_before)| {
            Retention { max_count, max_age_seconds, truncate_before }
        });
    prop_oneof![
        6 => (0..3_usize, 1..5_u8).prop_map(|(at, count)| Act::Append { at, count }),
        2 => (0..3_usize, 0..20_u8).prop_map(|(at, id)| Act::AppendAgain { at, id }),
        2 => (0..3_usize, retention).prop_map(|(at, retention)| Act::Retain { at, retention }),
        1 => (0..3_usize).prop_map(|at| Act::Delete { at }),
        2 => (0..4_u64).prop_map(|seconds| Act::Pass { seconds }),
        2 => Just(Act::Scavenge),
    ]
}

/// A store after these actions, and the time of day then.
fn built(acts: &[Act]) -> (MemoryStore, u64) {
    let store = MemoryStore::new();
    let mut now = NOW;
    let mut number = 0;
    for act in acts {
        apply(&store, &mut now, &mut number, act);
    }
    (store, now)
}

fn apply(store: &MemoryStore, now: &mut u64, number: &mut u64, act: &Act) {
    match act {
        Act::Append { at, count } => {
            let ids: Vec<String> = (0..*count).map(|more| (*number + u64::from(more)).to_string()).collect();
            *number += u64::from(*count);
            put_at(store, *now, STREAM_IDS[*at], &ids.iter().map(String::as_str).collect::<Vec<_>>());
        }
        Act::AppendAgain { at, id } => {
            let Some(id) = u64::from(*id).checked_rem(*number) else { return };
            let events = vec![event(&id.to_string(), &["all", STREAM_IDS[*at]])];
            let expected = ExpectedVersion::Any;
            let request = AppendRequest { stream_id: STREAM_IDS[*at].into(), expected, events };
            append(store, *now, CorrelationIndex::On, &[request])[0].as_ref().expect("it is valid");
        }
        // The stream may not exist.
        Act::Retain { at, retention } => {
            let _outcome = set_retention(store, *now, STREAM_IDS[*at], retention);
        }
        Act::Delete { at } => {
            let _outcome = delete_stream(store, STREAM_IDS[*at], ExpectedVersion::Any, Deletion::Soft);
        }
        Act::Pass { seconds } => *now += seconds * 1_000_000,
        Act::Scavenge => {
            scavenge_all(store, *now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn scavenging_changes_no_read(acts in vec(acts(), 1..40), repair in any::<bool>()) {
        let store = MemoryStore::new();
        let mut now = NOW;
        let mut number = 0;
        for act in &acts {
            match act {
                Act::Scavenge => {
                    let (before, size) = (reads(&store, now), bytes(&store));
                    let (done, skipped) = scavenge_all(&store, now);
                    prop_assert_eq!(skipped, Vec::<String>::new());
                    prop_assert_eq!(reads(&store, now), before);
                    prop_assert_eq!(done.bytes as usize, size - bytes(&store));
                    prop_assert_eq!(scavenge_all(&store, now).0.removed, 0);
                    let visible = read_all(&store, now, None, 1_000, Direction::Forward).unwrap().events.len();
                    prop_assert_eq!(visible, event_bytes(&store).len());
                }
                other => apply(&store, &mut now, &mut number, other),
            }
        }
        let whole = everything(&store);
        prop_assert_eq!(walk(&store, repair), vec![]);
        prop_assert!(everything(&store) == whole);
    }

    #[test]
    fn derived_entries_are_restored_from_events(
        acts in vec(acts(), 1..25),
        damages in vec((0..4_usize, any::<u16>(), 0..3_u8, any::<u16>()), 1..12),
    ) {
        let (store, now) = built(&acts);
        let whole = reads(&store, now);
        let heads = store.entries(STREAMS);
        for (at, chosen, how, other) in damages {
            // A lost entry of `retained` belongs to a readable head.
            let keyspace = [INDEX, IDS, LABELS, RETAINED][at];
            let entries = store.entries(keyspace);
            let Some((key, _)) = entries.get(usize::from(chosen) % entries.len().max(1)) else { continue };
            let (_, stranger) = &entries[usize::from(other) % entries.len()];
            match how {
                0 => store.remove(keyspace, key),
                1 => store.overwrite(keyspace, key, stranger),
                _ => store.overwrite(keyspace, key, &u64::from(other % 50).to_be_bytes()),
            }
        }
        walk(&store, true);
        prop_assert_eq!(walk(&store, false), vec![]);
        prop_assert_eq!(store.entries(STREAMS), heads);
        let repaired = reads(&store, now);
        prop_assert_eq!(&repaired.streams, &whole.streams);
        prop_assert_eq!(&repaired.infos, &whole.infos);
        prop_assert_eq!(&repaired.listed, &whole.listed);
        // Only the entries show which parts of the metadata were indexed.
        for (read, (after, before)) in repaired.whole.iter().zip(&whole.whole).enumerate() {
            prop_assert!(read % 5 == 4 || after == before, "read {read}: {after:?} {before:?}");
        }
    }

    #[test]
    fn damage_neither_causes_panics_nor_changes_events(
        acts in vec(acts(), 1..25),
        damages in vec((0..7_usize, any::<u16>(), 0..4_u8, vec(any::<u8>(), 0..80)), 1..8),
    ) {
        let (store, now) = built(&acts);
        for (at, chosen, how, bytes) in damages {
            let Some(keyspace) = KEYSPACES.get(at) else {
                let Some(position) = u64::from(chosen).checked_rem(end(&store)) else { continue };
                if how < 2 { store.damage(position) } else { store.lose_event(position) }
                continue;
            };
            let entries = store.entries(keyspace);
            let Some((key, value)) = entries.get(usize::from(chosen) % entries.len().max(1)) else { continue };
            match how {
                0 => store.remove(keyspace, key),
                1 => store.overwrite(keyspace, key, &bytes),
                // A key has 1 byte at least.
                2 if bytes.is_empty() => {}
                2 => store.overwrite(keyspace, &bytes, value),
                _ => {
                    let mut flipped = value.clone();
                    let length = flipped.len().max(1);
                    if let Some(byte) = flipped.get_mut(usize::from(chosen) % length) {
                        *byte ^= 1 << (chosen % 8);
                    }
                    store.overwrite(keyspace, key, &flipped);
                }
            }
        }
        let events = log(&store);
        walk(&store, false);
        walk(&store, true);
        prop_assert!(log(&store) == events);
        // A repair may make others possible, so a few runs repair everything that can be repaired.
        for _ in 0..3 {
            walk(&store, true);
        }
        let left = walk(&store, true);
        prop_assert!(left.iter().all(|finding| !finding.is_repaired), "{left:?}");
        scavenge_all(&store, now);
    }
}
