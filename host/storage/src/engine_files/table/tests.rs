//! Damage in tables that a store wrote is found.
//!
//! `EXESDB_TEST_SEED` is the seed to repeat a run with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use exesdb_test_support::random;
use xxhash_rust::xxh3::xxh3_128;

use super::super::archive::{Archive, tests as archive};
use super::{BLOCK_MAGIC, FILTER, INDEX, PROPERTIES, problem};
use crate::{Batch, Commit, Operation, Options, Store};

fn put(keyspace: &str, number: u32) -> Operation {
    Operation::Put {
        keyspace: keyspace.into(),
        key: number.to_be_bytes().to_vec(),
        value: vec![7; 600],
        key_stamps: vec![],
        value_stamps: vec![],
        chain: None,
    }
}

/// The tables of a store that was compacted, which yields indexes and filters of several blocks, and then written to again
/// and closed, which yields tables with one block of each.
fn tables(dir: &Path) -> Vec<PathBuf> {
    for merge in [true, false] {
        let store = Store::open(dir, Options::default()).unwrap();
        let operations = (0..400).flat_map(|number| [put("a", number), put("b", number)]).collect();
        let batches = vec![Batch { operations, ..Batch::default() }];
        let outcomes =
            store.commit_blocking(Commit { owner: "o".into(), batches, ..Commit::default() }).unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
        if merge {
            store.compact(&mut |_| ()).unwrap();
        }
    }
    let mut tables = Vec::new();
    for keyspace in fs::read_dir(dir.join("data/keyspaces")).unwrap() {
        for table in fs::read_dir(keyspace.unwrap().path().join("tables")).unwrap() {
            tables.push(table.unwrap().path());
        }
    }
    tables.sort_unstable();
    tables
}

/// The smallest table of each kind: without and with an index of several blocks.
fn one_of_each(tables: &[PathBuf]) -> [PathBuf; 2] {
    [false, true].map(|partitioned| {
        let of_kind = tables
            .iter()
            .filter(|table| Archive::open(table).unwrap().section("index").is_some() == partitioned);
        of_kind.min_by_key(|table| fs::metadata(table).unwrap().len()).unwrap().clone()
    })
}

#[test]
fn an_intact_table_has_no_problem() {
    let dir = tempfile::tempdir().unwrap();
    let tables = tables(dir.path());
    for table in &tables {
        assert_eq!(problem(table), None, "{}", table.display());
    }
    let names = ["meta", "tli", "index", "filter_tli", "filter"];
    let [whole, partitioned] = one_of_each(&tables).map(|table| {
        let archive = Archive::open(&table).unwrap();
        names.map(|name| archive.section(name).is_some())
    });
    assert_eq!(whole, [true, true, false, false, true], "one block for each");
    assert_eq!(partitioned, [true; 5], "several blocks");
}

#[test]
fn a_truncated_table_is_found() {
    let dir = tempfile::tempdir().unwrap();
    for table in one_of_each(&tables(dir.path())) {
        let file = OpenOptions::new().write(true).open(&table).unwrap();
        for length in (0..file.metadata().unwrap().len()).rev() {
            file.set_len(length).unwrap();
            assert!(problem(&table).is_some(), "{} truncated at {length}", table.display());
        }
    }
}

#[test]
fn a_flipped_byte_that_is_read_at_open_is_found() {
    let mut random = random();
    let dir = tempfile::tempdir().unwrap();
    for table in one_of_each(&tables(dir.path())) {
        let archive = Archive::open(&table).unwrap();
        // The data, and the version of the table, which is repeated in the properties.
        let unread = ["data", "table_version"].map(|name| {
            let section = archive.section(name).unwrap();
            section.position..section.position + section.length
        });
        let file = OpenOptions::new().read(true).write(true).open(&table).unwrap();
        let mut flipped = 0;
        for at in 0..file.metadata().unwrap().len() {
            if unread.iter().any(|section| section.contains(&at)) {
                continue;
            }
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            let mask = random.u8(1..);
            file.write_all_at(&[byte[0] ^ mask], at).unwrap();
            assert!(problem(&table).is_some(), "byte {at} of {} flipped by {mask:#04x}", table.display());
            file.write_all_at(&byte, at).unwrap();
            flipped += 1;
        }
        assert!(flipped > 500, "only {flipped} bytes are not data");
        assert_eq!(problem(&table), None, "every flip was undone");
    }
}

/// A block with a valid header of this kind and length.
fn block(kind: u8, length: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [&BLOCK_MAGIC[..], &[kind], &xxh3_128(data).to_le_bytes()].concat();
    bytes.extend(length.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend((xxh3_128(&bytes) as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

/// A name, the sections of a table, and a part of the expected problem.
type Case<'a> = (&'a str, &'a [(&'a str, Vec<u8>)], Option<&'a str>);

#[test]
fn an_impossible_claim_is_found() {
    let meta = || block(PROPERTIES, 4, b"meta");
    let tli = || block(INDEX, 3, b"tli");
    let cases: [Case; 13] = [
        ("whole", &[("meta", meta()), ("tli", tli())], None),
        ("no meta", &[("tli", tli())], Some(r#"no section "meta""#)),
        ("no tli", &[("meta", meta())], Some(r#"no section "tli""#)),
        ("empty", &[("meta", vec![]), ("tli", tli())], Some("has 0 bytes")),
        ("short", &[("meta", vec![0; 32]), ("tli", tli())], Some("has 32 bytes")),
        ("zeros", &[("meta", vec![0; 99]), ("tli", tli())], Some("does not begin as a block")),
        (
            "long",
            &[("meta", block(PROPERTIES, u32::MAX, b"meta")), ("tli", tli())],
            Some("claims 4294967328"),
        ),
        ("ends early", &[("meta", block(PROPERTIES, 3, b"meta")), ("tli", tli())], Some("checksum")),
        ("kind", &[("meta", tli()), ("tli", tli())], Some("is of kind 1 instead of 3")),
        ("two", &[("meta", meta()), ("tli", [tli(), tli()].concat())], Some("ends at byte")),
        ("several", &[("meta", meta()), ("tli", tli()), ("index", [tli(), tli()].concat())], None),
        (
            "rest",
            &[("meta", meta()), ("tli", tli()), ("index", [tli(), vec![0]].concat())],
            Some("has 1 bytes"),
        ),
        (
            "filter",
            &[("meta", meta()), ("tli", tli()), ("filter", block(FILTER, 0, b"x"))],
            Some(r#"section "filter" is damaged"#),
        ),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("0");
    for (case, sections, expected) in cases {
        let mut bytes = Vec::new();
        let mut entries = Vec::new();
        for (name, section) in sections {
            entries.push((*name, bytes.len() as u64, section.len() as u64));
            bytes.extend(section);
        }
        let contents = archive::contents(u32::try_from(entries.len()).unwrap(), &entries);
        fs::write(&path, archive::file(&bytes, &contents)).unwrap();
        let found = problem(&path);
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) => assert!(found.contains(expected), "{case}: {found}"),
            _ => panic!("{case}: {found:?}"),
        }
    }
}
