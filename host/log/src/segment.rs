//! Names and files of segments.

use std::io;
use std::sync::Arc;

use crate::disk::{Folder, FolderFile};
use crate::limits::{INDEX_MAX, ZEROES_BYTES};

pub(crate) const LOCK_FILE: &str = "lock";
pub(crate) const MARK_FILE: &str = "log.mark";
pub(crate) const NEW_MARK_FILE: &str = "log.mark.new";

/// A segment while it is filled with zeroes.
pub(crate) const NEW_SEGMENT_FILE: &str = "segment.new";

static ZEROES: [u8; ZEROES_BYTES] = [0; ZEROES_BYTES];

/// What a file of a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A segment; the numbers ascend in the order of writing.
    Segment(u64),
    /// A file for a coming segment, named after the segment that it was, or before which it was made.
    Spare(u64),
    /// The torn end of a segment, from a byte on.
    Cut { segment: u64, at: u64 },
}

impl Name {
    /// What a file is by its name. `None` for all others.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (number, rest) = name.split_once('.')?;
        let number = number.parse().ok().filter(|number| *number <= INDEX_MAX)?;
        let parsed = match rest {
            "seg" => Self::Segment(number),
            "free" => Self::Spare(number),
            _ => Self::Cut { segment: number, at: rest.strip_prefix("seg.cut-")?.parse().ok()? },
        };
        // A number has one spelling only.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Segment(number) => write!(f, "{number}.seg"),
            Self::Spare(number) => write!(f, "{number}.free"),
            Self::Cut { segment, at } => write!(f, "{segment}.seg.cut-{at}"),
        }
    }
}

/// A file that is being filled with zeroes, so that no later sync has blocks of the disk to allocate.
pub(crate) struct NewFile {
    file: Arc<dyn FolderFile>,
    written: u64,
    length: u64,
}

impl NewFile {
    pub(crate) fn begin(folder: &dyn Folder, length: u64) -> io::Result<Self> {
        Ok(Self { file: folder.create(NEW_SEGMENT_FILE)?, written: 0, length })
    }

    /// Writes some zeroes, durably. Returns whether these were the last ones.
    pub(crate) fn step(&mut self) -> io::Result<bool> {
        let left = usize::try_from(self.length - self.written).unwrap_or(usize::MAX);
        let zeroes = &ZEROES[..left.min(ZEROES_BYTES)];
        self.file.write(self.written, zeroes)?;
        self.file.sync()?;
        self.written += zeroes.len() as u64;
        Ok(self.written == self.length)
    }

    /// Bytes that are written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what is left.
    pub(crate) fn finish(mut self) -> io::Result<Arc<dyn FolderFile>> {
        while self.written < self.length {
            self.step()?;
        }
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn only_the_files_of_a_log_are_recognized() {
        for name in [Name::Segment(1), Name::Spare(20), Name::Cut { segment: 3, at: 4096 }] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for other in [
            "lock",
            "log.mark",
            "segment.new",
            "01.seg",
            "+1.seg",
            ".seg",
            "1.seg.cut-",
            "1.seg.cut-01",
            "1.segment",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        assert_eq!(Name::parse("18446744073709551615.seg"), None, "the next number could not be counted");
        assert_eq!(Name::parse("99999999999999999999.seg"), None);
    }
}
