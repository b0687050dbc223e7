//! Where a step begins, as the bytes that the host keeps in between. What comes back is a claim.

use exesdb_sdk::arguments::invalid;
use exesdb_sdk::keyspaces::prefix_end;
use exesdb_sdk::maintenance::Cursor;
use exesdb_sdk::types::Error;

/// Longest key that a cursor holds whole: longer than any that this component writes, and short enough for a cursor.
pub(super) const KEY_BYTES_MAX: usize = 1_024;

/// Where to go on behind a key; none at the end of everything. A key longer than all that this component writes is
/// not its own: what begins alike is passed over with it.
pub(super) fn following(key: &[u8]) -> Option<Vec<u8>> {
    if key.len() < KEY_BYTES_MAX { Some([key, &[0]].concat()) } else { prefix_end(&key[..KEY_BYTES_MAX]) }
}

/// A cursor that is one key.
pub(super) fn of_key(tag: u8, key: &[u8]) -> Cursor {
    [&[tag], key].concat()
}

/// The tag and the rest of a cursor, which is no longer than one can be.
pub(super) fn parts(cursor: &[u8]) -> Result<(u8, &[u8]), Error> {
    match cursor.split_first() {
        Some((tag, rest)) if rest.len() <= KEY_BYTES_MAX + 32 => Ok((*tag, rest)),
        _ => Err(unknown()),
    }
}

/// The refusal of what is no cursor of the function that it was given to.
pub(super) fn unknown() -> Error {
    invalid("from", "is not a cursor that this function gave; begin without one")
}
