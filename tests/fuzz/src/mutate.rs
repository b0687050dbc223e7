//! Changes that lead a reader astray: flipped bits, lengths at their limits, parts that are missing, repeated or taken
//! from another input.

use exesdb_test_support::Rng;

/// Most changes of one input.
const CHANGES_MAX: usize = 8;

/// Longest part that one change removes, repeats or takes over, in bytes.
const PART_BYTES_MAX: usize = 256;

/// Numbers at which readers compare and add.
const LIMITS: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff];

/// Text in which readers see something special.
const TEXTS: [&str; 20] = [
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "(",
    ")*",
    "{99999}",
    "%",
    "%ff",
    "&",
    "=",
    "\n",
    "\0",
    "1e999",
    "99999999999999999999",
];

/// One of the inputs, changed in one or more places, of `bytes_max` bytes at most.
pub(crate) fn mutate(random: &mut Rng, inputs: &[Vec<u8>], bytes_max: usize) -> Vec<u8> {
    let mut bytes = inputs[random.usize(..inputs.len())].clone();
    for _ in 0..random.usize(1..=CHANGES_MAX) {
        change(random, inputs, &mut bytes);
    }
    bytes.truncate(bytes_max);
    bytes
}

fn change(random: &mut Rng, inputs: &[Vec<u8>], bytes: &mut Vec<u8>) {
    match random.u8(..9) {
        0 => {
            if let Some(byte) = pick(random, bytes) {
                *byte ^= 1 << random.u8(..8);
            }
        }
        1 => {
            if let Some(byte) = pick(random, bytes) {
                *byte = random.u8(..);
            }
        }
        2 => {
            let at = place(random, bytes);
            bytes.insert(at, random.u8(..));
        }
        3 => {
            let part = part(random, bytes);
            bytes.drain(part);
        }
        4 => {
            let repeated = bytes[part(random, bytes)].to_vec();
            insert(random, bytes, &repeated);
        }
        5 => {
            let other = &inputs[random.usize(..inputs.len())];
            let taken = other[part(random, other)].to_vec();
            insert(random, bytes, &taken);
        }
        6 => overwrite_with_limit(random, bytes),
        7 => {
            let text = TEXTS[random.usize(..TEXTS.len())];
            insert(random, bytes, text.as_bytes());
        }
        _ => {
            let end = place(random, bytes);
            bytes.truncate(end);
        }
    }
}

/// A number of 1, 2, 4 or 8 bytes, in either byte order.
fn overwrite_with_limit(random: &mut Rng, bytes: &mut [u8]) {
    let size = 1 << random.u8(..4);
    let number = LIMITS[random.usize(..LIMITS.len())];
    let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
    let number = if random.bool() { &big[8 - size..] } else { &little[..size] };
    if let Some(last) = bytes.len().checked_sub(size) {
        let at = random.usize(..=last);
        bytes[at..at + size].copy_from_slice(number);
    }
}

fn pick<'a>(random: &mut Rng, bytes: &'a mut [u8]) -> Option<&'a mut u8> {
    let length = bytes.len();
    if length == 0 { None } else { bytes.get_mut(random.usize(..length)) }
}

/// An offset from the beginning to the end, both included.
fn place(random: &mut Rng, bytes: &[u8]) -> usize {
    random.usize(..=bytes.len())
}

fn part(random: &mut Rng, bytes: &[u8]) -> std::ops::Range<usize> {
    let start = place(random, bytes);
    let length = random.usize(..=PART_BYTES_MAX.min(bytes.len() - start));
    start..start + length
}

fn insert(random: &mut Rng, bytes: &mut Vec<u8>, part: &[u8]) {
    let at = place(random, bytes);
    bytes.splice(at..at, part.iter().copied());
}
