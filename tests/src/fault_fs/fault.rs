//! Failures that a test injects.

use rustix::io::Errno as Code;

/// The operations that can fail.
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
    /// `EIO`: the disk does not respond.
    Io,
    /// `ENOSPC`: the disk is full.
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

/// A failure to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// How it fails.
    pub errno: Errno,
    /// How many of these operations succeed first.
    pub after: u64,
    /// How many fail after that, one after the other.
    pub times: u64,
}

impl Fault {
    /// Counts an operation, and returns the error if it fails.
    pub(super) fn error_of(&mut self, operation: Operation) -> Option<Code> {
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
