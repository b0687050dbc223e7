//! Packed events: the WIT has their layout. A frame that is not whole makes a panic, since the host checks frames before a
//! guest gets them.

/// Bytes before an envelope: position and length.
const FRAME_BYTES: usize = 12;
const VERSION_AT: usize = 4;
const CREATED_AT: usize = 12;
const LENGTHS_AT: usize = 20;
const TAG_LENGTHS_AT: usize = 36;

/// Appends the frame of an event that has neither version nor time yet.
pub(crate) fn push(
    out: &mut Vec<u8>,
    stream_id: &str,
    id: &str,
    event_type: &str,
    tags: &[String],
    data: &str,
) {
    let texts = [stream_id, id, event_type, "application/json"];
    let texts_bytes = texts.iter().map(|text| text.len()).chain(tags.iter().map(String::len)).sum::<usize>();
    let length = TAG_LENGTHS_AT + 2 * tags.len() + texts_bytes + data.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    // Format 1; flag 1: the data was checked to be JSON.
    out.extend_from_slice(&[1, 1]);
    out.extend_from_slice(&(tags.len() as u16).to_le_bytes());
    out.extend_from_slice(&[0; LENGTHS_AT - VERSION_AT]);
    for text in texts {
        out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    }
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    for tag in tags {
        out.extend_from_slice(&(tag.len() as u16).to_le_bytes());
    }
    for text in texts.into_iter().chain(tags.iter().map(String::as_str)).chain([data]) {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Hands out the envelope of each frame.
pub(crate) fn walk(frames: &mut [u8], mut each: impl FnMut(&mut [u8])) {
    let mut rest = frames;
    while !rest.is_empty() {
        let length = u32::from_le_bytes(*rest[8..].first_chunk().expect("a length")) as usize;
        let (frame, behind) = rest.split_at_mut(FRAME_BYTES + length);
        each(&mut frame[FRAME_BYTES..]);
        rest = behind;
    }
}

/// Writes what an event gets when it is appended.
pub(crate) fn complete(envelope: &mut [u8], version: u64, created: u64) {
    envelope[VERSION_AT..CREATED_AT].copy_from_slice(&version.to_le_bytes());
    envelope[CREATED_AT..LENGTHS_AT].copy_from_slice(&created.to_le_bytes());
}

/// The id, the type, and the tags of an event.
pub(crate) fn texts(envelope: &[u8]) -> (&[u8], &[u8], impl Iterator<Item = &[u8]>) {
    let length =
        |at: usize| usize::from(u16::from_le_bytes(*envelope[at..].first_chunk().expect("a length")));
    let tags = length(2);
    let [stream, id, event_type, content_type] = [0, 2, 4, 6].map(|at| length(LENGTHS_AT + at));
    let id_at = TAG_LENGTHS_AT + 2 * tags + stream;
    let type_at = id_at + id;
    let mut at = type_at + event_type + content_type;
    let tags = (0..tags).map(move |tag| {
        let begin = at;
        at += length(TAG_LENGTHS_AT + 2 * tag);
        &envelope[begin..at]
    });
    (&envelope[id_at..type_at], &envelope[type_at..type_at + event_type], tags)
}
