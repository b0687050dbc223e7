//! One request and its answer, as the connection offers them.

use std::borrow::Cow;

use exesdb_sdk::gateway::{BodyError, RespondError};

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body; none for an answer that has none by its nature, such as one to `HEAD`.
    pub body: Option<Cow<'static, [u8]>>,
}

/// Where an answer is written piece by piece.
pub trait Sink {
    /// Sends bytes on their way. Waits while the client is slower than the store.
    ///
    /// # Errors
    /// [`RespondError`].
    fn write(&mut self, bytes: &[u8]) -> Result<(), RespondError>;

    /// Ends the answer. One that is dropped instead is broken off, which the client can tell.
    ///
    /// # Errors
    /// [`RespondError`].
    fn finish(self) -> Result<(), RespondError>;
}

/// The body of a request and the way back to its client.
pub trait Exchange {
    /// Where an answer is written piece by piece.
    type Sink: Sink;

    /// The whole body, if it is not longer than `limit` bytes. What lies beyond is not read.
    ///
    /// # Errors
    /// [`BodyError`].
    fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError>;

    /// Sends a complete answer.
    ///
    /// # Errors
    /// [`RespondError`].
    fn respond(self, response: &Response) -> Result<(), RespondError>;

    /// Sends the head of `response` at once. Its body is what is then written.
    ///
    /// # Errors
    /// [`RespondError`].
    fn open(self, response: &Response) -> Result<Self::Sink, RespondError>;
}
