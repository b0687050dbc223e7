//! A simulated disk, mounted on a folder.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::UnmountFlags;

use super::disk::Disk;
use super::driver::Driver;
use crate::eventually;

/// Threads that serve the kernel. Four, because a sync may block one for long, and while another hands pages to the
/// kernel, a reader of these pages may have to be served first.
const THREADS: usize = 4;

/// A mounted disk, unmounted on drop. Its users must have ended by then.
#[derive(Debug)]
pub struct Mount {
    disk: Disk,
    at: PathBuf,
    session: Mutex<Option<BackgroundSession>>,
}

impl Mount {
    /// Mounts a disk on an existing folder.
    ///
    /// # Panics
    ///
    /// When that is not possible. The message names the requirements, and how to leave these tests out.
    pub fn new(disk: &Disk, at: &Path) -> Self {
        let mount = Self { disk: disk.clone(), at: at.to_owned(), session: Mutex::new(None) };
        mount.up();
        mount
    }

    /// Unmounts the disk, calls `act` with it, and mounts it again. The kernel has cached nothing of it after that.
    ///
    /// # Panics
    ///
    /// When a process still uses it.
    pub fn while_unmounted<T>(&self, act: impl FnOnce(&Disk) -> T) -> T {
        self.down();
        let result = act(&self.disk);
        self.up();
        result
    }

    /// The mounted disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    fn up(&self) {
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        config.mount_options = vec![
            MountOption::FSName("exesdb-fault-fs".to_owned()),
            MountOption::NoAtime,
            MountOption::NoDev,
            MountOption::NoSuid,
        ];
        let session = fuser::spawn_mount(Driver::new(self.disk.clone()), &self.at, &config);
        let session = session.unwrap_or_else(|error| {
            panic!(
                "no FUSE file system can be mounted on {}: {error}. This test needs /dev/fuse and the right to mount: \
                 run it as root, or in a container with that device and CAP_SYS_ADMIN. To leave such tests out: \
                 cargo test -p exesdb-tests -- --skip fault_fs --skip power --skip errors --skip flips --skip faults",
                self.at.display()
            )
        });
        let mut state = self.disk.lock();
        (state.mounted, state.notifier) = (true, Some(session.notifier()));
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    fn down(&self) {
        let Some(session) = self.session.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        // The last handle of a killed process may be closed a moment after its end.
        eventually("nobody uses the disk", || rustix::mount::unmount(&self.at, UnmountFlags::empty()).ok());
        session.join().expect("the file system serves to its end");
        let mut state = self.disk.lock();
        (state.mounted, state.notifier) = (false, None);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A failed test may leave processes that use the disk. They keep their open files.
        if std::thread::panicking() {
            let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
        } else {
            self.down();
        }
    }
}
