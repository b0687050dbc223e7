//! The files of a log: one flat folder.
//!
//! [`RealFolder`] is a folder of the file system. [`MemoryDisk`] is one in memory that loses power when a test says so.

mod memory;
mod real;

use std::io;
use std::sync::Arc;

pub use memory::{MemoryDisk, MemoryFolder};
pub use real::RealFolder;

/// A folder with files and no folders in it.
pub trait Folder: Send + Sync {
    /// Where the folder is, for messages.
    fn describe(&self) -> String;

    /// The names of the files, in no order.
    ///
    /// # Errors
    ///
    /// Those of the file system, as for all functions of a folder.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing. `None` if there is none.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn FolderFile>>>;

    /// Creates an empty file in the place of any that is there. Durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn create(&self, name: &str) -> io::Result<Arc<dyn FolderFile>>;

    /// Renames a file, which replaces any that has the new name. Durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: all files that were created, renamed or removed.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn sync(&self) -> io::Result<()>;

    /// Locks the folder by a file of this name until the result is dropped. `None` if it is locked elsewhere.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// An open file. Its reads and writes name their offsets, so that several threads may share it.
pub trait FolderFile: Send + Sync {
    /// Bytes of the file.
    ///
    /// # Errors
    ///
    /// Those of the file system, as for all functions of a file.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// Also when the file ends before.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Durable after [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the contents durable.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    fn sync(&self) -> io::Result<()>;

    /// Has later reads come from the disk, as far as that is possible: after a failed sync the cache may hold what the
    /// disk does not.
    fn evict(&self);
}
