//! Events as the streams component of format 2 kept them: the fields that follow the link.
//!
//! Stream id (text), version (`u64`), event id, event type, content type (texts), time (`u64`), data, metadata (bytes),
//! number of tags (`u16`), each tag (text). Numbers are big-endian; a text is its length (`u16`) and its UTF-8, bytes are
//! their length (`u32`) and themselves.

use exesdb_packed::{EventParts, json_flags};

const SHORT: &str = "an event of format 2 ends too early";

/// Turns the fields into an envelope. `is_json` is asked about what may be JSON; see [`json_flags`].
///
/// # Errors
///
/// What is wrong with the fields.
pub(super) fn turn(fields: &[u8], is_json: fn(&[u8]) -> bool) -> Result<Vec<u8>, &'static str> {
    let mut rest = Fields(fields);
    let stream_id = rest.text()?;
    let version = rest.u64()?;
    let (id, event_type, content_type) = (rest.text()?, rest.text()?, rest.text()?);
    let created = rest.u64()?;
    let (data, metadata) = (rest.bytes()?, rest.bytes()?);
    let tags = (0..rest.u16()?).map(|_| rest.text()).collect::<Result<Vec<_>, _>>()?;
    if !rest.0.is_empty() {
        return Err("bytes follow an event of format 2");
    }
    let parts = EventParts {
        flags: json_flags(content_type, data, metadata, is_json),
        version,
        created,
        stream_id,
        id,
        event_type,
        content_type,
        tags: &tags,
        data,
        metadata,
    };
    let mut envelope = Vec::new();
    parts.push(&mut envelope).expect("the lengths of format 2 are no longer than those of an envelope");
    Ok(envelope)
}

/// The fields that are not read yet.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        self.take(N).map(|bytes| bytes.try_into().expect("as many bytes were taken"))
    }

    fn u16(&mut self) -> Result<u16, &'static str> {
        self.array().map(u16::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let length = self.array().map(u32::from_be_bytes)?;
        self.take(usize::try_from(length).map_err(|_| SHORT)?)
    }

    fn text(&mut self) -> Result<&'a str, &'static str> {
        let length = self.u16()?;
        std::str::from_utf8(self.take(length.into())?)
            .map_err(|_| "a text of an event of format 2 is not UTF-8")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use exesdb_packed::Envelope;

    use super::turn;

    const FIELDS: &[u8] = b"\0\x01s\0\0\0\0\0\0\0\x05\0\x01i\0\x02ty\0\x01c\0\0\0\0\0\0\0\x06\
        \0\0\0\x04data\0\0\0\x02{}\0\x02\0\x03k:1\0\x01t";

    #[test]
    fn an_event_of_format_2_has_the_same_parts_afterwards() {
        let envelope = turn(FIELDS, |bytes| bytes == b"{}").unwrap();
        let event = Envelope::read(&envelope).unwrap();
        assert_eq!((event.stream_id, event.version, event.created), ("s", 5, 6));
        assert_eq!((event.id, event.event_type, event.content_type), ("i", "ty", "c"));
        assert_eq!(event.tags.collect::<Vec<_>>(), ["k:1", "t"]);
        assert_eq!((event.data, event.metadata), (&b"data"[..], &b"{}"[..]));
        assert!(event.metadata_is_json() && !event.data_is_json());
    }

    #[test]
    fn data_of_another_content_type_is_not_asked_about() {
        let is_json = |bytes: &[u8]| bytes == b"data" || bytes == b"{}";
        let envelope = turn(FIELDS, is_json).unwrap();
        assert!(!Envelope::read(&envelope).unwrap().data_is_json());
        let json = [&FIELDS[..18], b"\0\x10application/json", &FIELDS[21..]].concat();
        let envelope = turn(&json, is_json).unwrap();
        let event = Envelope::read(&envelope).unwrap();
        assert_eq!((event.content_type, event.flags), ("application/json", 3));
    }

    #[test]
    fn a_damaged_event_of_format_2_is_refused() {
        for length in 0..FIELDS.len() {
            assert!(turn(&FIELDS[..length], |_| true).is_err(), "{length}");
        }
        let longer = [FIELDS, b"x"].concat();
        assert_eq!(turn(&longer, |_| true), Err("bytes follow an event of format 2"));
        let mut no_text = FIELDS.to_vec();
        no_text[2] = 0xff;
        assert_eq!(turn(&no_text, |_| true), Err("a text of an event of format 2 is not UTF-8"));
    }
}
