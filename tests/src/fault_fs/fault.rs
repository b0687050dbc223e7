//! Operations that fail because a test says so.

use rustix::io::Errno as Code;

/// What can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `write` to a file.
    Write,
    /// `fsync` or `fdatasync` of a file, or of a folder.
    Sync,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errno {
    /// The medium does not response.
    Io,
    /// The medium is full.
    NoSpace,
}

impl Errno {
    pub(super) fn code(self) -> Code {
        match self {
            Self::Io => Code::IO,
            Self::NoSpace => Code::NOSPC,
        }
    }
}

/// A failure that is to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// How it fails.
    pub errno: Errno,
    /// How many of these operations succeed before.
    pub after: u64,
    /// How many fail then, one after the other.
    pub times: u64,
}

impl Fault {
    /// Counts one operation, and tells whether it fails.
    pub(super) fn passes(&mut self, operation: Operation) -> Option<Code> {
        if operation != self.operation || self.times == 0 {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        self.times -= 1;
        Some(self.errno.code())
    }
}
