//! Ids for events that the client sent without one.

use crate::problem::{Kind, Problem};
use crate::store::{EventData, StoreApi};

/// Bytes of a UUID.
const UUID_BYTES: usize = 16;

/// Assigns a random id to each event that has none.
///
/// # Errors
/// [`Kind::Internal`] if the host provides too few random bytes.
pub(crate) fn assign_missing_ids<'a, S: StoreApi>(
    store: &mut S,
    events: impl Iterator<Item = &'a mut EventData>,
) -> Result<(), Problem> {
    let without_id: Vec<&mut EventData> = events.filter(|event| event.id.is_empty()).collect();
    if without_id.is_empty() {
        return Ok(());
    }
    let random = store.random(without_id.len().saturating_mul(UUID_BYTES));
    let (ids, _) = random.as_chunks::<UUID_BYTES>();
    if ids.len() < without_id.len() {
        return Err(Problem::new(Kind::Internal, "the host gave fewer random bytes than it was asked for"));
    }
    for (event, bytes) in without_id.into_iter().zip(ids) {
        event.id = uuid_v4(*bytes);
    }
    Ok(())
}

/// A UUID (RFC 9562, version 4) from random bytes, six bits of which it replaces.
fn uuid_v4(mut bytes: [u8; UUID_BYTES]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0f] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::uuid_v4;

    #[test]
    fn random_uuids_have_their_version_and_variant() {
        assert_eq!(uuid_v4([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid_v4([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let counting = std::array::from_fn(|index| index as u8);
        assert_eq!(uuid_v4(counting), "00010203-0405-4607-8809-0a0b0c0d0e0f");
    }
}
