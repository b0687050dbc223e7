//! Cursors that consist of a tag and a key: bytes that the host passes back, and that are checked like any other argument.

use super::Cursor;
use crate::types::{Error, invalid};
use crate::view::prefix_end;

/// Maximum length of a key in a cursor: longer than any key of the components that use this, and short enough for a cursor.
pub const KEY_BYTES_MAX: usize = 1_024;

/// The first key after this one; none if there is none. A longer key than [`KEY_BYTES_MAX`] is not the component's own, and all keys
/// with the same beginning are skipped with it.
#[must_use]
pub fn following(key: &[u8]) -> Option<Vec<u8>> {
    if key.len() < KEY_BYTES_MAX { Some([key, &[0]].concat()) } else { prefix_end(&key[..KEY_BYTES_MAX]) }
}

/// A cursor that consists of one key.
#[must_use]
pub fn of_key(tag: u8, key: &[u8]) -> Cursor {
    [&[tag], key].concat()
}

/// The tag and the rest of a cursor, whose length is checked.
///
/// # Errors
///
/// [`Error::Invalid`] if it has no tag, or is too long.
pub fn parts(cursor: &[u8]) -> Result<(u8, &[u8]), Error> {
    match cursor.split_first() {
        Some((tag, rest)) if rest.len() <= KEY_BYTES_MAX + 32 => Ok((*tag, rest)),
        _ => Err(unknown()),
    }
}

/// The error for a cursor that the called function did not return.
#[must_use]
pub fn unknown() -> Error {
    invalid("from", "is not a cursor that this function gave; begin without one")
}
