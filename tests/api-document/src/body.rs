//! Checks the body of a response against the document, piece by piece.

use serde_json::Value;

use crate::schema::json;
use crate::{Document, Frame, Head, Messages, take_frame};

/// The media type of every error.
const PROBLEM: &str = "application/problem+json";

/// Checks a body piece by piece.
#[derive(Debug)]
pub struct BodyCheck<'a> {
    document: &'a Document,
    /// The name of the exchange in complaints.
    what: String,
    form: Form<'a>,
    /// The number of bytes so far.
    bytes: u64,
    /// The content length in the head.
    announced: Option<u64>,
    /// The beginning of an incomplete value.
    pending: Vec<u8>,
}

#[derive(Debug)]
enum Form<'a> {
    /// No body.
    Nothing,
    /// One JSON value.
    Json {
        schema: &'a Value,
        /// The status in the value, for problems.
        status: Option<u16>,
    },
    /// Server-sent events.
    Messages(Messages, Sequence<'a>),
    /// A JSON value on each line.
    Lines(Sequence<'a>),
    /// Packed events, and whether the last frame has come.
    Packed { has_ended: bool },
}

/// The schemas of a sequence of values, and whether the last one has come.
#[derive(Debug)]
struct Sequence<'a> {
    item: &'a Value,
    last: Option<&'a Value>,
    has_ended: bool,
}

impl Sequence<'_> {
    fn take(&mut self, document: &Document, value: &Value, what: &str) -> Result<(), String> {
        if self.has_ended {
            return Err(format!("{what}: after the last item comes {value}"));
        }
        self.has_ended = self.last.is_some_and(|last| document.check(value, last, what).is_ok());
        if self.has_ended { Ok(()) } else { document.check(value, self.item, what) }
    }

    fn finish(&self, what: &str) -> Result<(), String> {
        if self.last.is_some() && !self.has_ended {
            return Err(format!("{what}: the body ended without its last item"));
        }
        Ok(())
    }
}

impl<'a> BodyCheck<'a> {
    /// A check against a media type object of the document; `None` for a response without a body.
    pub(crate) fn new(
        document: &'a Document,
        head: &Head<'_>,
        form: Option<&'a Value>,
        what: String,
    ) -> Result<Self, String> {
        let sequence = || {
            let item = form.and_then(|form| form.get("x-item-schema"));
            let item = item.ok_or_else(|| format!("{what}: the document has no schema of the items"))?;
            let last = form.and_then(|form| form.get("x-last-item-schema"));
            Ok::<_, String>(Sequence { item, last, has_ended: false })
        };
        let is_head = head.method == "HEAD";
        let form = match (form, head.media_type()) {
            (None, _) => Form::Nothing,
            (Some(_), _) if is_head => Form::Nothing,
            (Some(form), "application/json") => Form::Json { schema: &form["schema"], status: None },
            (Some(form), PROBLEM) => Form::Json { schema: &form["schema"], status: Some(head.status) },
            (Some(_), "text/event-stream") => Form::Messages(Messages::default(), sequence()?),
            (Some(_), "application/x-ndjson") => Form::Lines(sequence()?),
            (Some(_), "application/vnd.exesdb.packed") => Form::Packed { has_ended: false },
            (Some(_), other) => return Err(format!("{what}: no test knows how to read `{other}`")),
        };
        let announced = head.header("content-length").and_then(|length| length.parse().ok());
        let announced = announced.filter(|_| !is_head);
        Ok(Self { document, what, form, bytes: 0, announced, pending: Vec::new() })
    }

    /// Checks the values that these bytes complete.
    ///
    /// # Errors
    ///
    /// The difference from the document.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Self { document, what, form, pending, .. } = self;
        self.bytes += bytes.len() as u64;
        match form {
            Form::Nothing if bytes.is_empty() => Ok(()),
            Form::Nothing => Err(format!("{what} with a body, where there is none")),
            Form::Json { .. } => {
                pending.extend_from_slice(bytes);
                Ok(())
            }
            Form::Messages(messages, sequence) => {
                let complete = messages.push(bytes).map_err(|error| format!("{what}: {error}"))?;
                complete.iter().try_for_each(|message| sequence.take(document, &message.to_value(), what))
            }
            Form::Lines(sequence) => {
                pending.extend_from_slice(bytes);
                let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
                for line in pending[..end].split(|byte| *byte == b'\n') {
                    sequence.take(document, &value(line, what)?, what)?;
                }
                pending.drain(..=end);
                Ok(())
            }
            Form::Packed { has_ended } => {
                pending.extend_from_slice(bytes);
                let mut rest = pending.as_slice();
                while let Some(frame) = take_frame(&mut rest).map_err(|error| format!("{what}: {error}"))? {
                    if *has_ended {
                        return Err(format!("{what}: after the last frame comes another"));
                    }
                    *has_ended = matches!(frame, Frame::End { .. });
                }
                let taken = pending.len() - rest.len();
                pending.drain(..taken);
                Ok(())
            }
        }
    }

    /// Checks the end of the body. An incomplete body must have been valid so far.
    ///
    /// # Errors
    ///
    /// The difference from the document.
    pub fn finish(self, is_whole: bool) -> Result<(), String> {
        let Self { document, what, form, bytes, announced, pending } = self;
        if !is_whole {
            return Ok(());
        }
        if let Some(announced) = announced.filter(|announced| *announced != bytes) {
            return Err(format!("{what}: content-length is {announced}, and the body has {bytes} bytes"));
        }
        let is_cut = match &form {
            Form::Messages(messages, _) => !messages.is_between(),
            Form::Lines(_) | Form::Packed { .. } => !pending.is_empty(),
            Form::Nothing | Form::Json { .. } => false,
        };
        if is_cut {
            return Err(format!("{what}: the body ended in the middle of an item"));
        }
        match form {
            Form::Nothing => Ok(()),
            Form::Json { schema, status } => {
                let value = value(&pending, &what)?;
                if let Some(status) = status.filter(|status| value["status"] != *status) {
                    return Err(format!("{what}: the problem's status is not {status}: {value}"));
                }
                document.check(&value, schema, &what)
            }
            Form::Messages(_, sequence) | Form::Lines(sequence) => sequence.finish(&what),
            Form::Packed { has_ended: true } => Ok(()),
            Form::Packed { has_ended: false } => {
                Err(format!("{what}: the body ended without its last frame"))
            }
        }
    }
}

fn value(bytes: &[u8], what: &str) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("{what}: this is not UTF-8: {error}"))?;
    json(text).map_err(|error| format!("{what}: {error}"))
}
