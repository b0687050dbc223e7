use super::Decision::{Existing, Hidden, New};
use super::{Decision, Required, Stream, Visible, VisibleRow};
use crate::client::{Retention, RowCount, StreamInfo, StreamState};

fn info(first_version: Option<u64>, last_version: u64) -> StreamInfo {
    StreamInfo {
        state: StreamState::Live,
        first_version,
        last_version,
        life_begins: None,
        retention: Retention::default(),
        created: String::new(),
        updated: String::new(),
    }
}

fn aged(first_version: Option<u64>, last_version: u64) -> StreamInfo {
    let retention = Retention { max_age_seconds: Some(1), ..Retention::default() };
    StreamInfo { retention, ..info(first_version, last_version) }
}

fn row(number: u64, version: u64) -> VisibleRow {
    VisibleRow { key: (0, number), id: number.to_string(), version }
}

/// Visible events from a version on: rows of the file by their numbers, or (none) other events.
fn visible(mut version: u64, events: &[Option<u64>]) -> Visible {
    let mut visible = Visible::default();
    for event in events {
        visible.push(event.map(|number| row(number, version)));
        version += 1;
    }
    visible
}

/// A stream has received the first rows of the file, and no others.
fn leading(rows: u64) -> RowCount {
    RowCount { rows, leading_rows: rows }
}

/// A stream that has received the first `rows` rows, with these visible events.
fn stream(rows: u64, info: &StreamInfo, events: &[Option<u64>]) -> Stream {
    stream_with(leading(rows), info, events)
}

fn stream_with(marked: RowCount, info: &StreamInfo, events: &[Option<u64>]) -> Stream {
    let first = info.first_version.unwrap_or(0);
    let (stream, required) = Stream::begin(marked, Some(info), true, false);
    let read = visible(first, events);
    match required {
        Required::Nothing => stream,
        Required::First => stream.with_first(read.rows.first()),
        Required::All => stream.with_all(read),
    }
}

/// The decisions on the rows with these numbers, and how many rows the stream has received then.
fn decisions(mut stream: Stream, rows: std::ops::Range<u64>) -> (Vec<Decision>, u64) {
    let decisions = rows.map(|row| stream.decide((0, row), row, &row.to_string())).collect();
    (decisions, stream.rows)
}

#[test]
fn rows_are_new_existing_or_hidden() {
    let (absent, all) =
        (Stream::begin(leading(0), None, true, false).0, [Some(0), Some(1), Some(2), Some(3)]);
    let others = [None; 4];
    let table = [
        ("no stream", absent, vec![New(0), New(1), New(2), New(3)], 4),
        (
            "the same file",
            stream(4, &info(Some(0), 3), &all),
            vec![Existing(0), Existing(1), Existing(2), Existing(3)],
            4,
        ),
        (
            "it has grown",
            stream(2, &info(Some(0), 1), &all[..2]),
            vec![Existing(0), Existing(1), New(2), New(3)],
            4,
        ),
        (
            "the first are hidden",
            stream(3, &info(Some(2), 2), &all[2..3]),
            vec![Hidden, Hidden, Existing(2), New(3)],
            4,
        ),
        ("all are hidden", stream(3, &info(None, 2), &[]), vec![Hidden, Hidden, Hidden, New(3)], 4),
        (
            "others' events are hidden",
            stream(0, &info(None, 9), &[]),
            vec![New(10), New(11), New(12), New(13)],
            4,
        ),
        (
            "some hidden events are others'",
            stream(1, &info(None, 9), &[]),
            vec![Hidden, New(10), New(11), New(12)],
            4,
        ),
        (
            "others' events are visible",
            stream(0, &info(Some(4), 7), &others),
            vec![New(8), New(9), New(10), New(11)],
            4,
        ),
        (
            "started again by others",
            stream(2, &info(Some(2), 5), &others),
            vec![Hidden, Hidden, New(6), New(7)],
            4,
        ),
        (
            "after others",
            stream(2, &info(Some(0), 3), &[None, None, Some(0), Some(1)]),
            vec![Existing(2), Existing(3), New(4), New(5)],
            4,
        ),
        (
            "between others, the first hidden",
            stream(3, &info(Some(2), 6), &[None, Some(1), None, Some(2), None]),
            vec![Hidden, Existing(3), Existing(5), New(7)],
            4,
        ),
        // The hidden events are not rows, and the row that was inserted in the file is new. The last row looks new, but the
        // store has it at another version and refuses it: then the stream is reloaded.
        (
            "others' events hidden, all rows visible",
            stream(2, &info(Some(2), 3), &[Some(1), Some(2)]),
            vec![New(4), Existing(2), New(5), New(6)],
            5,
        ),
        (
            "a row was inserted and imported, and another is hidden",
            stream(4, &info(Some(1), 3), &[Some(2), Some(3), Some(0)]),
            vec![Existing(3), Hidden, Existing(1), Existing(2)],
            4,
        ),
        (
            "too old in between",
            stream(4, &aged(Some(1), 3), &[]).with_all(at_times(&[(1, 0, 1), (3, 0, 3)])),
            vec![Hidden, Existing(1), Existing(2), Existing(3)],
            4,
        ),
    ];
    for (what, stream, expected, rows) in table {
        assert_eq!(decisions(stream, 0..4), (expected, rows), "{what}");
    }
}

/// The decisions on the rows with these numbers, which are sent in this order, and the count that the store is told then.
fn sent(mut stream: Stream, ordinals: &[u64]) -> (Vec<Decision>, Option<RowCount>) {
    let rows = ordinals.iter().zip(0..);
    let decisions =
        rows.map(|(ordinal, time)| stream.decide((time, *ordinal), *ordinal, &ordinal.to_string()));
    (decisions.collect(), stream.mark())
}

#[test]
fn inserted_rows_are_new_although_they_are_sent_between_hidden_ones() {
    // The file had rows 0 to 2 when it was imported; row 3 has a time between theirs.
    let order = [0, 3, 1, 2];
    let count = Some(leading(4));
    assert_eq!(sent(stream(3, &info(None, 2), &[]), &order), (vec![Hidden, New(3), Hidden, Hidden], count));
    assert_eq!(
        sent(stream(3, &info(Some(2), 2), &[]).with_all(at_times(&[(2, 3, 2)])), &order),
        (vec![Hidden, New(3), Hidden, Existing(2)], count)
    );
    // The same between visible rows, without a conflict before.
    let run = stream(3, &info(Some(0), 2), &[]);
    assert_eq!(sent(run, &order), (vec![Existing(0), New(3), Existing(1), Existing(2)], count));
    // The stream was deleted and has other events now.
    let again = stream(3, &info(Some(3), 4), &[None, None]);
    assert_eq!(sent(again, &order), (vec![Hidden, New(5), Hidden, Hidden], count));
}

/// Visible rows with these numbers, times and versions.
fn at_times(rows: &[(u64, i128, u64)]) -> Visible {
    let mut visible = Visible::default();
    for (number, time, version) in rows {
        visible.push(Some(VisibleRow { key: (*time, *number), id: number.to_string(), version: *version }));
    }
    visible
}

#[test]
fn an_interrupted_import_in_order_of_time_continues() {
    // Rows 0 to 4 are sent in this order. The first three were sent before the interruption.
    let order = [4, 0, 2, 3, 1];
    let absent = Stream::begin(leading(0), None, true, false).0;
    let (decisions, marked) = sent(absent, &order[..3]);
    let interrupted = RowCount { rows: 3, leading_rows: 0 };
    assert_eq!((decisions, marked), (vec![New(0), New(1), New(2)], Some(interrupted)));
    // Then the stream was deleted, or not.
    for (first, expected) in [
        (None, vec![Hidden, Hidden, Hidden, New(3), New(4)]),
        (Some(0), vec![Existing(0), Existing(1), Existing(2), New(3), New(4)]),
    ] {
        let stream = stream_with(interrupted, &info(first, 2), &[]);
        assert_eq!(sent(stream, &order), (expected, Some(leading(5))), "{first:?}");
    }
    // Rows of another file with the same name: the leading rows are not known any more.
    let (_, marked) = sent(stream(3, &info(Some(0), 2), &[]), &[7, 8]);
    assert_eq!(marked, Some(RowCount { rows: 5, leading_rows: 3 }));
}

#[test]
fn only_necessary_events_are_read() {
    let required =
        |rows, info: &StreamInfo, counts_all| Stream::begin(leading(rows), Some(info), counts_all, false).1;
    assert_eq!(Stream::begin(leading(0), None, false, false).1, Required::Nothing);
    for (what, rows, info, expected) in [
        ("another source", 0, info(Some(0), 9), Required::Nothing),
        ("only rows of the source", 10, info(Some(0), 9), Required::Nothing),
        ("nothing is hidden", 5, info(Some(0), 9), Required::First),
        ("some may be too old", 5, aged(Some(0), 9), Required::All),
        ("some are hidden", 5, info(Some(3), 9), Required::All),
        ("all are hidden", 5, info(None, 9), Required::Nothing),
    ] {
        assert_eq!(required(rows, &info, true), expected, "{what}");
    }
    // A copy of another store has rows that it did not count.
    assert_eq!(required(0, &info(Some(0), 9), false), Required::All);
}

#[test]
fn rows_that_are_added_again_are_not_counted_again() {
    let begin = |rows, info: &StreamInfo| Stream::begin(leading(rows), Some(info), true, true).0;
    assert_eq!(decisions(begin(3, &info(None, 2)), 0..4), (vec![New(3), New(4), New(5), New(6)], 4));
    let stream = begin(3, &info(Some(2), 2)).with_all(visible(2, &[Some(2)]));
    assert_eq!(decisions(stream, 0..4), (vec![New(3), New(4), Existing(2), New(5)], 4));
    // The next import finds them.
    let stream = begin(4, &info(Some(2), 5)).with_all(visible(2, &[Some(2), Some(0), Some(1), Some(3)]));
    assert_eq!(decisions(stream, 0..4), (vec![Existing(3), Existing(4), Existing(2), Existing(5)], 4));
}

#[test]
fn a_stream_continues_after_events_of_others() {
    let mut hidden = stream(2, &info(None, 1), &[]);
    assert_eq!(hidden.decide((0, 0), 0, "0"), Hidden);
    assert_eq!(
        decisions(hidden.reloaded(leading(2), 5, Visible::default()), 1..4).0,
        [Hidden, New(5), New(6)]
    );
    let new = Stream::begin(leading(0), None, true, false).0;
    assert_eq!(decisions(new.reloaded(leading(0), 3, Visible::default()), 0..2), (vec![New(3), New(4)], 2));
    // A row was inserted in the file.
    let grown = stream(2, &info(Some(0), 1), &[Some(0), Some(2)]);
    let again = grown.reloaded(leading(2), 2, visible(0, &[Some(0), Some(2)]));
    assert_eq!(decisions(again, 0..4), (vec![Existing(0), New(2), Existing(1), New(3)], 4));
}

#[test]
fn uncounted_rows_of_a_copied_store_are_counted_as_they_come() {
    let absent = Stream::begin(leading(0), Some(&info(Some(0), 1)), false, false).0;
    let mut stream = absent.with_all(visible(0, &[Some(0), Some(1)]));
    assert_eq!((stream.decide((0, 0), 0, "0"), stream.mark()), (Existing(0), Some(leading(1))));
    assert_eq!(
        (stream.decide((0, 1), 1, "1"), stream.mark(), stream.mark()),
        (Existing(1), Some(leading(2)), None)
    );
    assert_eq!((stream.decide((0, 2), 2, "2"), stream.mark()), (New(2), Some(leading(3))));
    let mut counted = stream_of_two();
    assert_eq!((counted.decide((0, 0), 0, "0"), counted.mark()), (Existing(0), None));
}

fn stream_of_two() -> Stream {
    stream(2, &info(Some(0), 1), &[])
}
