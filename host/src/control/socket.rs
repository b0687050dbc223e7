//! The socket's file: where it is, who may open it, and what becomes of the file of a host that died.

use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The socket's name in the data directory.
const SOCKET_NAME: &str = "control.sock";
/// The directory in which the socket is created, below the data directory. Short, so that this path is not longer than
/// the final one: the system limits the path of a socket to about 100 bytes.
const STAGING_NAME: &str = ".new";
/// Only the owner may connect.
const SOCKET_MODE: u32 = 0o600;

/// Why the control socket cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The system's limit for socket paths.
    #[error("{}", too_long(.path))]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// Another process accepts connections on the socket.
    #[error("another exesdb is running on {}; stop it, or give another --data", data.display())]
    Running {
        /// The data directory.
        data: PathBuf,
    },
    /// Something other than a socket has the name.
    #[error("{} is in the way of the control socket and is no socket; move it elsewhere", path.display())]
    InTheWay {
        /// The socket's path.
        path: PathBuf,
    },
    /// The file system refuses.
    #[error("the control socket's file {} cannot be made: {error}{}", path.display(), exesdb_storage::advice(error))]
    Io {
        /// The file of the failed operation.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

/// The listening end of a control socket. Dropping it removes the file.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens in a data directory, which must exist. Replaces the file of a host that died. Must be called within a
    /// tokio runtime.
    pub fn bind(data: &Path) -> Result<ControlSocket, BindError> {
        let path = socket_path(data);
        check_free(data, &path)?;
        let staging = data.join(STAGING_NAME);
        let staged = staging.join("s");
        let io = |path: &Path| {
            let path = path.to_owned();
            move |error| BindError::Io { path, error }
        };
        // Bound in a directory that only the owner may enter, so that nobody can connect before the mode is set;
        // then renamed, which replaces an old file in one step.
        remove_staging(&staging, &staged).map_err(io(&staging))?;
        fs::DirBuilder::new().mode(0o700).create(&staging).map_err(io(&staging))?;
        let listener = {
            let short = ShortPath::of(&staged).map_err(io(&staged))?;
            if !fits(short.path()) {
                return Err(BindError::PathTooLong { path });
            }
            UnixListener::bind(short.path()).map_err(io(&staged))?
        };
        fs::set_permissions(&staged, fs::Permissions::from_mode(SOCKET_MODE)).map_err(io(&staged))?;
        fs::rename(&staged, &path).map_err(io(&path))?;
        fs::remove_dir(&staging).map_err(io(&staging))?;
        Ok(ControlSocket { listener, path })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the file of the control socket is left, for it cannot be removed");
        }
    }
}

/// Where the control socket of a data directory is.
pub(super) fn socket_path(data: &Path) -> PathBuf {
    data.join(SOCKET_NAME)
}

/// A path to a socket that is short enough for the system, which limits such paths to about 100 bytes: if the path itself
/// is longer, it leads through an open handle of the folder.
pub(super) struct ShortPath {
    path: PathBuf,
    /// Keeps the path valid: it leads through this handle.
    _folder: Option<File>,
}

impl ShortPath {
    pub(super) fn of(path: &Path) -> io::Result<ShortPath> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(ShortPath { path: path.to_owned(), _folder: None });
        };
        if fits(path) {
            return Ok(ShortPath { path: path.to_owned(), _folder: None });
        }
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(ShortPath { path, _folder: Some(folder) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a path is short enough for a socket.
pub(super) fn fits(path: &Path) -> bool {
    SocketAddr::from_pathname(path).is_ok()
}

/// The error message for a path that is too long.
pub(super) fn too_long(path: &Path) -> String {
    format!(
        "the control socket's path has {} bytes, and the system allows about 100: {}; give --data a shorter path, \
         or one relative to the working directory",
        path.as_os_str().len(),
        path.display()
    )
}

fn check_free(data: &Path, path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BindError::Io { path: path.to_owned(), error }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(BindError::InTheWay { path: path.to_owned() })
        }
        // The file of a host that was killed, unless another process accepts connections on it.
        Ok(_) => match ShortPath::of(path).and_then(|short| UnixStream::connect(short.path())) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(BindError::Io { path: path.to_owned(), error }),
            Ok(_) => Err(BindError::Running { data: data.to_owned() }),
        },
    }
}

/// Removes what a host left that died while it bound its socket.
fn remove_staging(staging: &Path, staged: &Path) -> io::Result<()> {
    let ignore_missing = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    ignore_missing(fs::remove_file(staged))?;
    ignore_missing(fs::remove_dir(staging))
}

#[cfg(test)]
mod tests {
    use super::{BindError, ControlSocket, SOCKET_NAME};
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn only_the_owner_may_connect_and_dropping_removes_the_file() {
        let data = tempfile::tempdir().unwrap();
        let socket = ControlSocket::bind(data.path()).unwrap();
        let path = data.path().join(SOCKET_NAME);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(data.path().read_dir().unwrap().count(), 1);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_data_directory_may_have_a_long_path() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("x".repeat(120));
        std::fs::create_dir(&data).unwrap();
        let socket = ControlSocket::bind(&data).unwrap();
        let short = super::ShortPath::of(&data.join(SOCKET_NAME)).unwrap();
        assert!(std::os::unix::net::UnixStream::connect(short.path()).is_ok());
        let error = ControlSocket::bind(&data).unwrap_err();
        assert!(matches!(error, BindError::Running { .. }), "{error}");
        drop(socket);
        assert_eq!(data.read_dir().unwrap().count(), 0);
    }

    #[tokio::test]
    async fn only_the_socket_of_a_dead_host_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(SOCKET_NAME);
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        std::fs::create_dir(data.path().join(super::STAGING_NAME)).unwrap();
        let _socket = ControlSocket::bind(data.path()).unwrap();
        let error = ControlSocket::bind(data.path()).unwrap_err();
        assert!(matches!(error, BindError::Running { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_a_socket_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(SOCKET_NAME), "mine").unwrap();
        let error = ControlSocket::bind(data.path()).unwrap_err().to_string();
        assert!(error.contains("is in the way"), "{error}");
        let error = ControlSocket::bind(&data.path().join("missing")).unwrap_err().to_string();
        assert!(error.contains("cannot be made"), "{error}");
    }
}
