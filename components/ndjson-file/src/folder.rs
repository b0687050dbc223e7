//! What the rules of the file need of a directory, and the directory that the host has granted.

use std::fmt::Display;

use exesdb_sdk::sinks::wasip2::filesystem::preopens;
use exesdb_sdk::sinks::wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags,
};

/// A directory. Errors say what did not work.
pub trait Folder {
    /// A file in it.
    type File: File;

    /// Opens a file, which is created if it is not there.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    fn open(&self, name: &str) -> Result<Self::File, String>;

    /// The names of what it has.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    fn names(&self) -> Result<Vec<String>, String>;

    /// Renames a file.
    ///
    /// # Errors
    ///
    /// The file cannot be renamed.
    fn rename(&self, from: &str, to: &str) -> Result<(), String>;

    /// Makes names durable.
    ///
    /// # Errors
    ///
    /// They may be lost.
    fn sync(&self) -> Result<(), String>;
}

/// A file. Errors say what did not work.
pub trait File {
    /// Its length in bytes.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn size(&self) -> Result<u64, String>;

    /// At most so many bytes from an offset on.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, String>;

    /// Writes bytes at an offset, and returns how many.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<u64, String>;

    /// Cuts what is after so many bytes.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    fn set_size(&self, size: u64) -> Result<(), String>;

    /// Makes its content durable.
    ///
    /// # Errors
    ///
    /// It may be lost.
    fn sync(&self) -> Result<(), String>;
}

/// The directory that the host has granted.
pub struct Granted(Descriptor);

impl Granted {
    /// Finds it; none if there is none.
    #[must_use]
    pub fn find() -> Option<Self> {
        preopens::get_directories().into_iter().next().map(|(descriptor, _)| Self(descriptor))
    }
}

impl Folder for Granted {
    type File = Descriptor;

    fn open(&self, name: &str) -> Result<Descriptor, String> {
        // A link is not followed: what is written stays in the directory.
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let opened = self.0.open_at(PathFlags::empty(), name, OpenFlags::CREATE, flags);
        opened.map_err(failed(&format!("{name} cannot be opened")))
    }

    fn names(&self) -> Result<Vec<String>, String> {
        let read = || -> Result<Vec<String>, ErrorCode> {
            let (entries, mut names) = (self.0.read_directory()?, Vec::new());
            while let Some(entry) = entries.read_directory_entry()? {
                names.push(entry.name);
            }
            Ok(names)
        };
        read().map_err(failed("the directory cannot be read"))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), String> {
        self.0.rename_at(from, &self.0, to).map_err(failed(&format!("{from} cannot be renamed to {to}")))
    }

    fn sync(&self) -> Result<(), String> {
        self.0.sync().map_err(failed("the directory cannot be synced"))
    }
}

impl File for Descriptor {
    fn size(&self) -> Result<u64, String> {
        Ok(self.stat().map_err(failed("the file cannot be looked at"))?.size)
    }

    fn read(&self, at: u64, length: u64) -> Result<Vec<u8>, String> {
        Ok(Descriptor::read(self, length, at).map_err(failed("the file cannot be read"))?.0)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<u64, String> {
        Descriptor::write(self, bytes, at).map_err(failed("the file cannot be written"))
    }

    fn set_size(&self, size: u64) -> Result<(), String> {
        Descriptor::set_size(self, size).map_err(failed("the file cannot be cut"))
    }

    fn sync(&self) -> Result<(), String> {
        self.sync_data().map_err(failed("the file cannot be synced"))
    }
}

fn failed<E: Display>(what: &str) -> impl Fn(E) -> String {
    move |error| format!("{what}: {error}")
}
