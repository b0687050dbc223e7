//! Reads a live response, and checks every byte that arrives.

use std::io::Read;

use exesdb_api_document::{BodyCheck, Message, Messages};

/// Bytes of a live response that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// Passes the messages of a live response to `take`, until that returns false.
pub(crate) fn read_messages(
    mut response: impl Read,
    mut body: Option<BodyCheck<'static>>,
    mut take: impl FnMut(Message) -> Result<bool, String>,
) -> Result<(), String> {
    let (mut messages, mut buffer) = (Messages::default(), vec![0; READ_BYTES]);
    loop {
        // A response that breaks off is incomplete, but must be valid up to there.
        let read = response.read(&mut buffer);
        let bytes = match read {
            Ok(count @ 1..) => &buffer[..count],
            ended => return body.map_or(Ok(()), |body| body.finish(ended.is_ok())),
        };
        if let Some(body) = &mut body {
            body.push(bytes)?;
        }
        for message in messages.push(bytes)? {
            if !take(message)? {
                return Ok(());
            }
        }
    }
}
