//! Dumps are not trusted: what is wrong in one is refused even if its checksums are right.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use exesdb_storage::dump::{InvalidDump, RestoreError, Summary, inspect, restore};
use exesdb_storage::limits;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

const OWNER: &str = "streams";
const KEYSPACE: &str = "all";

fn inspected(mut dump: &[u8]) -> Result<Summary, InvalidDump> {
    inspect(&mut dump, &mut |_| {})
}

fn restored(dir: &Path, mut dump: &[u8]) -> Result<Summary, RestoreError> {
    restore(dir, &mut dump, &mut |_| {})
}

/// Builds dumps with right checksums and digests, whatever the contents.
struct Forger {
    bytes: Vec<u8>,
    frames: u64,
}

const HEAD: u8 = 1;
const NAMES: u8 = 2;
const ENTRIES: u8 = 3;
const MANIFEST: u8 = 4;
const HISTORIES: u8 = 5;

impl Forger {
    fn new() -> Self {
        let mut forger = Self { bytes: [&b"exesdump"[..], &1u32.to_be_bytes()].concat(), frames: 0 };
        forger.frame(HEAD, &head(exesdb_storage::FORMAT_VERSION, 1, 1));
        forger
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> &mut Self {
        let start = [&[kind][..], &(payload.len() as u32).to_be_bytes()].concat();
        let mut hash = Xxh3::with_seed(self.frames);
        hash.update(&start);
        hash.update(payload);
        self.frames += 1;
        self.bytes.extend([&start, payload, &hash.digest().to_be_bytes()[..]].concat());
        self
    }

    /// A frame that ends after its length.
    fn claim(&mut self, kind: u8, bytes: u32) -> &mut Self {
        self.bytes.push(kind);
        self.bytes.extend(bytes.to_be_bytes());
        self
    }

    fn manifest(&mut self, keyspaces: &[(&str, &str, u64, u64, u128)]) -> &mut Self {
        let mut payload = (keyspaces.len() as u32).to_be_bytes().to_vec();
        for (owner, keyspace, entries, bytes, digest) in keyspaces {
            payload.extend(names(owner, keyspace));
            payload.extend(entries.to_be_bytes());
            payload.extend(bytes.to_be_bytes());
            payload.extend(digest.to_be_bytes());
        }
        payload.extend(xxh3_128(&self.bytes).to_be_bytes());
        self.frame(MANIFEST, &payload)
    }
}

fn head(format: u32, sequence: u64, next_position: u64) -> Vec<u8> {
    let numbers = [sequence, next_position, 5, 1_700_000_000_000_000];
    [&format.to_be_bytes()[..], &numbers.map(u64::to_be_bytes).concat()].concat()
}

fn names(owner: &str, keyspace: &str) -> Vec<u8> {
    [owner, keyspace].iter().flat_map(|name| [&[name.len() as u8], name.as_bytes()].concat()).collect()
}

fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    let lengths = [&(key.len() as u16).to_be_bytes()[..], &(value.len() as u32).to_be_bytes()].concat();
    [&lengths, key, value].concat()
}

/// Checks that both `inspect` and `restore` refuse a dump with this message, and that no store is left.
fn refused(forger: &Forger, message: &str) {
    let error = inspected(&forger.bytes).unwrap_err().to_string();
    assert!(error.contains(message), "{error:?} instead of {message:?}");
    let dir = tempfile::tempdir().unwrap();
    let again = restored(dir.path(), &forger.bytes).unwrap_err();
    assert_eq!(again.to_string(), error);
    for left in ["data", "data.new", "durable.mark"] {
        assert!(!dir.path().join(left).exists(), "{left}");
    }
}

#[test]
fn a_forged_dump_with_right_claims_is_accepted() {
    let payload = entry(b"k", b"value");
    let mut forger = Forger::new();
    forger.frame(NAMES, &names(OWNER, KEYSPACE)).frame(ENTRIES, &payload).manifest(&[(
        OWNER,
        KEYSPACE,
        1,
        6,
        xxh3_128(&payload),
    )]);
    let dir = tempfile::tempdir().unwrap();
    let summary = restored(dir.path(), &forger.bytes).unwrap();
    assert_eq!((summary.entries(), summary.head.chain), (1, 5));
    assert_eq!(summary, inspected(&forger.bytes).unwrap());
}

#[test]
fn hostile_heads_are_refused() {
    let with = |payload: &[u8]| {
        let mut forger = Forger { bytes: [&b"exesdump"[..], &1u32.to_be_bytes()].concat(), frames: 0 };
        forger.frame(HEAD, payload).manifest(&[]);
        forger
    };
    let known = exesdb_storage::FORMAT_VERSION;
    inspected(&with(&head(known, 3, 2)).bytes).unwrap();
    refused(&with(&head(known + 1, 3, 2)), "of a store of format 4");
    refused(&with(&head(known, u64::MAX, 2)), "the sequence of its head is 18446744073709551615");
    refused(&with(&head(known, 3, u64::MAX)), "the next position of its head is 18446744073709551615");
    refused(&with(&head(known, 3, 2)[1..]), "its head has 35 bytes instead of 36");
    let timed = |version: u32, format: u32, time: u64| {
        let mut forger = Forger { bytes: [&b"exesdump"[..], &version.to_be_bytes()].concat(), frames: 0 };
        forger.frame(HEAD, &[&head(format, 3, 2)[..], &time.to_be_bytes()].concat());
        forger.frame(HISTORIES, &[0; 16]).manifest(&[]);
        forger
    };
    assert_eq!(inspected(&timed(3, known, 7).bytes).unwrap().head.time, 7);
    inspected(&timed(3, 2, 0).bytes).unwrap();
    refused(
        &timed(3, known, u64::MAX),
        "the time of its head is 18446744073709551615, which no store reaches",
    );
    refused(&timed(3, 2, 7), "its head has the time 7, and a store of format 2 has none");
    for older in [1, 2] {
        refused(&timed(older, known, 7), "its head has 44 bytes instead of 36");
    }
    let mut short = Forger { bytes: [&b"exesdump"[..], &3u32.to_be_bytes()].concat(), frames: 0 };
    refused(short.frame(HEAD, &head(known, 3, 2)), "its head has 36 bytes instead of 44");
    let mut version = Forger::new();
    version.bytes[11] = 9;
    refused(&version, "the backup has format 9, this version knows those up to 4");
    let mut magic = Forger::new();
    magic.bytes[0] = b'E';
    refused(&magic, "this is not a backup");
    let mut second = Forger::new();
    second.frame(HEAD, &head(known, 3, 2));
    refused(&second, "a second head");
    let mut first = Forger { bytes: [&b"exesdump"[..], &1u32.to_be_bytes()].concat(), frames: 0 };
    first.frame(NAMES, &names(OWNER, KEYSPACE));
    refused(&first, "its first frame is a Keyspace");
}

#[test]
fn hostile_histories_are_refused() {
    let after_head = |version: u32| {
        let mut forger = Forger { bytes: [&b"exesdump"[..], &version.to_be_bytes()].concat(), frames: 0 };
        forger.frame(HEAD, &head(exesdb_storage::FORMAT_VERSION, 3, 2));
        forger
    };
    let list = |histories: &[(u64, u64)]| -> Vec<u8> {
        histories.iter().flat_map(|(id, first)| [id.to_be_bytes(), first.to_be_bytes()].concat()).collect()
    };
    let with = |payload: &[u8]| {
        let mut forger = after_head(2);
        forger.frame(HISTORIES, payload).manifest(&[]);
        forger
    };
    let found = inspected(&with(&list(&[(7, 0), (8, 2)])).bytes).unwrap().histories.unwrap();
    assert_eq!(
        found.all().iter().map(|known| (known.id.0, known.first_position)).collect::<Vec<_>>(),
        [(7, 0), (8, 2)]
    );
    refused(&with(&list(&[])), "the list of histories has 0 bytes");
    refused(&with(&[1; 17]), "the list of histories has 17 bytes");
    refused(&with(&list(&[(7, 0), (8, 3)])), "begins at position 3, after the end 2");
    refused(&with(&list(&[(7, 0), (7, 1)])), "0000000000000007 twice");
    refused(after_head(2).claim(HISTORIES, u32::MAX), "claims 4294967295 bytes");
    refused(after_head(2).manifest(&[]), "its second frame is a Manifest and not its histories");
    refused(with(&list(&[(7, 0)])).frame(HISTORIES, &list(&[(7, 0)])), "after its end");
    refused(after_head(1).frame(HISTORIES, &list(&[(7, 0)])), "histories where none belong");
}

#[test]
fn hostile_sizes_are_refused_before_they_are_believed() {
    for (kind, bytes) in [(NAMES, u32::MAX), (ENTRIES, u32::MAX), (ENTRIES, 3_300_000), (MANIFEST, 1 << 20)] {
        refused(
            Forger::new().claim(kind, bytes),
            &format!("a frame claims {bytes} bytes, over the limit of"),
        );
    }
    refused(Forger::new().claim(0, 0), "of kind 0");
    refused(Forger::new().claim(7, 0), "of kind 7");
    refused(Forger::new().frame(6, &[]), "the state of a replica where none belongs");
    let with = |payload: &[u8], message: &str| {
        refused(Forger::new().frame(NAMES, &names(OWNER, KEYSPACE)).frame(ENTRIES, payload), message);
    };
    with(&[], "has no entries");
    with(&[0, 1, 0, 0, 0], "is cut short");
    with(&[0, 1, 0xff, 0xff, 0xff, 0xff, b'k'], "is cut short");
    with(&[0xff, 0xff, 0, 0, 0, 0, b'k'], "is cut short");
    with(&entry(b"", b"v"), "has 0 bytes; it must have 1 to 4096");
    with(&entry(&[1; limits::KEY_BYTES_MAX + 1], b"v"), "has 4097 bytes; it must have 1 to 4096");
    with(&entry(b"k", &vec![1; limits::VALUE_BYTES_MAX + 1]), "has 2097153 bytes, over the limit of 2097152");
    with(&[entry(b"k", b"v"), entry(b"k", b"v")].concat(), "entry 1 of a frame");
    with(&[entry(b"l", b"v"), entry(b"k", b"v")].concat(), "does not follow the one before it");
    let mut two = Forger::new();
    let (first, second) = (entry(b"l", b"v"), entry(b"k", b"v"));
    refused(
        two.frame(NAMES, &names(OWNER, KEYSPACE)).frame(ENTRIES, &first).frame(ENTRIES, &second),
        "does not follow the one before it",
    );
    refused(Forger::new().frame(ENTRIES, &first), "belong to no keyspace");
}

#[test]
fn hostile_names_are_refused() {
    let long = "a".repeat(limits::NAME_BYTES_MAX + 1);
    for (owner, keyspace, message) in [
        ("", KEYSPACE, "the owner name has 0 bytes"),
        (OWNER, "", "the keyspace name has 0 bytes"),
        ("../x", KEYSPACE, "contains '.'"),
        (OWNER, "a/b", "contains '/'"),
        (OWNER, "A", "contains 'A'"),
        (OWNER, "\u{e4}", "contains"),
        (OWNER, "meta\0", "contains"),
    ] {
        refused(Forger::new().frame(NAMES, &names(owner, keyspace)), message);
    }
    refused(Forger::new().frame(NAMES, &names(&long, "k")), "the owner name has 65 bytes");
    refused(Forger::new().frame(NAMES, &[1, 0xff, 1, b'k']), "is not UTF-8");
    refused(Forger::new().frame(NAMES, &[9, b'o']), "the owner name of a keyspace is cut short");
    refused(Forger::new().frame(NAMES, &[1, b'o']), "the keyspace name of a keyspace is cut short");
    refused(Forger::new().frame(NAMES, &[1, b'o', 1, b'k', 0]), "1 bytes follow the names");
}

#[test]
fn hostile_orders_and_counts_are_refused() {
    let one = entry(b"k", b"v");
    let with = |keyspaces: &[(&str, &str)]| {
        let mut forger = Forger::new();
        for (owner, keyspace) in keyspaces {
            forger.frame(NAMES, &names(owner, keyspace)).frame(ENTRIES, &one);
        }
        forger
    };
    refused(&with(&[("b", "x"), ("a", "x")]), "they must ascend");
    refused(&with(&[("a", "y"), ("a", "x")]), "they must ascend");
    refused(&with(&[("a", "x"), ("a", "x")]), "they must ascend");
    refused(
        with(&[("a", "x")]).frame(NAMES, &names("a", "y")).frame(NAMES, &names("a", "z")),
        "has no entries",
    );
    refused(with(&[]).frame(NAMES, &names("a", "x")).manifest(&[]), "has no entries");
    let many: Vec<String> = (10..=10 + limits::OWNER_KEYSPACES_MAX).map(|n| format!("k{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|keyspace| ("a", keyspace.as_str())).collect();
    refused(&with(&many), "a has more than 32 keyspaces");

    let digest = xxh3_128(&one);
    let right = with(&[("a", "x")]).manifest(&[("a", "x", 1, 2, digest)]).bytes.clone();
    inspected(&right).unwrap();
    refused(with(&[("a", "x")]).manifest(&[]), "its manifest has 0 keyspaces, and 1 came before it");
    for wrong in [
        ("b", "x", 1, 2, digest),
        ("a", "y", 1, 2, digest),
        ("a", "x", 2, 2, digest),
        ("a", "x", 1, 3, digest),
        ("a", "x", 1, 2, digest ^ 1),
    ] {
        refused(with(&[("a", "x")]).manifest(&[wrong]), "does not agree with what came before it");
    }
    refused(&with(&[("a", "x")]), "cut short");
}
