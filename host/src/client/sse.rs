//! Server-sent events, as the WHATWG HTML standard frames them: bytes in, messages out.

/// The largest message, in bytes: an event of 1 MiB in base64, its metadata and JSON fit well.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// One dispatched message, or a last id that moved on without one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Message {
    /// The last id that the stream has given, if any.
    pub(super) id: Option<String>,
    /// The message's kind; `message` when the stream does not say. Empty if there is no message, and only an id.
    pub(super) event: String,
    /// The data lines, joined by line feeds.
    pub(super) data: String,
}

/// The stream is not what this client follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SseError {
    #[error("a message is larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("a line is not UTF-8")]
    NotUtf8,
}

/// Cuts a stream of bytes into messages. Pieces may end anywhere, also within a character or a line end.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    /// The last byte was a carriage return that ended a line: a line feed that follows belongs to it.
    after_cr: bool,
    any_line: bool,
    id: Option<String>,
    event: String,
    data: String,
    has_data: bool,
    has_id: bool,
}

impl Decoder {
    /// Takes the next piece and gives the messages that it completes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Message>, SseError> {
        let mut messages = Vec::new();
        for &byte in piece {
            let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => messages.extend(self.end_line()?),
                byte => {
                    if self.line.len() + self.data.len() >= MESSAGE_BYTES_MAX {
                        return Err(SseError::TooLarge);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(messages)
    }

    fn end_line(&mut self) -> Result<Option<Message>, SseError> {
        let bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&bytes).map_err(|_| SseError::NotUtf8)?;
        let first = !std::mem::replace(&mut self.any_line, true);
        let line = if first { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => {
                self.id = Some(value.to_owned());
                self.has_id = true;
            }
            // A comment (empty field name), `retry`, or what a later version may add.
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Message> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        let has_id = std::mem::take(&mut self.has_id);
        if !std::mem::take(&mut self.has_data) {
            return has_id.then(|| Message { id: self.id.clone(), ..Message::default() });
        }
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Message { id: self.id.clone(), event, data })
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, MESSAGE_BYTES_MAX, Message, SseError};

    fn message(id: Option<&str>, event: &str, data: &str) -> Message {
        Message { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn messages_are_found_wherever_the_pieces_end() {
        let cases = [
            ("id: 7\ndata: {}\n\n", vec![message(Some("7"), "message", "{}")]),
            (
                "id:7\r\ndata:a\r\n\r\ndata: b\r\n\r\n",
                vec![message(Some("7"), "message", "a"), message(Some("7"), "message", "b")],
            ),
            ("data: a\rdata: b\r\r", vec![message(None, "message", "a\nb")]),
            ("\u{feff}data: ä\n\n", vec![message(None, "message", "ä")]),
            (": keep-alive\n\n: again\n\n", vec![]),
            (
                "event: error\ndata: x\n\ndata: y\n\n",
                vec![message(None, "error", "x"), message(None, "message", "y")],
            ),
            ("data\n\n", vec![message(None, "message", "")]),
            ("data:  two\n\n", vec![message(None, "message", " two")]),
            (
                "id: 1\n\nevent: x\n\ndata: a\n\n",
                vec![message(Some("1"), "", ""), message(Some("1"), "message", "a")],
            ),
            ("id: a\0b\nretry: 3\nfuture: 1\ndata: a\n\n", vec![message(None, "message", "a")]),
            ("data: unfinished\n", vec![]),
        ];
        for (text, expected) in cases {
            for size in 1..=text.len() {
                let mut decoder = Decoder::default();
                let messages: Vec<Message> =
                    text.as_bytes().chunks(size).flat_map(|piece| decoder.push(piece).unwrap()).collect();
                assert_eq!(messages, expected, "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn hostile_streams_are_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"data: \xff\n"), Err(SseError::NotUtf8));
        let mut decoder = Decoder::default();
        let line = vec![b'x'; MESSAGE_BYTES_MAX];
        assert_eq!(decoder.push(&line), Ok(vec![]));
        assert_eq!(decoder.push(b"x"), Err(SseError::TooLarge));
        let mut decoder = Decoder::default();
        let lines = [b"data: ".to_vec(), vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
        assert!((0..16).any(|_| decoder.push(&lines) == Err(SseError::TooLarge)));
    }
}
