//! Finding damage in a table of the engine.
//!
//! The engine says that a table is damaged but not which one, so this reader is used after it has said so. [`problem`]
//! checks the end of the file and the sections that the engine may read before any data: properties, indexes, filter.
//! [`data_problem`] checks the data.
//!
//! As lsm-tree 3.1.10 writes it, a table is an [archive](super::archive) whose sections consist of blocks, each with
//! checksums (numbers little-endian):
//!
//! ```text
//! block     header bytes
//! header    "LSM" 3u8, kind u8 (0 data, 1 index, 2 filter, 3 properties), XXH3 of the bytes u128, number of the bytes
//!           u32, their number when uncompressed u32, lower half of the lower half of the XXH3 (128 bits) of the fields
//!           before u32
//! ```

use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

use super::archive::{Archive, Section, take_array};

const BLOCK_MAGIC: [u8; 4] = *b"LSM\x03";

/// Bytes of a block's header.
const HEADER_BYTES: usize = 33;

/// Bytes of the header that the header's checksum covers.
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// Bytes read from a block at once. The length of a block is not trusted; it can claim 4 GiB.
const READ_BYTES: usize = 64 * 1024;

const DATA: u8 = 0;
const INDEX: u8 = 1;
const FILTER: u8 = 2;
const PROPERTIES: u8 = 3;

/// Whether a section is required, and of how many blocks it consists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    MustBeOne,
    MayBeOne,
    MayBeMany,
}

/// What is wrong with the table in `path`, as a sentence without the file's name; `None` if nothing was found.
pub(crate) fn problem(path: &Path) -> Option<String> {
    check(path).err()
}

/// What is wrong with the first damaged data block of the table in `path`, as a sentence without the file's name; `None`
/// if nothing was found. Reads all of the data.
pub(crate) fn data_problem(path: &Path) -> Option<String> {
    let check = || {
        let archive = Archive::open(path)?;
        let data = archive.section("data").ok_or("it has no section \"data\"")?;
        check_section(&archive, data, DATA, Shape::MayBeMany)
            .map_err(|(at, what)| format!("its data is damaged: the block at byte {at} {what}"))
    };
    check().err()
}

fn check(path: &Path) -> Result<(), String> {
    let archive = Archive::open(path)?;
    // A filter of several blocks has an index of its own.
    let filter = if archive.section("filter_tli").is_some() { Shape::MayBeMany } else { Shape::MayBeOne };
    let sections = [
        ("meta", PROPERTIES, Shape::MustBeOne),
        ("tli", INDEX, Shape::MustBeOne),
        ("index", INDEX, Shape::MayBeMany),
        ("filter_tli", INDEX, Shape::MayBeOne),
        ("filter", FILTER, filter),
    ];
    for (name, kind, shape) in sections {
        match archive.section(name) {
            Some(section) => check_section(&archive, section, kind, shape).map_err(|(at, what)| {
                format!("its section {name:?} is damaged: the block at byte {at} {what}")
            })?,
            None if shape == Shape::MustBeOne => return Err(format!("it has no section {name:?}")),
            None => {}
        }
    }
    Ok(())
}

/// Checks each block of a section. The error gives the offset of a block, and what is wrong with it.
fn check_section(archive: &Archive, section: &Section, kind: u8, shape: Shape) -> Result<(), (u64, String)> {
    let end = section.position + section.length;
    let mut at = section.position;
    loop {
        let length = check_block(archive, at, end - at, kind).map_err(|what| (at, what))?;
        let next = at + length;
        if next == end {
            return Ok(());
        }
        if shape != Shape::MayBeMany {
            return Err((at, format!("ends at byte {next} instead of {end}")));
        }
        at = next;
    }
}

/// Checks the block at an offset, which has at most `room` bytes. Returns its length including the header.
fn check_block(archive: &Archive, at: u64, room: u64, kind: u8) -> Result<u64, String> {
    if room < HEADER_BYTES as u64 {
        return Err(format!("has {room} bytes, fewer than its header must have ({HEADER_BYTES})"));
    }
    let mut bytes = [0; HEADER_BYTES];
    archive.file.read_exact_at(&mut bytes, at).map_err(unreadable_block)?;
    let header = read_header(&bytes, kind)?;
    let length = HEADER_BYTES as u64 + u64::from(header.length);
    if length > room {
        return Err(format!("claims {length} bytes and has room for {room}"));
    }
    let mut hash = Xxh3Default::new();
    let mut buffer = vec![0; READ_BYTES];
    let (mut from, end) = (at + HEADER_BYTES as u64, at + length);
    while from < end {
        let count = usize::try_from(end - from).unwrap_or(READ_BYTES).min(READ_BYTES);
        archive.file.read_exact_at(&mut buffer[..count], from).map_err(unreadable_block)?;
        hash.update(&buffer[..count]);
        from += count as u64;
    }
    if hash.digest128() == header.checksum { Ok(length) } else { Err("does not have its checksum".into()) }
}

fn unreadable_block(error: std::io::Error) -> String {
    format!("cannot be read ({error})")
}

/// The header of a block.
struct Header {
    checksum: u128,
    length: u32,
}

fn read_header(bytes: &[u8; HEADER_BYTES], kind: u8) -> Result<Header, String> {
    let promise = "a header has as many bytes as its fields";
    let (checked, mut rest) = bytes.split_at(CHECKED_BYTES);
    let header_checksum = u32::from_le_bytes(take_array(&mut rest).expect(promise));
    let mut rest = checked;
    if take_array(&mut rest) != Some(BLOCK_MAGIC) {
        return Err("does not begin as a block does".into());
    }
    let [found] = take_array(&mut rest).expect(promise);
    let checksum = u128::from_le_bytes(take_array(&mut rest).expect(promise));
    let length = u32::from_le_bytes(take_array(&mut rest).expect(promise));
    #[expect(clippy::cast_possible_truncation, reason = "only these bits are kept")]
    let expected = xxh3_128(checked) as u32;
    if header_checksum != expected {
        return Err("has a header that does not have its checksum".into());
    }
    if found != kind {
        return Err(format!("is of kind {found} instead of {kind}"));
    }
    Ok(Header { checksum, length })
}

#[cfg(test)]
mod tests;
