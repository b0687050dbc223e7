//! A medium where other processes find it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::UnmountFlags;

use super::disk::Disk;
use super::driver::Driver;
use crate::eventually;

/// Threads that serve the kernel. Four: a sync takes its time, and while one thread tells the kernel of pages, a reader of
/// them may have to be served first.
const THREADS: usize = 4;

/// A mounted medium. Unmounted when dropped; who used it must be gone by then.
#[derive(Debug)]
pub struct Mount {
    disk: Disk,
    at: PathBuf,
    session: Mutex<Option<BackgroundSession>>,
}

impl Mount {
    /// Mounts a medium on a folder that is there.
    ///
    /// # Panics
    ///
    /// When that is not possible, with what is needed and how to do without.
    pub fn new(disk: &Disk, at: &Path) -> Self {
        let mount = Self { disk: disk.clone(), at: at.to_owned(), session: Mutex::new(None) };
        mount.up();
        mount
    }

    /// Takes the medium away from everybody, does something with it, and mounts it again. What kernels cache is gone
    /// then.
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

    /// The medium.
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
                 run it as root, or in a container with that device and CAP_SYS_ADMIN. The tests that do without: \
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
        // The last handle of a process that was killed may be closed a moment after its end was seen.
        eventually("nobody uses the medium", || rustix::mount::unmount(&self.at, UnmountFlags::empty()).ok());
        session.join().expect("the file system serves to its end");
        let mut state = self.disk.lock();
        (state.mounted, state.notifier) = (false, None);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A test that failed may have left users; they keep what they have open, and nobody finds it any more.
        if std::thread::panicking() {
            let _ = rustix::mount::unmount(&self.at, UnmountFlags::DETACH);
        } else {
            self.down();
        }
    }
}
