//! The entries of a scan, read where they lie.

use super::Error;

/// Bytes before the key of a packed entry: the lengths of key and value.
const HEAD_BYTES: usize = 8;

/// An entry of a keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The first entry of packed ones, and the bytes after it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
        let length = |at: usize| {
            let length = u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
            usize::try_from(length).ok()
        };
        let (key, rest) = rest.split_at_checked(length(0)?)?;
        let (value, rest) = rest.split_at_checked(length(4)?)?;
        Some((Self { key, value }, rest))
    }

    /// Appends the entry to packed ones.
    pub fn push(&self, out: &mut Vec<u8>) {
        for part in [self.key, self.value] {
            let length = u32::try_from(part.len()).expect("keys and values are shorter than their limits");
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
    }
}

/// A page of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    packed: Vec<u8>,
    count: usize,
    /// Whether the range has more entries.
    pub more: bool,
}

impl Page {
    /// A page of packed entries.
    ///
    /// # Errors
    ///
    /// [`Error::Other`] if the bytes are no entries.
    pub fn new(packed: Vec<u8>, more: bool) -> Result<Self, Error> {
        let (mut rest, mut count) = (&packed[..], 0);
        while !rest.is_empty() {
            let (_, after) =
                Entry::split(rest).ok_or_else(|| Error::Other("scan gave broken entries".into()))?;
            rest = after;
            count += 1;
        }
        Ok(Self { packed, count, more })
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the page has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries in the order of the scan.
    #[must_use]
    pub fn entries(&self) -> Entries<'_> {
        Entries(&self.packed)
    }

    /// The first entry.
    #[must_use]
    pub fn first(&self) -> Option<Entry<'_>> {
        self.entries().next()
    }

    /// The last entry.
    #[must_use]
    pub fn last(&self) -> Option<Entry<'_>> {
        self.entries().last()
    }
}

/// The entries of a page, one after the other.
#[derive(Clone, Debug)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (entry, rest) = Entry::split(self.0)?;
        self.0 = rest;
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Error, Page};

    #[test]
    fn packed_entries_are_read_where_they_lie() {
        let entries = [Entry { key: b"a", value: b"" }, Entry { key: b"bc", value: b"def" }];
        let mut packed = Vec::new();
        for entry in &entries {
            entry.push(&mut packed);
        }
        assert_eq!(packed, b"\x01\0\0\0\0\0\0\0a\x02\0\0\0\x03\0\0\0bcdef");
        let page = Page::new(packed.clone(), true).unwrap();
        assert_eq!(page.entries().collect::<Vec<_>>(), entries);
        assert_eq!((page.len(), page.first(), page.last()), (2, Some(entries[0]), Some(entries[1])));
        assert!(Page::new(Vec::new(), false).unwrap().is_empty());
        for length in (1..packed.len()).filter(|length| *length != 9) {
            assert!(matches!(Page::new(packed[..length].to_vec(), false), Err(Error::Other(_))), "{length}");
        }
    }
}
