//! A file system that loses what was not synced, in this process, mounted through FUSE.
//!
//! [`Disk`] is the medium with everything on it; [`Mount`] shows it to other processes. A [`Disk`] keeps two states: the
//! one that programs see, and the one that a loss of power leaves behind. What moves a change from the first to the
//! second is written here, because a test of durability is worth as much as these rules:
//!
//! - **Data.** `write`, `truncate` and `fallocate` change what programs see. `fsync` and `fdatasync` of a file make all
//!   of its data and its size durable.
//! - **Names.** `create`, `mkdir`, `rename`, `unlink` and `rmdir` change what programs see. `fsync` of a folder makes all
//!   changes of names in it durable, in their order; a rename from one folder to another goes with either of them and is
//!   never there by half.
//! - **A file's own name.** `fsync` of a file or folder makes the name durable that it was created with, and those of the
//!   folders above it, as ext4 does. A rename stays open until the folder is synced, where ext4 would often keep it:
//!   other file systems do not.
//! - **An `fsync` that fails** loses the pages that it was to write, and takes them for clean: the next `fsync` succeeds
//!   without them, and readers see them until the kernel lets go of what it has cached, as on Linux.
//! - **A loss of power** overtakes syncs that take their time ([`Disk::power_goes`]). It ([`Cut`]) keeps what is durable, and of the rest what the cut says.
//! - **Space.** A page of a file counts when it was written; holes are free. Metadata costs nothing. Beyond the capacity,
//!   writes fail with `ENOSPC`.
//!
//! Not modelled: states of a page between two of its writes, one sector of the medium going bad under durable data (for
//! that there is [`Disk::flip`]), and shared writable mappings, which the server does not use.
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
