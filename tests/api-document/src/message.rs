//! Server-sent events, parsed as the HTML standard says.

use serde_json::{Map, Value};

/// A server-sent event, possibly without data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The field `id`.
    pub id: Option<String>,
    /// The field `event`.
    pub event: Option<String>,
    /// The fields `data`, joined by line breaks.
    pub data: Option<String>,
    /// The field `retry`.
    pub retry: Option<u64>,
}

impl Message {
    /// The values of its fields, by name.
    pub fn to_value(&self) -> Value {
        let texts = [("id", &self.id), ("event", &self.event), ("data", &self.data)];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?.into())));
        let retry = self.retry.map(|retry| ("retry", Value::from(retry)));
        let fields: Map<String, Value> =
            texts.chain(retry).map(|(name, value)| (name.to_owned(), value)).collect();
        Value::Object(fields)
    }

    fn take_line(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            // A comment.
            "" => {}
            "id" => self.id = Some(value.to_owned()),
            "event" => self.event = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "retry" => {
                let number = value.parse().map_err(|_| format!("`retry` is no number: `{value}`"))?;
                self.retry = Some(number);
            }
            _ => return Err(format!("server-sent events have no such field: `{line}`")),
        }
        Ok(())
    }
}

/// Parses an event stream piece by piece.
#[derive(Debug, Default)]
pub struct Messages {
    /// The beginning of an incomplete line.
    line: Vec<u8>,
    /// The fields of an incomplete message.
    message: Message,
}

impl Messages {
    /// The messages that these bytes complete.
    ///
    /// # Errors
    ///
    /// The line that is not one of an event stream.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Message>, String> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            let Some(line) = self.line.strip_suffix(b"\n") else { break };
            let line = std::str::from_utf8(line).map_err(|error| format!("a line is not UTF-8: {error}"))?;
            if line.contains('\r') {
                return Err(format!("a line has a carriage return: {line:?}"));
            }
            if !line.is_empty() {
                self.message.take_line(line)?;
            } else if self.message != Message::default() {
                complete.push(std::mem::take(&mut self.message));
            }
            self.line.clear();
        }
        Ok(complete)
    }

    /// Whether there is no incomplete message.
    pub fn is_between(&self) -> bool {
        self.line.is_empty() && self.message == Message::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, Messages};
    use serde_json::json;

    #[test]
    fn messages_do_not_depend_on_the_pieces_of_the_stream() {
        let text = "retry: 1000\n\nid: 1@a\ndata: {}\n\n: keepalive\n\nid:2\n\nevent: end\ndata: a\ndata: ü\n\nid: 3";
        let expected = [
            json!({ "retry": 1000 }),
            json!({ "id": "1@a", "data": "{}" }),
            json!({ "id": "2" }),
            json!({ "event": "end", "data": "a\nü" }),
        ];
        for size in [1, 2, 7, text.len()] {
            let mut messages = Messages::default();
            let pieces = text.as_bytes().chunks(size);
            let complete: Vec<_> =
                pieces.flat_map(|piece| messages.push(piece).unwrap()).map(|it| it.to_value()).collect();
            assert_eq!(complete, expected, "{size}");
            assert!(!messages.is_between());
        }
        for wrong in [&b"date: 1\n"[..], b"retry: x\n", b"data: 1\r\n", b"data: \xff\n"] {
            assert!(Messages::default().push(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Messages::default().push(b": only a comment\n\n"), Ok(Vec::<Message>::new()));
    }
}
