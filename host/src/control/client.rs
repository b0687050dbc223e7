//! The other side: a command that asks a running host.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::socket::{ShortPath, fits, socket_path, too_long};
use super::{DATA_BYTES_MAX, Refusal, Request, Response};

/// The largest answer, in bytes: the tree of hundreds of stores is a few MiB.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;

/// Why a host was not controlled.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("no exesdb is running on {data}; start it with `exesdb serve --data {data}`, or give another --data", data = .data.display())]
    NotRunning {
        /// The data directory.
        data: PathBuf,
    },
    /// The system's limit for socket paths.
    #[error("{}", too_long(.path))]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket is there and cannot be used.
    #[error("the control socket {} cannot be used: {error}; it belongs to the user who runs exesdb", path.display())]
    Unusable {
        /// The socket's path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The connection ended before the answer.
    #[error("the host on {} ended before it answered", data.display())]
    Ended {
        /// The data directory.
        data: PathBuf,
    },
    /// The answer is not of this protocol.
    #[error("the host on {} answered what this client cannot read: {detail}; is it of another version?", data.display())]
    Unreadable {
        /// The data directory.
        data: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The host will not.
    #[error("{0}")]
    Refused(Refusal),
}

/// A connection to a host's control socket.
#[derive(Debug)]
pub struct ControlClient {
    stream: BufReader<UnixStream>,
    data: PathBuf,
}

impl ControlClient {
    /// Connects to the host that runs on a data directory.
    pub async fn connect(data: &Path) -> Result<ControlClient, ControlError> {
        let path = socket_path(data);
        let connected = match ShortPath::of(&path) {
            Ok(short) if !fits(short.path()) => return Err(ControlError::PathTooLong { path }),
            Ok(short) => UnixStream::connect(short.path()).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => Ok(ControlClient { stream: BufReader::new(stream), data: data.to_owned() }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ControlError::NotRunning { data: data.to_owned() }
                }
                _ => ControlError::Unusable { path, error },
            }),
        }
    }

    /// Sends a request and gives its (first) answer. A refusal is an error.
    pub async fn ask(&mut self, request: &Request) -> Result<Response, ControlError> {
        let mut line = serde_json::to_vec(request).expect("requests are JSON");
        line.push(b'\n');
        // A host that refuses the connection may have closed it already: its answer says why.
        let _ = self.stream.write_all(&line).await;
        self.next().await
    }

    /// The next answer to a request that has many.
    pub async fn next(&mut self) -> Result<Response, ControlError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(RESPONSE_BYTES_MAX).read_until(b'\n', &mut line).await;
        if read.is_err() || line.is_empty() {
            return Err(ControlError::Ended { data: self.data.clone() });
        }
        match serde_json::from_slice(&line) {
            Ok(Response::Error { error }) => Err(ControlError::Refused(error)),
            Ok(response) => Ok(response),
            Err(error) => Err(self.unreadable(error.to_string())),
        }
    }

    /// The bytes that follow a [`Response::Data`].
    pub async fn data(&mut self, bytes: u64) -> Result<Vec<u8>, ControlError> {
        let fits = usize::try_from(bytes).ok().filter(|bytes| *bytes <= DATA_BYTES_MAX);
        let Some(fits) = fits else {
            return Err(self.unreadable(format!("a piece of {bytes} bytes")));
        };
        let mut data = vec![0; fits];
        match self.stream.read_exact(&mut data).await {
            Ok(_) => Ok(data),
            Err(_) => Err(ControlError::Ended { data: self.data.clone() }),
        }
    }

    /// The error for an answer to another question.
    pub fn unexpected(&self, response: &Response) -> ControlError {
        let kind = match response {
            Response::Tree { .. } => "a tree",
            Response::Killed { .. } => "a kill",
            Response::Restarted { .. } => "a restart",
            Response::Event { .. } => "an event",
            Response::End => "an end",
            Response::Scavenged { .. } => "a step of scavenging",
            Response::Compacted { .. } => "a step of compacting",
            Response::Data { .. } => "a piece of a backup",
            Response::BackedUp { .. } => "the end of a backup",
            Response::Error { .. } => "an error",
        };
        self.unreadable(format!("it is {kind}"))
    }

    fn unreadable(&self, detail: String) -> ControlError {
        ControlError::Unreadable { data: self.data.clone(), detail }
    }
}
