//! The contract parses as a whole, and each of its rules has a number of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::Resolve;

fn contract() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

#[test]
fn every_package_parses_and_every_world_can_be_encoded() {
    let mut resolve = Resolve::default();
    let mut worlds = 0;
    for package in ["host", "storage", "store", "gateway"] {
        let (id, _) = resolve.push_dir(contract().join(package)).unwrap_or_else(|error| panic!("{error:?}"));
        for name in resolve.packages[id].worlds.keys().cloned().collect::<Vec<_>>() {
            resolve.select_world(&[id], Some(&name)).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            worlds += 1;
        }
        wit_component::encode(&resolve, id).unwrap_or_else(|error| panic!("{package}: {error:?}"));
    }
    assert!(worlds >= 8, "only {worlds} worlds were found");
}

/// The numbers of the rules in a text: `(W1)`, `(L12)`.
fn rules(text: &str) -> Vec<(char, u32)> {
    let rule = |part: &str| {
        let (rule, _) = part.split_once(')')?;
        let (letter, number) = (rule.chars().next()?, rule.get(1..)?);
        letter.is_ascii_uppercase().then_some(())?;
        number
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| number.parse().ok())
            .flatten()
            .map(|number| (letter, number))
    };
    text.split('(').skip(1).filter_map(rule).collect()
}

#[test]
fn rules_are_numbered_from_1_without_holes_and_without_repetitions() {
    let mut numbers: BTreeMap<char, Vec<u32>> = BTreeMap::new();
    for package in ["host", "storage", "store", "gateway"] {
        let files = fs::read_dir(contract().join(package)).unwrap().map(|file| file.unwrap().path());
        for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "wit")) {
            for (letter, number) in rules(&fs::read_to_string(file).unwrap()) {
                numbers.entry(letter).or_default().push(number);
            }
        }
    }
    for (letter, found) in &numbers {
        let expected: BTreeSet<u32> = (1..=u32::try_from(found.len()).unwrap()).collect();
        assert_eq!(
            found.iter().copied().collect::<BTreeSet<u32>>(),
            expected,
            "the rules {letter}: {found:?}"
        );
    }
    assert!(numbers.values().map(Vec::len).sum::<usize>() > 40, "{numbers:?}");
}

#[test]
fn rules_are_recognized() {
    assert_eq!(
        rules("(W1) it computes. (at most 3) (T12) no (Tx) rule (w1) f(W2)"),
        [('W', 1), ('T', 12), ('W', 2)]
    );
}
