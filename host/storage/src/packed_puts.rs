//! The puts of one keyspace as one list of bytes, as components give them: nothing is copied before it is written.
//!
//! One put after the other, little-endian: length of the key (`u32`), length of the value (`u32`), number of stamps in the key
//! and in the value (`u16` each); each stamp as its offset and its position within the batch (`u32` each); key, value.

use crate::stamp::Stamp;

/// Bytes of a put before its stamps.
const HEAD_BYTES: usize = 12;

/// Bytes of a stamp.
const STAMP_BYTES: usize = 8;

/// A put that is read where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedPut<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) key_stamps: PackedStamps<'a>,
    pub(crate) value_stamps: PackedStamps<'a>,
}

/// The stamps of a key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackedStamps<'a>(&'a [[u8; STAMP_BYTES]]);

impl PackedStamps<'_> {
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Stamp> {
        self.0.iter().map(|[a, b, c, d, e, f, g, h]| Stamp {
            at: u32::from_le_bytes([*a, *b, *c, *d]),
            event: u32::from_le_bytes([*e, *f, *g, *h]),
        })
    }
}

/// The puts of a list. After an error there are no more.
#[derive(Clone, Debug)]
pub(crate) struct PackedPuts<'a>(&'a [u8]);

impl<'a> PackedPuts<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn parse(&mut self) -> Option<PackedPut<'a>> {
        let (head, rest) = self.0.split_first_chunk::<HEAD_BYTES>()?;
        let [key_bytes, value_bytes] = [0, 4].map(|at| {
            usize::try_from(u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"))).ok()
        });
        let [in_key, in_value] = [8, 10].map(|at| usize::from(u16::from_le_bytes([head[at], head[at + 1]])));
        let (stamps, rest) = rest.split_at_checked((in_key + in_value) * STAMP_BYTES)?;
        let (key, rest) = rest.split_at_checked(key_bytes?)?;
        let (value, rest) = rest.split_at_checked(value_bytes?)?;
        let (key_stamps, value_stamps) = stamps.as_chunks().0.split_at(in_key);
        self.0 = rest;
        Some(PackedPut {
            key,
            value,
            key_stamps: PackedStamps(key_stamps),
            value_stamps: PackedStamps(value_stamps),
        })
    }
}

impl<'a> Iterator for PackedPuts<'a> {
    type Item = Result<PackedPut<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let put = self.parse().ok_or("a packed put ends too early");
        if put.is_err() {
            self.0 = &[];
        }
        Some(put)
    }
}

/// Appends a put to a list.
///
/// # Panics
///
/// If a length or a number of stamps is too large for the layout.
pub fn push_put(out: &mut Vec<u8>, key: &[u8], value: &[u8], key_stamps: &[Stamp], value_stamps: &[Stamp]) {
    let u32_of = |length: usize| u32::try_from(length).expect("a key or value is far shorter").to_le_bytes();
    let u16_of = |count: usize| u16::try_from(count).expect("there are far fewer stamps").to_le_bytes();
    out.extend(u32_of(key.len()));
    out.extend(u32_of(value.len()));
    out.extend(u16_of(key_stamps.len()));
    out.extend(u16_of(value_stamps.len()));
    for stamp in key_stamps.iter().chain(value_stamps) {
        out.extend(stamp.at.to_le_bytes());
        out.extend(stamp.event.to_le_bytes());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{PackedPuts, push_put};
    use crate::stamp::Stamp;

    #[test]
    fn the_bytes_of_a_put_are_fixed_and_read_back() {
        let mut bytes = Vec::new();
        push_put(&mut bytes, b"key", b"value", &[Stamp { at: 1, event: 2 }], &[]);
        push_put(&mut bytes, b"k", b"", &[], &[Stamp { at: 3, event: 0 }]);
        let expected: &[u8] = b"\x03\0\0\0\x05\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0keyvalue\
            \x01\0\0\0\0\0\0\0\0\0\x01\0\x03\0\0\0\0\0\0\0k";
        assert_eq!(bytes, expected);
        let puts: Vec<_> = PackedPuts::new(&bytes).map(Result::unwrap).collect();
        assert_eq!((puts[0].key, puts[0].value), (&b"key"[..], &b"value"[..]));
        assert_eq!(puts[0].key_stamps.iter().collect::<Vec<_>>(), [Stamp { at: 1, event: 2 }]);
        assert_eq!(puts[1].value_stamps.iter().collect::<Vec<_>>(), [Stamp { at: 3, event: 0 }]);
        assert_eq!((puts.len(), puts[1].key, puts[1].key_stamps.iter().len()), (2, &b"k"[..], 0));
    }

    #[test]
    fn a_list_that_is_cut_off_is_refused() {
        let mut bytes = Vec::new();
        push_put(&mut bytes, b"key", b"value", &[Stamp { at: 1, event: 2 }], &[]);
        for length in 1..bytes.len() {
            let mut puts = PackedPuts::new(&bytes[..length]);
            assert!(puts.next().unwrap().is_err(), "{length}");
            assert!(puts.next().is_none());
        }
        for at in [0, 4, 8, 10] {
            let mut longer = bytes.clone();
            longer[at + 1] = 0xff;
            assert!(PackedPuts::new(&longer).next().unwrap().is_err(), "byte {at}");
        }
    }
}
