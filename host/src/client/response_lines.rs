//! The lines of a response, as they come.

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::error::ClientError;
use super::http::innermost;

/// The media type of lines of JSON.
pub(super) const NDJSON: &str = "application/x-ndjson";
/// The longest line, in bytes. An event of 1 MiB takes less, also in base64 and with its metadata.
const LINE_BYTES_MAX: usize = 8 << 20;

/// A response whose lines are read one after the other.
#[derive(Debug)]
pub(super) struct ResponseLines {
    url: String,
    body: Incoming,
    buffer: BytesMut,
    /// The length of the beginning of the buffer that has no line end.
    searched: usize,
}

impl ResponseLines {
    /// The lines of a body, which is the response to a request to this URL.
    pub(super) fn of(url: String, body: Incoming) -> ResponseLines {
        ResponseLines { url, body, buffer: BytesMut::new(), searched: 0 }
    }

    /// The URL of the request.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The next line without its line end. A response that ends before its last line is a broken connection.
    pub(super) async fn next_line(&mut self) -> Result<BytesMut, ClientError> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                let detail = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(ClientError::Unreadable { url: self.url.clone(), detail });
            }
            let lost = |detail: String| ClientError::Lost { url: self.url.clone(), detail };
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(piece) = frame.data_ref() {
                        self.buffer.extend_from_slice(piece);
                    }
                }
                Some(Err(error)) => return Err(lost(innermost(&error))),
                None => return Err(lost("the response broke off".to_owned())),
            }
        }
    }
}
