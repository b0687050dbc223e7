//! What an operator can do about what the operating system refuses.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// What to do, to follow the system's words in a message: empty where they say all that is known.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "; run exesdb as the user that owns the file, or give this user access to it"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room there, or move to a larger disk",
        ErrorKind::ReadOnlyFilesystem => "; mount that file system writable, or move to another one",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "; something that is no folder has a folder's name: move it away, or give another path"
        }
        _ => match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => "; raise the limit on open files (ulimit -n)",
            Some(Errno::IO) => "; the disk does not do it: look at the system's log",
            _ => "",
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use rustix::io::Errno;

    use super::advice;

    #[test]
    fn what_can_be_done_follows_from_the_systems_error() {
        let table = [
            (Errno::ACCESS, "the user that owns the file"),
            (Errno::PERM, "the user that owns the file"),
            (Errno::NOSPC, "make room"),
            (Errno::DQUOT, "make room"),
            (Errno::ROFS, "mount that file system writable"),
            (Errno::NOTDIR, "move it away"),
            (Errno::EXIST, "move it away"),
            (Errno::MFILE, "ulimit -n"),
            (Errno::IO, "the system's log"),
        ];
        for (errno, part) in table {
            let said = advice(&Error::from(errno));
            assert!(said.starts_with("; ") && said.contains(part), "{errno}: {said}");
        }
        assert_eq!(advice(&Error::from(Errno::NOENT)), "");
    }
}
