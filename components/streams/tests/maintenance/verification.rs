//! Verification finds every kind of damage, reports it, and repairs what the events determine.

use exesdb_sdk::memory::MemoryStore;
use exesdb_sdk::packed::{Frames, Record};
use exesdb_sdk::types::{Deletion, ExpectedVersion};
use exesdb_sdk::view::View;
use exesdb_streams::layout::{
    Head, IDS, IMPORTS, INDEX, ImportedRows, LABELS, LabelKind, RETAINED, STREAMS, id_key, import_key,
    index_key, label_digest, label_key,
};

use crate::driver::{delete_stream, verify};
use crate::{
    NOW, assert_clean, assert_repaired, assert_reported, assert_restored, everything, findings, head, key,
    put, reads, scavenge_all, store, walk,
};

#[test]
fn an_undamaged_store_has_no_findings() {
    let empty = MemoryStore::new();
    assert_eq!(walk(&empty, true), []);
    let store = store();
    let whole = everything(&store);
    assert_eq!(walk(&store, true), []);
    assert_eq!(everything(&store), whole);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    delete_stream(&store, "i", ExpectedVersion::Any, Deletion::Tombstone).unwrap();
    assert_clean(&store);
    put(&store, "a", &["again"]);
    assert_clean(&store);
    assert_eq!(scavenge_all(&store, NOW).1, Vec::<String>::new());
    assert_clean(&store);
}

#[test]
fn entries_of_index_are_restored() {
    let origin = head(&store(), "a").origin;
    let (middle, last) = (index_key(origin, 2), index_key(origin, 4));
    assert_restored(|store| store.remove(INDEX, &middle), "stream `a`, versions 0 to 2", "`index`");
    assert_restored(|store| store.remove(INDEX, &last), "stream `a`, versions 3 to 4", "`index`");
    assert_restored(|store| store.overwrite(INDEX, &last, &key(2)), "versions 3 to 4", "`index`");
    assert_restored(|store| store.overwrite(INDEX, &middle, b"odd"), "versions 0 to 2", "`index`");
    let other = index_key(origin, 9);
    assert_restored(|store| store.overwrite(INDEX, &other, &key(0)), "`index`", "another stream or version");
    assert_restored(
        |store| store.overwrite(INDEX, b"odd", &key(0)),
        "`index`, key `odd`",
        "no origin and version",
    );
    let inside = index_key(origin, 1);
    assert_repaired(|store| store.overwrite(INDEX, &inside, &key(12)), "versions 0 to 1", "`index`");
}

#[test]
fn entries_of_ids_are_restored() {
    let origin = head(&store(), "a").origin;
    let id = id_key(origin, "22");
    assert_restored(|store| store.remove(IDS, &id), "stream `a`, version 1", "`ids`");
    assert_restored(|store| store.overwrite(IDS, &id, &key(2)), "stream `a`, version 1", "`ids`");
    assert_restored(|store| store.overwrite(IDS, &id, b""), "stream `a`, version 1", "`ids`");
    let other = id_key(origin, "other");
    assert_restored(|store| store.overwrite(IDS, &other, &key(1)), "`ids`", "another id");
    assert_restored(|store| store.overwrite(IDS, &other, &key(99)), "`ids`", "no version 99");
    let nowhere = id_key(77, "other");
    assert_restored(|store| store.overwrite(IDS, &nowhere, &key(0)), "`ids`", "no version 0");
    assert_restored(
        |store| store.overwrite(IDS, b"odd", &key(0)),
        "`ids`, key `odd`",
        "no origin and digest",
    );
}

/// The id of a hidden event may be appended again. Then its entry belongs to the later event.
#[test]
fn the_entry_of_an_id_belongs_to_its_last_event() {
    let store = MemoryStore::new();
    put(&store, "a", &["1", "22"]);
    delete_stream(&store, "a", ExpectedVersion::Any, Deletion::Soft).unwrap();
    put(&store, "a", &["22", "3"]);
    assert_clean(&store);
    let whole = everything(&store);
    let id = id_key(head(&store, "a").origin, "22");
    let damages: [fn(&MemoryStore, &[u8]); 4] = [
        |store, id| store.remove(IDS, id),
        |store, id| store.overwrite(IDS, id, &key(1)),
        |store, id| store.overwrite(IDS, id, &key(3)),
        |store, id| store.overwrite(IDS, id, &key(9)),
    ];
    for damage in damages {
        damage(&store, &id);
        let found = walk(&store, true);
        assert!(
            found.iter().any(|finding| finding.place.contains("version 2") && finding.is_repaired),
            "{found:?}"
        );
        assert_eq!(walk(&store, true), []);
        assert_eq!(everything(&store), whole);
    }
    let (done, skipped) = scavenge_all(&store, NOW);
    assert_eq!((done.removed, skipped), (2, Vec::new()));
    assert_eq!(store.view().get(IDS, &id).unwrap(), Some(key(2).to_vec()));
    assert_clean(&store);
}

#[test]
fn entries_of_labels_are_restored() {
    let all = label_digest(LabelKind::Tag, "all");
    // The first append of `a` has the positions 0 to 2.
    let posting = label_key(all, 2);
    assert_repaired(|store| store.remove(LABELS, &posting), "stream `a`, version 0", "`labels`");
    assert_repaired(|store| store.overwrite(LABELS, &posting, &key(1)), "stream `a`, version 0", "`labels`");
    assert_repaired(|store| store.overwrite(LABELS, &posting, &key(3)), "stream `a`, version 0", "`labels`");
    assert_repaired(|store| store.overwrite(LABELS, &posting, b"odd"), "stream `a`, version 0", "`labels`");
    let type_0 = label_digest(LabelKind::Type, "type-0");
    // An entry for position 1 only.
    let single = label_key(type_0, 1);
    assert_restored(|store| store.remove(LABELS, &single), "stream `a`, version 1", "`labels`");
    assert_restored(
        |store| store.overwrite(LABELS, &single, &key(0)),
        "`labels`",
        "first event does not have",
    );
    let other = label_key(label_digest(LabelKind::Tag, "other"), 2);
    assert_restored(|store| store.overwrite(LABELS, &other, &key(2)), "`labels`", "last event");
    let inside = label_key(type_0, 2);
    assert_restored(|store| store.overwrite(LABELS, &inside, &key(2)), "`labels`", "last event");
    assert_restored(|store| store.overwrite(LABELS, b"odd", b""), "`labels`, key `odd`", "no label");
}

#[test]
fn entries_of_retained_are_checked() {
    assert_restored(|store| store.remove(RETAINED, b"b"), "stream `b`", "no entry in `retained`");
    assert_restored(|store| store.overwrite(RETAINED, b"b", b"x"), "`retained`, key `b`", "a value");
    assert_restored(|store| store.overwrite(RETAINED, b"a", b""), "`retained`, key `a`", "hides nothing");
    assert_reported(
        |store| store.overwrite(RETAINED, b"none", b""),
        "`retained`, key `none`",
        "no such stream",
    );
}

#[test]
fn numbers_of_imported_rows_are_checked() {
    let mark = import_key("i", "f");
    let odd = "no stream and source with a number";
    let rows = |rows| ImportedRows { rows, leading_rows: rows }.encode();
    assert_restored(|store| store.overwrite(IMPORTS, b"odd", &rows(1)), "`imports`, key `odd`", odd);
    assert_restored(|store| store.overwrite(IMPORTS, &import_key("i", "g"), b"many"), "`imports`", odd);
    assert_restored(|store| store.overwrite(IMPORTS, &import_key("i", "g"), &rows(0)), "`imports`", odd);
    assert_repaired(|store| store.overwrite(IMPORTS, &mark, &rows(9)), "`imports`, key `i", "9 rows");
    assert_reported(
        |store| store.overwrite(IMPORTS, &import_key("none", "f"), &rows(1)),
        "`imports`, key `none",
        "no such stream",
    );
}

#[test]
fn a_certain_head_is_restored() {
    assert_restored(|store| store.remove(STREAMS, b"a"), "stream `a`", "no head");
    assert_restored(|store| store.overwrite(STREAMS, b"a", b"\x09"), "stream `a`", "cannot be read");
    let of_a = head(&store(), "a").encode();
    let mut odd = of_a.clone();
    odd[0] = 2;
    odd.extend([0; 33]);
    assert_restored(|store| store.overwrite(STREAMS, b"a", &odd), "stream `a`", "another form");
}

#[test]
fn an_uncertain_head_is_reported() {
    // Nothing else records what was hidden.
    assert_reported(|store| store.remove(STREAMS, b"b"), "stream `b`", "no head");
    assert_reported(|store| store.overwrite(STREAMS, b"b", b"\x09"), "stream `b`", "cannot be read");
    // The stream does not begin with version 0.
    assert_reported(|store| store.remove(STREAMS, b"i"), "stream `i`", "no head");
    // The last events may be lost, too.
    let lost = |store: &MemoryStore| {
        let origin = head(store, "a").origin;
        store.remove(STREAMS, b"a");
        store.remove(INDEX, &index_key(origin, 4));
    };
    assert_reported(lost, "stream `a`", "no head");
    let lost_and_led_astray = |store: &MemoryStore| {
        let origin = head(store, "a").origin;
        store.remove(STREAMS, b"a");
        store.overwrite(INDEX, &index_key(origin, 4), &key(12));
    };
    assert_reported(lost_and_led_astray, "stream `a`", "no head");
    let mut low = head(&store(), "a");
    low.last_version = 2;
    assert_reported(
        |store| store.overwrite(STREAMS, b"a", &low.encode()),
        "version 3",
        "2 is its last version",
    );
    let high = Head { last_version: 5, ..low };
    assert_reported(|store| store.overwrite(STREAMS, b"a", &high.encode()), "version 5", "no entry");
    assert_reported(|store| store.overwrite(STREAMS, b"\xff", &low.encode()), "`streams`", "no stream id");
    let late = Head { origin: 1, ..head(&store(), "a") };
    assert_reported(
        |store| store.overwrite(STREAMS, b"a", &late.encode()),
        "version 0",
        "begins at position 1",
    );
    let strange = Head { origin: head(&store(), "a").origin, ..head(&store(), "b") };
    let sound = store();
    let spoiled = |store: &MemoryStore| store.overwrite(STREAMS, b"b", &strange.encode());
    assert_reported(spoiled, "stream `b`", "nothing there is of this stream");
    let (spoiled, _) = findings(spoiled);
    walk(&spoiled, true);
    for keyspace in [INDEX, IDS, LABELS] {
        assert_eq!(spoiled.entries(keyspace), sound.entries(keyspace));
    }
    let far = Head { reclaimed_before: 2, ..head(&store(), "a") };
    assert_reported(|store| store.overwrite(STREAMS, b"a", &far.encode()), "version 1", "still here");
}

/// The host reports the damage itself.
#[test]
fn what_leads_to_unreadable_events_is_reported() {
    for position in [0, 1, 3, 9, 10, 13] {
        assert_reported(|store| store.damage(position), "`ids`", "missing or cannot be read");
        assert_reported(|store| store.damage(position), "`labels`", "missing or cannot be read");
    }
    assert_reported(|store| store.damage(13), "stream `b`, version 2", "missing, or cannot be read");
}

#[test]
fn two_events_of_one_version_are_reported() {
    let frame = store().view().log_get(&[13], 1).unwrap();
    let Record::Event(last) = Frames::new(&frame).next().unwrap().unwrap().record else { panic!("an event") };
    let twice = |store: &MemoryStore| store.overwrite_event(3, last.to_owned());
    assert_reported(twice, "stream `b`, version 2 (position 3)", "13 has an event");
}

#[test]
fn a_removed_visible_event_is_reported() {
    for (position, version) in [(0, 0), (2, 2), (10, 3), (11, 4)] {
        // The entries that lead to it still exist.
        let removed = |store: &MemoryStore| store.lose_event(position);
        assert_reported(removed, &format!("stream `a`, version {version}"), "removed");
    }
}

#[test]
fn many_findings_are_counted_and_repaired() {
    let store = MemoryStore::new();
    let ids: Vec<String> = (0..900).map(|number| format!("event-{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for stream_id in ["a", "ab", "b", "c"] {
        put(&store, stream_id, &ids);
    }
    let whole = reads(&store, NOW);
    for keyspace in [INDEX, IDS, LABELS, STREAMS] {
        for (key, _) in
            store.entries(keyspace).into_iter().filter(|(key, _)| keyspace != STREAMS || key != b"c")
        {
            if keyspace != STREAMS {
                store.remove(keyspace, &key);
            }
        }
    }
    let step = verify(&store, None, true).unwrap();
    assert_eq!(step.findings.len(), 100);
    assert!(step.found > 2_000, "{}", step.found);
    walk(&store, true);
    assert_clean(&store);
    // Without an entry it is unknown which parts of the metadata were indexed.
    let restored = reads(&store, NOW);
    assert_eq!((&restored.streams, &restored.infos), (&whole.streams, &whole.infos));
    assert_eq!(restored.whole[..4], whole.whole[..4]);
}
