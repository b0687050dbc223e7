//! Backups. Their frames have checksums, which hide what follows them from nearly every mutation. So each input is read
//! as it is, and again with the checksums that belong to its content.

use exesdb_fuzz::fuzz;
use exesdb_storage::dump::inspect;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Bytes of a dump before its first frame.
const PREAMBLE_BYTES: usize = 12;

/// Bytes of a frame before its payload: its kind, and the length of its payload.
const START_BYTES: usize = 5;

/// Bytes of a frame's checksum, after its payload.
const CHECKSUM_BYTES: usize = 8;

/// The kind of the last frame. Its payload ends with a digest of everything before the frame.
const MANIFEST: u8 = 4;

/// Bytes of that digest.
const DIGEST_BYTES: usize = 16;

#[test]
fn fuzzed_dumps_are_read_or_refused() {
    let read = |mut dump: &[u8]| inspect(&mut dump, &mut |_| {});
    let mut accepted = 0;
    fuzz("dumps", |bytes| {
        drop(read(bytes));
        let sealed = seal(bytes);
        if let Ok(summary) = read(&sealed) {
            assert_eq!(summary.dump_bytes, sealed.len() as u64);
            accepted += 1;
        }
    });
    assert!(accepted > 0, "every input was refused");
}

/// The same dump with right checksums, up to the first frame that is cut off.
fn seal(dump: &[u8]) -> Vec<u8> {
    let mut sealed = dump.to_vec();
    let (mut at, mut frames) = (PREAMBLE_BYTES, 0);
    while let Some(start) = dump.get(at..at + START_BYTES) {
        let length = u32::from_be_bytes([start[1], start[2], start[3], start[4]]) as usize;
        let end = (at + START_BYTES).saturating_add(length);
        if dump.len() < end.saturating_add(CHECKSUM_BYTES) {
            break;
        }
        if start[0] == MANIFEST && length >= DIGEST_BYTES {
            let digest = xxh3_128(&sealed[..at]);
            sealed[end - DIGEST_BYTES..end].copy_from_slice(&digest.to_be_bytes());
        }
        let mut hash = Xxh3::with_seed(frames);
        hash.update(&sealed[at..end]);
        sealed[end..end + CHECKSUM_BYTES].copy_from_slice(&hash.digest().to_be_bytes());
        (at, frames) = (end + CHECKSUM_BYTES, frames + 1);
    }
    sealed
}
