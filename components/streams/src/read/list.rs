//! Lists the live streams, or all streams including deleted ones.

use exesdb_sdk::arguments::{STREAM_ID_BYTES_MAX, check_count, check_part};
use exesdb_sdk::types::{Direction, Error, Range, StreamPage, StreamState, damaged, too_large};
use exesdb_sdk::view::{View, prefix_end};

use super::KEYS_BYTES_MAX;
use crate::layout::{Head, STREAMS};

/// Maximum number of heads that one call scans before it returns a partial page: deleted streams keep their heads, and
/// any number of them may be consecutive.
pub const LISTED_HEADS_MAX: usize = 100_000;

/// Minimum number of heads per scan, so that a call for few streams skips deleted ones quickly.
const HEADS_PER_SCAN_MIN: u32 = 100;

/// The ids of streams in byte order; deleted and tombstoned streams only if `deleted`. After [`LISTED_HEADS_MAX`] heads the
/// page ends early, and says that more follow.
///
/// # Errors
///
/// [`Error::Invalid`]; those of the storage; the problem `too-large` if all of [`LISTED_HEADS_MAX`] streams were deleted,
/// with the id after which to ask again; and `damaged` for damaged data.
pub fn list_streams(
    view: &impl View,
    prefix: &str,
    after: Option<&str>,
    count: u32,
    deleted: bool,
) -> Result<StreamPage, Error> {
    check_part("prefix", prefix, STREAM_ID_BYTES_MAX)?;
    if let Some(after) = after {
        check_part("after", after, STREAM_ID_BYTES_MAX)?;
    }
    check_count("count", count)?;
    let mut start = after.map(following).unwrap_or_default().max(prefix.as_bytes().to_owned());
    let end = prefix_end(prefix.as_bytes());
    let mut streams: Vec<String> = Vec::new();
    let mut scanned = 0;
    loop {
        if end.as_ref().is_some_and(|end| start >= *end) {
            return Ok(StreamPage { streams, more: false });
        }
        let range = Range { keyspace: STREAMS.to_owned(), start, end: end.clone() };
        // One more than requested shows whether more follow.
        let limit = count.saturating_add(1).max(HEADS_PER_SCAN_MIN);
        let page = view.scan(&range, Direction::Forward, limit, KEYS_BYTES_MAX)?;
        scanned += page.len();
        let mut last = String::new();
        for entry in page.entries() {
            let id =
                str::from_utf8(entry.key).map_err(|_| damaged(STREAMS, entry.key, "the key is not UTF-8"))?;
            let head = Head::decode(entry.value).map_err(|reason| damaged(STREAMS, id.as_bytes(), reason))?;
            if deleted || head.state == StreamState::Live {
                if streams.len() == count as usize {
                    return Ok(StreamPage { streams, more: true });
                }
                streams.push(id.to_owned());
            }
            id.clone_into(&mut last);
        }
        if !page.more {
            return Ok(StreamPage { streams, more: false });
        }
        if scanned >= LISTED_HEADS_MAX {
            if streams.is_empty() {
                return Err(too_large(format!(
                    "list-streams: the {scanned} streams up to `{last}` were all deleted, and one call looks at no \
                     more than {LISTED_HEADS_MAX}; ask for those after `{last}`"
                )));
            }
            return Ok(StreamPage { streams, more: true });
        }
        start = following(&last);
    }
}

/// The first key after an id: the id with a zero byte, which no id contains.
fn following(id: &str) -> Vec<u8> {
    [id.as_bytes(), &[0]].concat()
}
