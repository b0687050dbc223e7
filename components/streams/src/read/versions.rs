//! Locates a stream's versions in the log, and reads them.

use exesdb_sdk::keyspaces::{self, Entry, GET_MANY_KEYS_MAX, Keyspaces, Range, damaged, prefix_end};
use exesdb_sdk::types::{Direction, Error, Position, RecordedEvent, Version};

use super::{KEYS_BYTES_MAX, PAGE_BYTES_MAX, RANGE_MIN, envelope, storage_direction};
use crate::layout::{EVENTS, Envelope, INDEX, index_key, number, version_in};

/// Maximum number of positions in a range per wanted event. Reading so few unwanted events is cheaper than point lookups.
const SPAN_PER_EVENT_MAX: u64 = 2;

/// Reads events of a stream from version `first` on, which must exist: at least one, and as many of `count` as fit on a
/// page. A damaged event ends the page before it, so that earlier events can be read; at the beginning it is an error.
pub(crate) fn read_versions(
    store: &impl Keyspaces,
    stream_id: &str,
    origin: Position,
    first: Version,
    count: u32,
    direction: Direction,
) -> Result<Vec<RecordedEvent>, Error> {
    let wanted = match direction {
        Direction::Forward => positions_forward(store, origin, first, count)?,
        Direction::Backward => positions_backward(store, origin, first, count)?,
    };
    let values = read_values(store, &wanted, direction)?;
    let mut events = Vec::with_capacity(values.len());
    for ((version, position), value) in wanted.into_iter().zip(values) {
        match event_of(stream_id, version, position, value) {
            Ok(event) => events.push(event),
            Err(error) if events.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    if events.is_empty() {
        return Err(Error::Other(format!(
            "the storage gave nothing of `{stream_id}` from version {first} on"
        )));
    }
    Ok(events)
}

/// An entry of keyspace `index`: the version and position of an append's last event. Its other events precede it directly.
#[derive(Clone, Copy)]
struct Append {
    last: Version,
    position: Position,
}

impl Append {
    fn decode(origin: Position, entry: &Entry) -> Result<Self, Error> {
        let no_append = || damaged(INDEX, &entry.key, "it is no version with its position");
        let last = version_in(&entry.key, origin).ok_or_else(no_append)?;
        let position = number(&entry.value).ok_or_else(no_append)?;
        Ok(Self { last, position })
    }

    /// A version with its position, if it belongs to this append. If the index lacks an entry, the position is that of
    /// another event, which the reader detects, or 0.
    fn locate(&self, version: Version) -> (Version, Position) {
        (version, self.position.saturating_sub(self.last.saturating_sub(version)))
    }
}

/// The versions from `first` up, at most `count`, with their positions.
fn positions_forward(
    store: &impl Keyspaces,
    origin: Position,
    first: Version,
    count: u32,
) -> Result<Vec<(Version, Position)>, Error> {
    let appends = scan_index(store, origin, first, None, keyspaces::Direction::Forward, count)?;
    let mut positions = Vec::with_capacity(count as usize);
    let mut next = first;
    for append in appends {
        let room = count as usize - positions.len();
        positions.extend((next..=append.last).take(room).map(|version| append.locate(version)));
        next = append.last.saturating_add(1);
    }
    if positions.is_empty() {
        return Err(beyond_the_index(origin, first));
    }
    Ok(positions)
}

/// The versions from `first` down, at most `count`, with their positions.
fn positions_backward(
    store: &impl Keyspaces,
    origin: Position,
    first: Version,
    count: u32,
) -> Result<Vec<(Version, Position)>, Error> {
    let containing = scan_index(store, origin, first, None, keyspaces::Direction::Forward, 1)?;
    let containing = containing.first().ok_or_else(|| beyond_the_index(origin, first))?;
    let before = scan_index(store, origin, 0, Some(first), keyspaces::Direction::Backward, count)?;
    let mut positions = Vec::with_capacity(count as usize);
    let mut next = Some(first);
    // Each append begins after the one before it. So the last entry of a full page only tells where another one begins.
    let is_full = before.len() == count as usize;
    let begins = before.iter().map(|append| append.last.checked_add(1));
    let begins = begins.chain((!is_full).then_some(Some(0)));
    for (append, begin) in std::iter::once(containing).chain(&before).zip(begins) {
        let room = count as usize - positions.len();
        if let (Some(begin), Some(end)) = (begin, next) {
            positions.extend((begin..=end).rev().take(room).map(|version| append.locate(version)));
        }
        next = begin.and_then(|begin| begin.checked_sub(1));
    }
    Ok(positions)
}

/// The appends of a stream whose last version is at least `start` and, if given, less than `end`.
fn scan_index(
    store: &impl Keyspaces,
    origin: Position,
    start: Version,
    end: Option<Version>,
    direction: keyspaces::Direction,
    limit: u32,
) -> Result<Vec<Append>, Error> {
    let range = Range {
        keyspace: INDEX.to_owned(),
        start: index_key(origin, start),
        end: match end {
            Some(end) => Some(index_key(origin, end)),
            None => prefix_end(&origin.to_be_bytes()),
        },
    };
    let page = store.scan(&range, direction, limit, KEYS_BYTES_MAX)?;
    page.entries.iter().map(|entry| Append::decode(origin, entry)).collect()
}

fn beyond_the_index(origin: Position, version: Version) -> Error {
    let reason = "no entry is at or after it, but the stream goes beyond it";
    damaged(INDEX, &index_key(origin, version), reason)
}

/// A read of some positions.
#[derive(Debug, PartialEq, Eq)]
enum Read<'a> {
    /// A range scan, which includes the unwanted positions in between.
    RangeScan(&'a [(Version, Position)]),
    /// Point lookups.
    PointGet(&'a [(Version, Position)]),
}

/// Divides positions, in ascending or descending order, into range scans and point lookups.
fn plan_reads(wanted: &[(Version, Position)]) -> Vec<Read<'_>> {
    let mut runs = Vec::new();
    let mut rest = wanted;
    while let Some((_, first)) = rest.first() {
        let is_near = |(index, (_, position)): (usize, &(Version, Position))| {
            first.abs_diff(*position) < SPAN_PER_EVENT_MAX.saturating_mul(index as u64 + 1)
        };
        let (run, after) = rest.split_at(rest.iter().enumerate().take_while(|at| is_near(*at)).count());
        runs.push(run.len());
        rest = after;
    }
    let is_whole = runs.len() == 1;
    let mut reads = Vec::new();
    // The positions from `point` to `at` need point lookups, and are not in `reads` yet.
    let (mut point, mut at) = (0, 0);
    for run in runs {
        if is_whole || run as u64 >= RANGE_MIN {
            reads.extend((point < at).then(|| Read::PointGet(&wanted[point..at])));
            reads.push(Read::RangeScan(&wanted[at..at + run]));
            point = at + run;
        }
        at += run;
    }
    reads.extend((point < at).then(|| Read::PointGet(&wanted[point..at])));
    reads
}

/// Reads the values at these positions, which are in the order of `direction`: as many of the first as fit on a page.
fn read_values(
    store: &impl Keyspaces,
    wanted: &[(Version, Position)],
    direction: Direction,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut values: Vec<Option<Vec<u8>>> = Vec::with_capacity(wanted.len());
    let mut room = PAGE_BYTES_MAX;
    for read in plan_reads(wanted) {
        let (asked, read) = match read {
            Read::RangeScan(wanted) => (wanted.len(), scan_range(store, wanted, direction, room)?),
            Read::PointGet(wanted) => {
                let wanted = &wanted[..wanted.len().min(GET_MANY_KEYS_MAX)];
                let keys: Vec<Vec<u8>> =
                    wanted.iter().map(|(_, position)| position.to_be_bytes().to_vec()).collect();
                (wanted.len(), store.get_many(EVENTS, &keys, room)?)
            }
        };
        let is_full = read.len() < asked;
        let bytes: usize = read.iter().flatten().map(Vec::len).sum();
        let left = u32::try_from(bytes).ok().and_then(|bytes| room.checked_sub(bytes));
        // A read returns at least one value, however large. Only the first value of a page may exceed the page.
        if left.is_none() && !values.is_empty() {
            break;
        }
        values.extend(read);
        room = left.unwrap_or(0);
        if is_full || room == 0 {
            break;
        }
    }
    Ok(values)
}

/// Reads the values at these nearby positions by scanning the range of all of them: as many of the first as fit into
/// `max_bytes`.
fn scan_range(
    store: &impl Keyspaces,
    wanted: &[(Version, Position)],
    direction: Direction,
    max_bytes: u32,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let (Some((_, first)), Some((_, last))) = (wanted.first(), wanted.last()) else { return Ok(Vec::new()) };
    let (low, high) = (*first.min(last), *first.max(last));
    let range = Range {
        keyspace: EVENTS.to_owned(),
        start: low.to_be_bytes().to_vec(),
        end: high.checked_add(1).map(|end| end.to_be_bytes().to_vec()),
    };
    let limit = u32::try_from((high - low).saturating_add(1)).unwrap_or(u32::MAX);
    let page = store.scan(&range, storage_direction(direction), limit, max_bytes)?;
    let mut entries = page.entries.into_iter().peekable();
    let mut values = Vec::with_capacity(wanted.len());
    for (_, position) in wanted {
        let key = position.to_be_bytes();
        let is_before = |entry: &Entry| match direction {
            Direction::Forward => entry.key[..] < key[..],
            Direction::Backward => entry.key[..] > key[..],
        };
        while entries.next_if(is_before).is_some() {}
        match entries.next_if(|entry| entry.key == key) {
            Some(entry) => values.push(Some(entry.value)),
            // The page is full, so the following positions were not read.
            None if page.more && entries.peek().is_none() => break,
            None => values.push(None),
        }
    }
    Ok(values)
}

/// The event at a position, which must be this version of the stream.
fn event_of(
    stream_id: &str,
    version: Version,
    position: Position,
    value: Option<Vec<u8>>,
) -> Result<RecordedEvent, Error> {
    let key = position.to_be_bytes();
    let missing = || damaged(EVENTS, &key, format!("it is missing, but `{stream_id}` refers to it"));
    let event = envelope(&key, &value.ok_or_else(missing)?)?.into_event();
    let removed =
        || damaged(EVENTS, &key, format!("it was removed, but `{stream_id}` has its version {version}"));
    let event = event.ok_or_else(removed)?;
    if event.stream_id != stream_id || event.version != version {
        return Err(damaged(EVENTS, &key, format!("it is not version {version} of `{stream_id}`")));
    }
    Ok(event)
}

/// The time of the event with this version, which must exist; none if the event was removed.
pub(crate) fn created_at(
    store: &impl Keyspaces,
    stream_id: &str,
    origin: Position,
    version: Version,
) -> Result<Option<u64>, Error> {
    let wanted = positions_forward(store, origin, version, 1)?;
    let (_, position) = *wanted.first().ok_or_else(|| beyond_the_index(origin, version))?;
    let key = position.to_be_bytes();
    let value = store.get(EVENTS, &key)?;
    if let Some(value) = &value
        && let Envelope::Removed { .. } = envelope(&key, value)?
    {
        return Ok(None);
    }
    event_of(stream_id, version, position, value).map(|event| Some(event.created))
}

#[cfg(test)]
mod tests {
    use super::{RANGE_MIN, Read, plan_reads};

    #[test]
    fn nearby_positions_are_read_as_ranges() {
        let min = RANGE_MIN;
        // The number of positions in each read, and whether it is a range scan.
        type Shape = &'static [(u64, bool)];
        let cases: [(&str, Vec<u64>, Shape); 9] = [
            ("nothing", vec![], &[]),
            ("one", vec![7], &[(1, true)]),
            ("in a row", (5..9).collect(), &[(4, true)]),
            ("backward", (5..9).rev().collect(), &[(4, true)]),
            ("every other", (0..20).step_by(2).collect(), &[(10, true)]),
            ("far from each other", vec![0, 100, 200], &[(3, false)]),
            (
                "two runs",
                (0..min).chain(9_000..9_000 + min).collect(),
                &[(RANGE_MIN, true), (RANGE_MIN, true)],
            ),
            (
                "a short run between",
                (0..min).chain(5_000..5_003).chain([7_000]).chain(9_000..9_000 + min).collect(),
                &[(RANGE_MIN, true), (4, false), (RANGE_MIN, true)],
            ),
            ("to the end of all", vec![0, u64::MAX - 1, u64::MAX], &[(3, false)]),
        ];
        for (case, positions, expected) in cases {
            let wanted: Vec<_> = positions.iter().map(|position| (0, *position)).collect();
            let found = plan_reads(&wanted);
            let shape = found.iter().map(|part| match part {
                Read::RangeScan(part) => (part.len() as u64, true),
                Read::PointGet(part) => (part.len() as u64, false),
            });
            assert_eq!(shape.collect::<Vec<_>>(), expected, "{case}");
            let all = found.iter().flat_map(|part| match part {
                Read::RangeScan(part) | Read::PointGet(part) => part.iter(),
            });
            assert!(all.eq(&wanted), "{case}: in order, and all of them");
        }
    }
}
