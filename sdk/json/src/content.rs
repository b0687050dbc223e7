//! Writes the fields that events and snapshots share.
//!
//! serde writes all other responses. It could embed stored JSON only as a `RawValue`, which parses the value once more and
//! drops the white space around it: a page of 1,000 events then takes about twice as long to encode. The host has checked
//! which events are JSON, and their flags say so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use exesdb_packed::says_json;

use crate::timestamp::push_rfc3339;
use crate::{push_number, push_string};

/// The content type that responses omit.
const JSON: &str = "application/json";

/// The treatment of white space in stored JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// White space is kept.
    Kept,
    /// Line breaks become spaces. JSON allows them only between tokens, where a space is equivalent.
    OneLine,
    /// JSON that a line could not reproduce byte for byte is written as base64.
    Exact,
}

/// The fields that events and snapshots share.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The media type of the data.
    pub content_type: &'a str,
    /// The payload.
    pub data: &'a [u8],
    /// Whether the data was checked to be JSON.
    pub data_is_json: bool,
    /// JSON about the event or snapshot; empty for none.
    pub metadata: &'a [u8],
    /// Whether the metadata was checked to be JSON.
    pub metadata_is_json: bool,
}

impl Layout {
    /// Whether JSON can be embedded in this layout.
    fn embeds(self, json: &[u8]) -> bool {
        // A reader that takes the value out of the line drops the white space around it.
        self != Self::Exact || !has_line_breaks(json) && json.trim_ascii().len() == json.len()
    }
}

/// JSON allows line breaks between tokens only.
fn has_line_breaks(json: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', json).is_some()
}

/// Appends `data` or `data_base64`, `content_type` unless it is [`JSON`], and `metadata` or `metadata_base64`.
pub fn push_content(out: &mut Vec<u8>, content: Content<'_>, layout: Layout) {
    let Content { content_type, data, metadata, .. } = content;
    let plain = content_type == JSON;
    let embeds = content.data_is_json && (plain || says_json(content_type)) && layout.embeds(data);
    if embeds {
        out.extend_from_slice(b",\"data\":");
        push_json(out, data, layout);
    } else {
        push_base64(out, "data_base64", data);
    }
    if !embeds || !plain {
        out.extend_from_slice(b",\"content_type\":");
        push_string(out, content_type);
    }
    if metadata.is_empty() {
        out.extend_from_slice(b",\"metadata\":null");
    } else if content.metadata_is_json && layout.embeds(metadata) {
        out.extend_from_slice(b",\"metadata\":");
        push_json(out, metadata, layout);
    } else {
        push_base64(out, "metadata_base64", metadata);
    }
}

fn push_json(out: &mut Vec<u8>, json: &[u8], layout: Layout) {
    let start = out.len();
    out.extend_from_slice(json);
    if layout == Layout::OneLine && has_line_breaks(json) {
        for byte in out.iter_mut().skip(start).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
    }
}

fn push_base64(out: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    push_name(out, name);
    out.push(b'"');
    let start = out.len();
    let length =
        base64::encoded_len(bytes.len(), true).expect("what fits into memory has a length in base64");
    out.resize(start + length, 0);
    let space = out.get_mut(start..).expect("it was made just now");
    STANDARD.encode_slice(bytes, space).expect("the space is as long as the text");
    out.push(b'"');
}

/// Appends a comma and the name of a field.
pub fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a field that is a number.
pub fn push_number_field(out: &mut Vec<u8>, name: &str, number: u64) {
    push_name(out, name);
    push_number(out, number);
}

/// Appends a field that is a timestamp.
pub fn push_time_field(out: &mut Vec<u8>, name: &str, micros: u64) {
    push_name(out, name);
    out.push(b'"');
    push_rfc3339(out, micros);
    out.push(b'"');
}
