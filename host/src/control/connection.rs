//! The host's end of a connection: bounded lines in, responses out, each within its time.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::hello::{ADVICE, HELLO_BYTES_MAX, HELLO_TIMEOUT, Hello};
use super::protocol::{REQUEST_BYTES_MAX, Refusal, Request, Response};

/// Until a request is complete: longer than somebody takes who types one by hand. After that the connection is free
/// for somebody else.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Until the client has taken a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Until the client has taken a piece of a backup. It writes each piece to a disk, which may stall for a while.
const PIECE_TIMEOUT: Duration = Duration::from_secs(120);

/// The connection is of no use any more: the client left, stalls, or sent a line without end.
#[derive(Debug)]
pub(super) struct Disconnected;

/// A connection with a client.
#[derive(Debug)]
pub(super) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// Exchanges hellos. A client of another version is disconnected: with the host's hello it can say why. A client
    /// that sends no hello gets an error with the host's version, in a form that clients before protocol 1 can read.
    pub(super) async fn exchange_hellos(&mut self) -> Result<(), Disconnected> {
        let line = timeout(HELLO_TIMEOUT, self.line(HELLO_BYTES_MAX)).await.map_err(|_| Disconnected)??;
        let Some(client) = line.as_deref().and_then(Hello::parse) else {
            let detail = format!("this host is {}, and you do not say what you are; {ADVICE}", Hello::own());
            self.send(&Response::Error { error: Refusal::Malformed { detail } }).await?;
            return Err(Disconnected);
        };
        self.write(&Hello::own().line(), RESPONSE_TIMEOUT).await?;
        if client.is_understood() { Ok(()) } else { Err(Disconnected) }
    }

    /// The next request, or what is wrong with it.
    pub(super) async fn request(&mut self) -> Result<Result<Request, Refusal>, Disconnected> {
        let line =
            timeout(REQUEST_TIMEOUT, self.line(REQUEST_BYTES_MAX)).await.map_err(|_| Disconnected)??;
        let Some(line) = line else { return Ok(Err(Refusal::TooLong)) };
        let request = serde_json::from_slice(&line);
        Ok(request.map_err(|error| Refusal::Malformed { detail: error.to_string() }))
    }

    /// The next line with its end, or none if it is longer than `max` bytes.
    async fn line(&mut self, max: usize) -> Result<Option<Vec<u8>>, Disconnected> {
        let mut line = Vec::new();
        let read = (&mut self.0).take(max as u64).read_until(b'\n', &mut line).await;
        let length = read.map_err(|_| Disconnected)?;
        match line.last() {
            Some(b'\n') => Ok(Some(line)),
            _ if length == max => Ok(None),
            _ => Err(Disconnected),
        }
    }

    pub(super) async fn send(&mut self, response: &Response) -> Result<(), Disconnected> {
        self.write(&response.line(), RESPONSE_TIMEOUT).await
    }

    /// Sends a piece of a backup, announced by a line.
    pub(super) async fn send_piece(&mut self, piece: &[u8]) -> Result<(), Disconnected> {
        self.send(&Response::Data { bytes: piece.len() as u64 }).await?;
        self.write(piece, PIECE_TIMEOUT).await
    }

    async fn write(&mut self, bytes: &[u8], within: Duration) -> Result<(), Disconnected> {
        match timeout(within, self.0.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Disconnected),
        }
    }

    /// Completes when the client leaves or says something.
    pub(super) async fn has_input(&mut self) {
        // Either way there is nothing more to wait for.
        drop(self.0.fill_buf().await);
    }
}
