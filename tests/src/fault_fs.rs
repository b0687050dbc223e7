//! A FUSE file system in this process that can lose every change that was not synced.
//!
//! [`Disk`] holds the content, and [`Mount`] makes it visible to other processes. A [`Disk`] keeps two states: the one
//! that programs see, and the durable one that remains after a loss of power. A test of durability is worth as much as the
//! rules by which a change becomes durable:
//!
//! - **Data.** `write`, `truncate` and `fallocate` change what programs see. `fsync` and `fdatasync` of a file make all
//!   of its data and its size durable.
//! - **Names.** `create`, `mkdir`, `rename`, `unlink` and `rmdir` change what programs see. `fsync` of a folder makes all
//!   changes of names in it durable, in order. A rename between folders becomes durable with either of them, and as a whole.
//! - **A file's own name.** `fsync` of a file or folder makes durable the name that it was created with, and those of the
//!   folders above it, as on ext4. A rename is not durable until the folder is synced; ext4 would often keep it, other file
//!   systems do not.
//! - **An `fsync` that fails** loses the pages that it should have written, and marks them clean: the next `fsync` succeeds
//!   without them, and readers see them until the kernel drops its cache, as on Linux.
//! - **A loss of power** interrupts syncs that are in progress ([`Disk::power_goes`]). It keeps what is durable, and those of
//!   the other changes that the [`Cut`] says.
//! - **Space.** Written pages of files count; holes and metadata do not. Beyond the capacity, writes fail with `ENOSPC`.
//!
//! Not modelled: states of a page between two of its writes, sectors that go bad under durable data (for these there is
//! [`Disk::flip`]), and shared writable mappings, which the host does not use.
//!
//! Mounting needs `/dev/fuse` and the right to `mount`: root, or a container with that device and `CAP_SYS_ADMIN`.

mod bytes;
mod cut;
mod disk;
mod driver;
mod fault;
mod image;
mod mount;
#[cfg(test)]
mod tests;

pub use cut::Cut;
pub use disk::{CAPACITY_MAX, Disk, Extent};
pub use fault::{Errno, Fault, Operation};
pub use mount::Mount;
