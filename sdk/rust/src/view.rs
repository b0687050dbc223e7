//! One state of the store, as the host gives it to each call: `exesdb:storage/views`.
//!
//! Write a component's rules against the trait [`View`]. The host's view implements it, and so does the view of a
//! `MemoryStore` (feature `testing`), for tests.

mod entries;

use crate::bindings::store::common::exesdb::storage::views;
use crate::types::{self, Direction, EndOfLog, Position, Range, code, problem};

pub use crate::bindings::store::common::exesdb::storage::views::{Error, LogPage, View as HostView};
pub use entries::{Entries, Entry, Page};

/// Maximum number of keys or positions of one lookup, which bounds the work of a host call.
pub const LOOKUPS_MAX: usize = 2_000;

/// Maximum bytes that the host returns for one read. [`View::get_all`] reads in parts of this size.
pub const READ_BYTES_MAX: u32 = 8 << 20;

/// The functions of a view, whose contract is in `wit/storage/storage.wit`.
pub trait View {
    /// The value of a key, if it has one.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error>;

    /// The values of the first n keys, n at least 1, that fit into `max_bytes`. At most [`LOOKUPS_MAX`] keys.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn get_many(
        &self,
        keyspace: &str,
        keys: &[Vec<u8>],
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error>;

    /// The entries of a range in key order, or from its end backward.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn scan(&self, range: &Range, direction: Direction, limit: u32, max_bytes: u32) -> Result<Page, Error>;

    /// The log from a position on, as packed frames.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn log_read(
        &self,
        from: Option<Position>,
        direction: Direction,
        limit: u32,
        max_bytes: u32,
    ) -> Result<LogPage, Error>;

    /// The packed frames of the first n positions, n at least 1, that fit into `max_bytes`. At most [`LOOKUPS_MAX`].
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn log_get(&self, positions: &[Position], max_bytes: u32) -> Result<Vec<u8>, Error>;

    /// The end of the log.
    fn end(&self) -> EndOfLog;

    /// Microseconds since 1970-01-01T00:00:00 UTC.
    fn now(&self) -> u64;

    /// The values of any number of keys, read in parts. All of them are held in memory, so they should be small.
    ///
    /// # Errors
    ///
    /// Those of the interface.
    fn get_all(&self, keyspace: &str, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut values = Vec::with_capacity(keys.len());
        while let Some(rest) = keys.get(values.len()..).filter(|rest| !rest.is_empty()) {
            let part = &rest[..rest.len().min(LOOKUPS_MAX)];
            let got = self.get_many(keyspace, part, READ_BYTES_MAX)?;
            if got.is_empty() || got.len() > part.len() {
                return Err(Error::Other(format!(
                    "get-many gave {} values for {} keys",
                    got.len(),
                    part.len()
                )));
            }
            values.extend(got);
        }
        Ok(values)
    }
}

impl View for HostView {
    fn get(&self, keyspace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        views::View::get(self, keyspace, key)
    }

    fn get_many(
        &self,
        keyspace: &str,
        keys: &[Vec<u8>],
        max_bytes: u32,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        views::View::get_many(self, keyspace, keys, max_bytes)
    }

    fn scan(&self, range: &Range, direction: Direction, limit: u32, max_bytes: u32) -> Result<Page, Error> {
        let page = views::View::scan(self, range, direction, limit, max_bytes)?;
        Page::new(page.entries, page.more)
    }

    fn log_read(
        &self,
        from: Option<Position>,
        direction: Direction,
        limit: u32,
        max_bytes: u32,
    ) -> Result<LogPage, Error> {
        views::View::log_read(self, from, direction, limit, max_bytes)
    }

    fn log_get(&self, positions: &[Position], max_bytes: u32) -> Result<Vec<u8>, Error> {
        views::View::log_get(self, positions, max_bytes)
    }

    fn end(&self) -> EndOfLog {
        views::View::end(self)
    }

    fn now(&self) -> u64 {
        views::View::now(self)
    }
}

/// The keys that begin with `prefix`.
#[must_use]
pub fn prefix_range(keyspace: &str, prefix: &[u8]) -> Range {
    Range { keyspace: keyspace.to_owned(), start: prefix.to_owned(), end: prefix_end(prefix) }
}

/// The first key after all keys that begin with `prefix`; none if there is none.
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_owned();
    end[kept] = end[kept].checked_add(1).expect("it is not the highest byte");
    Some(end)
}

/// Translates errors of the storage into those for the store's callers.
impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            // The store stops, and so does the component that decides on the view.
            Error::Unavailable(reason) => problem(code::RESTARTING, reason),
            Error::Damaged(reason) => problem(code::DAMAGED, reason),
            // This is a mistake of the component, not of the caller.
            Error::Invalid(reason) => {
                problem(code::OTHER, format!("the storage refused the component's call: {reason}"))
            }
            Error::Other(reason) => problem(code::OTHER, reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_is_after_all_keys_that_begin_with_it() {
        let table: [(&[u8], Option<&[u8]>); 6] = [
            (b"", None),
            (b"a", Some(b"b")),
            (b"a\x00", Some(b"a\x01")),
            (b"a\xff", Some(b"b")),
            (b"a\xff\xff", Some(b"b")),
            (b"\xff\xff", None),
        ];
        for (prefix, end) in table {
            assert_eq!(prefix_end(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
