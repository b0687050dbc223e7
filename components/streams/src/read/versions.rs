//! Locates a stream's versions in the log, and reads them.

use exesdb_sdk::packed::push_envelope;
use exesdb_sdk::types::{Direction, Error, Position, Range, Version, code, damaged, problem};
use exesdb_sdk::view::{self, Entry, LOOKUPS_MAX, View, prefix_end};

use super::{KEYS_BYTES_MAX, PAGE_BYTES_MAX, RANGE_MIN};
use crate::events::{Event, Logged, logged};
use crate::layout::{INDEX, index_key, number, version_in};

/// Maximum number of positions in a range per wanted event. Reading so few unwanted events is cheaper than point lookups.
const SPAN_PER_EVENT_MAX: u64 = 2;

/// The frames of a stream's events from version `first` on, which must exist: at least one, and as many of `count` as fit
/// into [`PAGE_BYTES_MAX`]. A damaged event ends them before it, so that earlier events can be read; at the beginning it is
/// an error.
pub(crate) fn read_versions(
    view: &impl View,
    stream_id: &str,
    origin: Position,
    first: Version,
    count: u32,
    direction: Direction,
) -> Result<Vec<u8>, Error> {
    let wanted = match direction {
        Direction::Forward => positions_forward(view, origin, first, count)?,
        Direction::Backward => positions_backward(view, origin, first, count)?,
    };
    let mut frames = Vec::new();
    let mut room = PAGE_BYTES_MAX as usize;
    for read in plan_reads(&wanted) {
        let part = match read {
            Read::RangeScan(part) | Read::PointGet(part) => part,
        };
        let found = match read_part(view, &read, direction, room) {
            // What is damaged may come after events that are not.
            Err(view::Error::Damaged(_)) => one_by_one(view, part, room),
            found => found,
        };
        let taken = found.map_err(Error::from).and_then(|found| {
            // A read returns at least one record, however large. Only the first of a page may exceed the page.
            if found.len() > room && !frames.is_empty() {
                return Ok(Taken { count: 0, is_broken: false });
            }
            room = room.saturating_sub(found.len());
            take(stream_id, part, &found, &mut frames)
        });
        match taken {
            Err(error) if frames.is_empty() => return Err(error),
            Err(_) => break,
            Ok(taken) if taken.is_broken || taken.count < part.len() || room == 0 => break,
            Ok(_) => {}
        }
    }
    if frames.is_empty() {
        let problem_text = format!("the storage gave nothing of `{stream_id}` from version {first} on");
        return Err(problem(code::OTHER, problem_text));
    }
    Ok(frames)
}

/// An entry of keyspace `index`: the version and position of an append's last event. Its other events precede it directly.
#[derive(Clone, Copy)]
struct Append {
    last: Version,
    position: Position,
}

impl Append {
    fn decode(origin: Position, entry: Entry<'_>) -> Result<Self, Error> {
        let no_append = || damaged(INDEX, entry.key, "it is no version with its position");
        let last = version_in(entry.key, origin).ok_or_else(no_append)?;
        let position = number(entry.value).ok_or_else(no_append)?;
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
    view: &impl View,
    origin: Position,
    first: Version,
    count: u32,
) -> Result<Vec<(Version, Position)>, Error> {
    let appends = scan_index(view, origin, first, None, Direction::Forward, count)?;
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
    view: &impl View,
    origin: Position,
    first: Version,
    count: u32,
) -> Result<Vec<(Version, Position)>, Error> {
    let containing = scan_index(view, origin, first, None, Direction::Forward, 1)?;
    let containing = containing.first().ok_or_else(|| beyond_the_index(origin, first))?;
    let before = scan_index(view, origin, 0, Some(first), Direction::Backward, count)?;
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
    view: &impl View,
    origin: Position,
    start: Version,
    end: Option<Version>,
    direction: Direction,
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
    let page = view.scan(&range, direction, limit, KEYS_BYTES_MAX)?;
    page.entries().map(|entry| Append::decode(origin, entry)).collect()
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

/// Reads the records of a part: as many of the first as fit into `room`.
fn read_part(
    view: &impl View,
    read: &Read<'_>,
    direction: Direction,
    room: usize,
) -> Result<Vec<u8>, view::Error> {
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    match read {
        Read::RangeScan(part) => {
            let (Some((_, first)), Some((_, last))) = (part.first(), part.last()) else {
                return Ok(Vec::new());
            };
            let limit = u32::try_from(first.abs_diff(*last).saturating_add(1)).unwrap_or(u32::MAX);
            Ok(view.log_read(Some(*first), direction, limit, room)?.frames)
        }
        Read::PointGet(part) => {
            let positions: Vec<Position> =
                part.iter().take(LOOKUPS_MAX).map(|(_, position)| *position).collect();
            view.log_get(&positions, room)
        }
    }
}

/// The records of a part up to the first that is damaged, at least one.
fn one_by_one(view: &impl View, part: &[(Version, Position)], room: usize) -> Result<Vec<u8>, view::Error> {
    let mut frames = Vec::new();
    for (_, position) in part {
        match view.log_get(&[*position], READ_ONE) {
            Err(error) if frames.is_empty() => return Err(error),
            Ok(frame) if frames.is_empty() || frames.len() + frame.len() <= room => frames.extend(frame),
            Ok(_) | Err(_) => break,
        }
    }
    Ok(frames)
}

/// Bytes for a read of one record, which is given whatever its size.
const READ_ONE: u32 = 1;

/// What a part gave.
struct Taken {
    /// The number of wanted events.
    count: usize,
    /// Whether something else is where the next one should be.
    is_broken: bool,
}

/// Adds the wanted events of a part to the frames of a page.
///
/// # Errors
///
/// What is wrong with the first of the page.
fn take(
    stream_id: &str,
    part: &[(Version, Position)],
    found: &[u8],
    frames: &mut Vec<u8>,
) -> Result<Taken, Error> {
    let mut records = logged(found).peekable();
    for (count, (version, position)) in part.iter().enumerate() {
        let covers = |record: &Result<(Position, Logged<'_>), Error>| match record {
            Ok((first, Logged::Gap(positions))) => {
                (*first..first.saturating_add(*positions)).contains(position)
            }
            Ok((first, _)) => first == position,
            Err(_) => true,
        };
        while records.next_if(|record| !covers(record)).is_some() {}
        // One that was not read. The page is full, or the log ends before it.
        let Some(record) = records.next() else { return Ok(Taken { count, is_broken: false }) };
        match event_of(stream_id, *version, *position, record?.1) {
            Ok(event) => push_envelope(frames, *position, event.bytes)
                .expect("it came from a frame, so it fits into one"),
            Err(error) if frames.is_empty() => return Err(error),
            Err(_) => return Ok(Taken { count, is_broken: true }),
        }
    }
    Ok(Taken { count: part.len(), is_broken: false })
}

/// The event of a record, which must be this version of the stream.
fn event_of<'a>(
    stream_id: &str,
    version: Version,
    position: Position,
    record: Logged<'a>,
) -> Result<Event<'a>, Error> {
    let reason = match record {
        Logged::Event(event) if event.is(stream_id, version) => return Ok(event),
        Logged::Event(_) => format!("the event there is not version {version} of `{stream_id}`"),
        Logged::Removed => {
            format!("the event there was removed, but `{stream_id}` has its version {version}")
        }
        Logged::Gap(_) => format!("no event is there, but `{stream_id}` refers to it"),
    };
    Err(problem(
        code::DAMAGED,
        format!("the store's data is damaged: position {position}: {reason}; restore it from a backup"),
    ))
}

/// The time of the event with this version, which must exist; none if the event was removed.
pub(crate) fn created_at(
    view: &impl View,
    stream_id: &str,
    origin: Position,
    version: Version,
) -> Result<Option<u64>, Error> {
    let wanted = positions_forward(view, origin, version, 1)?;
    let (_, position) = *wanted.first().ok_or_else(|| beyond_the_index(origin, version))?;
    let frames = view.log_get(&[position], READ_ONE)?;
    let record = logged(&frames).next();
    let no_record = || problem(code::OTHER, format!("log-get gave nothing for position {position}"));
    match record.ok_or_else(no_record)?? {
        (_, Logged::Removed) => Ok(None),
        (_, record) => {
            event_of(stream_id, version, position, record).map(|event| Some(event.envelope.created))
        }
    }
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
