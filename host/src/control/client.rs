//! The client's end: a command that asks a running host.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::hello::{ADVICE, HELLO_BYTES_MAX, HELLO_TIMEOUT, Hello};
use super::protocol::{DATA_BYTES_MAX, Refusal, Request, Response};
use super::socket::{ShortPath, fits, socket_path, too_long};

/// The largest response, in bytes: the tree of hundreds of stores has a few MiB.
const RESPONSE_BYTES_MAX: u64 = 64 << 20;

/// Why a request to a host failed.
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
    /// The socket exists and cannot be used.
    #[error("the control socket {} cannot be used: {error}; it belongs to the user who runs exesdb", path.display())]
    Unusable {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The connection ended before the response.
    #[error("the host on {} ended before it answered", data.display())]
    Ended {
        /// The data directory.
        data: PathBuf,
    },
    /// The host does not say hello.
    #[error("the host on {} does not answer; try again, or restart it", data.display())]
    Silent {
        /// The data directory.
        data: PathBuf,
    },
    /// The host has another version of the protocol.
    #[error("{}", other_version(.data, .host.as_ref()))]
    OtherVersion {
        /// The data directory.
        data: PathBuf,
        /// None for one that does not know hellos.
        host: Option<Hello>,
    },
    /// The response is not of this protocol.
    #[error("the host on {} answered what this client cannot read: {detail}; is it of another version?", data.display())]
    Unreadable {
        /// The data directory.
        data: PathBuf,
        /// What cannot be read, and why.
        detail: String,
    },
    /// The host does not carry out the request.
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
            Ok(stream) => {
                let mut client = ControlClient { stream: BufReader::new(stream), data: data.to_owned() };
                client.exchange_hellos().await?;
                Ok(client)
            }
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ControlError::NotRunning { data: data.to_owned() }
                }
                _ => ControlError::Unusable { path, error },
            }),
        }
    }

    /// Says which exesdb this is, and checks that the host speaks the same protocol.
    async fn exchange_hellos(&mut self) -> Result<(), ControlError> {
        // A host that has too many connections may have closed this one: what it sent before says why.
        let _ = self.stream.write_all(&Hello::own().line()).await;
        let line = tokio::time::timeout(HELLO_TIMEOUT, self.line(HELLO_BYTES_MAX as u64)).await;
        let line = line.map_err(|_| ControlError::Silent { data: self.data.clone() })??;
        let host = match Hello::parse(&line) {
            Some(host) if host.is_understood() => return Ok(()),
            Some(host) => Some(host),
            None => match self.response(&line) {
                // A host before protocol 1 takes the hello for a request.
                Err(ControlError::Refused(Refusal::Malformed { .. })) => None,
                Err(error) => return Err(error),
                Ok(response) => return Err(self.unexpected(&response)),
            },
        };
        Err(ControlError::OtherVersion { data: self.data.clone(), host })
    }

    /// Sends a request and gives its (first) response. A refusal is an error.
    pub async fn ask(&mut self, request: &Request) -> Result<Response, ControlError> {
        let mut line = serde_json::to_vec(request).expect("requests are JSON");
        line.push(b'\n');
        // A host that closed the connection may have said why before.
        let _ = self.stream.write_all(&line).await;
        self.next().await
    }

    /// The next response to a request that has many.
    pub async fn next(&mut self) -> Result<Response, ControlError> {
        let line = self.line(RESPONSE_BYTES_MAX).await?;
        self.response(&line)
    }

    /// The next line, or as much of it as fits in `max` bytes.
    async fn line(&mut self, max: u64) -> Result<Vec<u8>, ControlError> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(max).read_until(b'\n', &mut line).await;
        if read.is_err() || line.is_empty() {
            return Err(ControlError::Ended { data: self.data.clone() });
        }
        Ok(line)
    }

    fn response(&self, line: &[u8]) -> Result<Response, ControlError> {
        match serde_json::from_slice(line) {
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

    /// The error for a response to another request.
    pub fn unexpected(&self, response: &Response) -> ControlError {
        let kind = match response {
            Response::Tree { .. } => "a tree",
            Response::Killed { .. } => "a kill",
            Response::Restarted { .. } => "a restart",
            Response::Event { .. } => "an event",
            Response::End => "an end",
            Response::Scavenged { .. } | Response::NotScavenged { .. } => "a step of scavenging",
            Response::Compacted { .. } => "a step of compacting",
            Response::Data { .. } => "a piece of a backup",
            Response::BackedUp { .. } => "the end of a backup",
            Response::Invited { .. } => "a token",
            Response::Error { .. } => "an error",
        };
        self.unreadable(format!("it is {kind}"))
    }

    fn unreadable(&self, detail: String) -> ControlError {
        ControlError::Unreadable { data: self.data.clone(), detail }
    }
}

/// Which versions do not fit, and what helps.
fn other_version(data: &Path, host: Option<&Hello>) -> String {
    let host = host.map_or("an older exesdb, which does not say its version".to_owned(), Hello::to_string);
    format!("the host on {} is {host}, and you are {}; {ADVICE}", data.display(), Hello::own())
}
