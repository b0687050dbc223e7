//! One request and its response, as the connection offers them.

use std::borrow::Cow;

use exesdb_sdk::gateway::{BodyError, RespondError};

/// A complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Header names in lower case, and their values.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body; none for a response that never has one, such as the response to `HEAD`.
    pub body: Option<Cow<'static, [u8]>>,
}

/// The body of a streamed response.
pub trait Sink {
    /// Sends bytes. Blocks while the client is slower than the store.
    ///
    /// # Errors
    /// [`RespondError`].
    fn write(&mut self, bytes: &[u8]) -> Result<(), RespondError>;

    /// Completes the response. Dropping the sink instead aborts it, which the client can detect.
    ///
    /// # Errors
    /// [`RespondError`].
    fn finish(self) -> Result<(), RespondError>;
}

/// The body of a request and the means to respond to it.
pub trait Exchange {
    /// The body of a streamed response.
    type Sink: Sink;

    /// The whole body, of at most `limit` bytes. Bytes beyond the limit are not read.
    ///
    /// # Errors
    /// [`BodyError`].
    fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError>;

    /// Sends a complete response.
    ///
    /// # Errors
    /// [`RespondError`].
    fn respond(self, response: &Response) -> Result<(), RespondError>;

    /// Sends the head of `response` at once, and returns the sink for its body.
    ///
    /// # Errors
    /// [`RespondError`].
    fn open(self, response: &Response) -> Result<Self::Sink, RespondError>;
}
