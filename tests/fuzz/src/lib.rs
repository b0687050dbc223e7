//! Feeds a reader of foreign bytes the files of its corpus and mutations of them. No input may make it panic, or use
//! more memory than the size of the input justifies.
//!
//! Each target runs for `EXESDB_FUZZ_SECONDS` (default: 1). The mutations follow from the seed alone, not from the code
//! that they reach. So a corpus holds one file for every kind of input that the reader distinguishes. An input that fails
//! is kept in `target/tmp/fuzz`; after the repair it belongs into the corpus.
#![allow(clippy::print_stderr)] // where the input of a failed test lies

mod memory;
mod mutate;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use exesdb_test_support::{number, random};

use self::mutate::mutate;

/// Longest input, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// Memory that a reader may use for any input, in bytes: buffers of a fixed size, and the compilation of a pattern.
const MEMORY_BYTES: usize = 8 << 20;

/// Memory that a reader may use in addition for each byte of the input, in bytes. Trees of parsed JSON and TOML take the
/// most.
const MEMORY_BYTES_PER_BYTE: usize = 256;

/// Calls `read` with the inputs of a corpus (a folder in `corpus`) and then with mutations of them.
///
/// # Panics
///
/// When `read` panics, or uses too much memory.
pub fn fuzz(corpus: &str, mut read: impl FnMut(&[u8])) {
    let inputs = inputs(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(corpus));
    for input in &inputs {
        check(corpus, input, &mut read);
    }
    let mut random = random();
    let end = Instant::now() + Duration::from_secs(number("EXESDB_FUZZ_SECONDS", 1));
    let mut count = 0_u64;
    while Instant::now() < end {
        check(corpus, &mutate(&mut random, &inputs, INPUT_BYTES_MAX), &mut read);
        count += 1;
    }
    println!("{corpus}: {count} mutations of {} inputs", inputs.len());
}

/// As [`fuzz`], for a reader of files: each input is also the content of `file`.
///
/// # Panics
///
/// As [`fuzz`], and when the file cannot be written.
pub fn fuzz_file(corpus: &str, file: &Path, mut read: impl FnMut(&[u8])) {
    // Truncating a file and writing it anew would be slow: some file systems wait for the disk then.
    let writer = File::create(file).expect("the file can be created");
    fuzz(corpus, |input| {
        writer.set_len(input.len() as u64).expect("the file can be written");
        writer.write_all_at(input, 0).expect("the file can be written");
        read(input);
    });
}

fn inputs(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the corpus can be listed").path()).collect();
    // The order of a folder differs between machines; the mutations of a seed must not.
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| std::fs::read(file).expect("the corpus can be read")).collect()
}

fn check(corpus: &str, input: &[u8], read: &mut impl FnMut(&[u8])) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let used = memory::peak_of(|| read(input));
        let most = MEMORY_BYTES + input.len() * MEMORY_BYTES_PER_BYTE;
        assert!(used <= most, "{used} bytes of memory for an input of {} bytes", input.len());
    }));
    if let Err(panic) = outcome {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp/fuzz");
        let file = folder.join(format!("{corpus}-{}", std::process::id()));
        let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, input));
        match kept {
            Ok(()) => eprintln!("the input that failed is {}", file.display()),
            Err(error) => {
                eprintln!("the input that failed cannot be kept: {error}: {}", input.escape_ascii())
            }
        }
        resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn too_much_memory_for_an_input_fails() {
        let mut sizes = [1_usize << 20, 1 << 30].into_iter();
        let mut read = |_: &[u8]| drop(Vec::<u8>::with_capacity(sizes.next().expect("called twice")));
        check("self-test", b"small", &mut read);
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check("self-test", b"small", &mut read);
        }));
        assert!(failed.is_err());
    }
}
