//! The cursor of a step: bytes that the host passes back, and that are checked like any other argument.

use exesdb_sdk::maintenance::Cursor;
use exesdb_sdk::types::{Error, invalid};
use exesdb_sdk::view::prefix_end;

/// Maximum length of a key in a cursor: longer than any key of this component, and short enough for a cursor.
pub(super) const KEY_BYTES_MAX: usize = 1_024;

/// The first key after this one; none if there is none. A longer key than this component writes is not its own, and all
/// keys with the same beginning are skipped with it.
pub(super) fn following(key: &[u8]) -> Option<Vec<u8>> {
    if key.len() < KEY_BYTES_MAX { Some([key, &[0]].concat()) } else { prefix_end(&key[..KEY_BYTES_MAX]) }
}

/// A cursor that consists of one key.
pub(super) fn of_key(tag: u8, key: &[u8]) -> Cursor {
    [&[tag], key].concat()
}

/// The tag and the rest of a cursor, whose length is checked.
pub(super) fn parts(cursor: &[u8]) -> Result<(u8, &[u8]), Error> {
    match cursor.split_first() {
        Some((tag, rest)) if rest.len() <= KEY_BYTES_MAX + 32 => Ok((*tag, rest)),
        _ => Err(unknown()),
    }
}

/// The error for a cursor that the called function did not return.
pub(super) fn unknown() -> Error {
    invalid("from", "is not a cursor that this function gave; begin without one")
}
