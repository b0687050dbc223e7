//! The container that the engine's tables and version files are: sections, a table of contents, and a trailer.
//!
//! As sfa 1.0.0 writes it (numbers little-endian):
//!
//! ```text
//! file      section* contents trailer
//! contents  "TOC!", number of entries u32, entry*
//! entry     position u64, length u64, length of the name u16, name
//! trailer   "SFA!", version 1u8, kind of checksum 0u8 (XXH3, 128 bits), checksum of the contents u128,
//!           position of the contents u64, length of the contents u64
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

const TRAILER_MAGIC: &[u8] = b"SFA!";
const TRAILER_VERSION: u8 = 1;
const CHECKSUM_XXH3: u8 = 0;
const TRAILER_BYTES: usize = 38;

const CONTENTS_MAGIC: &[u8] = b"TOC!";

/// Most bytes of a table of contents. The engine writes about ten entries of some thirty bytes each; one that claims more
/// than this is not read into memory.
const CONTENTS_BYTES_MAX: u64 = 64 * 1024;

/// A file whose trailer and table of contents are whole. The contents of its sections are not checked.
pub(crate) struct Archive {
    pub(crate) file: File,
    sections: Vec<Section>,
}

/// A part of the file. It lies within the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    name: Vec<u8>,
    /// Offset of its first byte.
    pub(crate) position: u64,
    /// Length in bytes.
    pub(crate) length: u64,
}

/// The trailer. It describes the table of contents, which lies directly before it.
#[derive(Debug, PartialEq, Eq)]
struct Trailer {
    checksum: u128,
    position: u64,
    length: usize,
}

impl Archive {
    /// Opens a file and reads its table of contents. The error says what is wrong with the file, without its name.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        // Checked before opening, because opening a pipe waits for its other end.
        let found = std::fs::metadata(path).map_err(unreadable)?;
        if !found.is_file() {
            return Err("it is no regular file".into());
        }
        let file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let Some(end) = length.checked_sub(TRAILER_BYTES as u64) else {
            return Err(format!(
                "it has {length} bytes, fewer than its trailer alone must have ({TRAILER_BYTES})"
            ));
        };
        let mut bytes = [0; TRAILER_BYTES];
        file.read_exact_at(&mut bytes, end).map_err(unreadable)?;
        let trailer = read_trailer(bytes, end)?;
        let mut contents = vec![0; trailer.length];
        file.read_exact_at(&mut contents, trailer.position).map_err(unreadable)?;
        if xxh3_128(&contents) != trailer.checksum {
            return Err(format!(
                "its table of contents (bytes {} to {end}) does not have its checksum",
                trailer.position
            ));
        }
        let sections = read_contents(&contents, trailer.position)?;
        Ok(Self { file, sections })
    }

    /// The section of this name; of several the first, as the engine does.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name.as_bytes())
    }
}

/// Reports a failed read, without the file's name.
pub(crate) fn unreadable(error: io::Error) -> String {
    format!("it cannot be read ({error})")
}

/// Reads a trailer that begins at `at`.
fn read_trailer(bytes: [u8; TRAILER_BYTES], at: u64) -> Result<Trailer, String> {
    let mut rest = &bytes[..];
    let promise = "a trailer has as many bytes as its fields";
    let magic = take(&mut rest, TRAILER_MAGIC.len()).expect(promise);
    if magic != TRAILER_MAGIC {
        return Err(format!("it was cut off or its end was overwritten (no trailer begins at byte {at})"));
    }
    let [version, kind] = take_array(&mut rest).expect(promise);
    if (version, kind) != (TRAILER_VERSION, CHECKSUM_XXH3) {
        return Err(format!(
            "its trailer (from byte {at}) is of version {version} with checksums of kind {kind}, and must be of \
             version {TRAILER_VERSION} with kind {CHECKSUM_XXH3}"
        ));
    }
    let checksum = u128::from_le_bytes(take_array(&mut rest).expect(promise));
    let position = u64::from_le_bytes(take_array(&mut rest).expect(promise));
    let length = u64::from_le_bytes(take_array(&mut rest).expect(promise));
    if position.checked_add(length) != Some(at) || length > CONTENTS_BYTES_MAX {
        return Err(format!(
            "its trailer (from byte {at}) claims a table of contents of {length} bytes at byte {position}, which \
             cannot be"
        ));
    }
    let length = usize::try_from(length).expect("a length within the limit fits");
    Ok(Trailer { checksum, position, length })
}

/// Reads a table of contents. The sections must lie before `end`.
fn read_contents(bytes: &[u8], end: u64) -> Result<Vec<Section>, String> {
    let bad = |what: &str| format!("its table of contents (from byte {end}) {what}");
    let mut rest = bytes;
    if take(&mut rest, CONTENTS_MAGIC.len()) != Some(CONTENTS_MAGIC) {
        return Err(bad("does not begin as one"));
    }
    let count = take_array(&mut rest).map(u32::from_le_bytes).ok_or_else(|| bad("ends too early"))?;
    // The count is not trusted, so no memory is reserved for it.
    let mut sections = Vec::new();
    for _ in 0..count {
        let section = read_entry(&mut rest).ok_or_else(|| bad("ends too early"))?;
        if section.position.checked_add(section.length).is_none_or(|section_end| section_end > end) {
            return Err(bad("names a section that lies outside of the file"));
        }
        sections.push(section);
    }
    if rest.is_empty() { Ok(sections) } else { Err(bad("goes on after its last entry")) }
}

fn read_entry(rest: &mut &[u8]) -> Option<Section> {
    let position = u64::from_le_bytes(take_array(rest)?);
    let length = u64::from_le_bytes(take_array(rest)?);
    let name_length = u16::from_le_bytes(take_array(rest)?);
    let name = take(rest, name_length.into())?.to_vec();
    Some(Section { name, position, length })
}

/// Takes the first `count` bytes off; `None` if there are fewer.
fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

/// Takes an array off the front; `None` if there are too few bytes.
pub(crate) fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod tests {
    use super::{
        Archive, CHECKSUM_XXH3, CONTENTS_BYTES_MAX, CONTENTS_MAGIC, TRAILER_BYTES, TRAILER_MAGIC,
        TRAILER_VERSION,
    };
    use xxhash_rust::xxh3::xxh3_128;

    /// A file of these sections and table of contents, with a matching trailer.
    pub(crate) fn file(sections: &[u8], contents: &[u8]) -> Vec<u8> {
        let mut bytes = [sections, contents].concat();
        bytes.extend(TRAILER_MAGIC);
        bytes.extend([TRAILER_VERSION, CHECKSUM_XXH3]);
        bytes.extend(xxh3_128(contents).to_le_bytes());
        bytes.extend((sections.len() as u64).to_le_bytes());
        bytes.extend((contents.len() as u64).to_le_bytes());
        bytes
    }

    /// A table of contents: the number of entries that it claims, and its actual entries (name, position, length).
    pub(crate) fn contents(count: u32, entries: &[(&str, u64, u64)]) -> Vec<u8> {
        let mut bytes = [CONTENTS_MAGIC, &count.to_le_bytes()].concat();
        for (name, position, length) in entries {
            bytes.extend(position.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
            bytes.extend(name.as_bytes());
        }
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Archive, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0");
        std::fs::write(&path, bytes).unwrap();
        Archive::open(&path)
    }

    #[test]
    fn an_intact_file_yields_its_sections() {
        let archive = open(&file(b"onetwo", &contents(2, &[("a", 0, 3), ("b", 3, 3)]))).unwrap();
        let section = archive.section("b").unwrap();
        assert_eq!((section.position, section.length), (3, 3));
        assert!(archive.section("c").is_none());
    }

    #[test]
    fn an_impossible_claim_is_refused() {
        let with_trailer = |at: usize, new: &[u8]| {
            let mut bytes = file(b"onetwo", &contents(1, &[("a", 0, 6)]));
            let start = bytes.len() - TRAILER_BYTES + at;
            bytes[start..start + new.len()].copy_from_slice(new);
            bytes
        };
        let mut long_name = contents(1, &[("a", 0, 6)]);
        long_name[24..26].copy_from_slice(&u16::MAX.to_le_bytes());
        let too_long = contents(0, &[]).into_iter().chain(vec![0; CONTENTS_BYTES_MAX as usize]);
        let cases = [
            ("empty", vec![], "it has 0 bytes"),
            ("too short", vec![0; TRAILER_BYTES - 1], "it has 37 bytes"),
            ("zeros", vec![0; 4096], "it was cut off or its end was overwritten"),
            ("version", with_trailer(4, &[2]), "of version 2"),
            ("checksum kind", with_trailer(5, &[9]), "kind 9"),
            ("position", with_trailer(22, &u64::MAX.to_le_bytes()), "which cannot be"),
            ("length", with_trailer(30, &u64::MAX.to_le_bytes()), "which cannot be"),
            ("both overflow", with_trailer(22, &[255; 16]), "which cannot be"),
            ("too long", file(b"", &too_long.collect::<Vec<_>>()), "which cannot be"),
            ("no contents", file(b"onetwo", b""), "does not begin as one"),
            ("no count", file(b"onetwo", b"TOC!\x01"), "ends too early"),
            ("count", file(b"onetwo", &contents(u32::MAX, &[("a", 0, 6)])), "ends too early"),
            ("name", file(b"onetwo", &long_name), "ends too early"),
            ("fewer", file(b"onetwo", &contents(0, &[("a", 0, 6)])), "goes on"),
            ("outside", file(b"onetwo", &contents(1, &[("a", 1, 6)])), "outside"),
            ("overflow", file(b"onetwo", &contents(1, &[("a", u64::MAX, u64::MAX)])), "outside"),
        ];
        for (case, bytes, expected) in cases {
            let error = open(&bytes).err().unwrap_or_else(|| panic!("{case} was accepted"));
            assert!(error.contains(expected), "{case}: {error}");
        }
    }

    #[test]
    fn a_folder_and_a_missing_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Archive::open(dir.path()).err().unwrap().contains("no regular file"));
        assert!(Archive::open(&dir.path().join("0")).err().unwrap().contains("cannot be read"));
    }
}
