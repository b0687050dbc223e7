//! The random operations. Their numbers are small, so that operations often affect each other.

use exesdb_sdk::types::{Deletion, Direction, QueryItem};
use proptest::prelude::{Just, Strategy, any};
use proptest::{collection, option, prop_oneof, sample};

/// The number of streams.
pub(crate) const STREAMS: usize = 6;

/// Types of events.
const TYPES: [&str; 3] = ["placed", "paid", "shipped"];

/// Tags of events.
const TAGS: [&str; 4] = ["customer:1", "customer:2", "course:a", "course:b"];

/// An expected version, relative to the current one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    Any,
    NoStream,
    Exists,
    /// The last version plus this.
    Last(i64),
}

/// An event without its id.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) event_type: String,
    pub(crate) tags: Vec<String>,
}

/// The range of a read. `from` is a percentage of the events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: Option<u64>,
    pub(crate) count: u32,
    pub(crate) direction: Direction,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Append {
        stream: usize,
        expected: Expected,
        events: Vec<Draft>,
    },
    /// Sends an earlier append again, with another expected version.
    Repeat {
        earlier: usize,
        expected: Expected,
    },
    Transact {
        appends: Vec<(usize, Expected, Vec<Draft>)>,
        check: Option<(usize, Expected)>,
        /// The append condition: a query, and the percentage of the log after which no event may match it.
        condition: Option<(Vec<QueryItem>, Option<u64>)>,
    },
    Delete {
        stream: usize,
        expected: Expected,
        deletion: Deletion,
    },
    /// `truncate` is a percentage of the stream; more than 100 is a point after its end.
    Retain {
        stream: usize,
        truncate: Option<u64>,
        max_count: Option<u64>,
    },
    ReadStream {
        stream: usize,
        range: Range,
    },
    ReadAll {
        range: Range,
    },
    ReadFiltered {
        query: Vec<QueryItem>,
        prefix: bool,
        range: Range,
    },
    Info {
        stream: usize,
    },
    List,
    PutSnapshot {
        stream: usize,
        source: bool,
        version: u64,
    },
    LatestSnapshot {
        stream: usize,
        source: bool,
        at_most: Option<u64>,
    },
    PruneSnapshots {
        stream: usize,
        source: bool,
        keep: u32,
    },
    /// Kills the instances, so that others continue from the stored state.
    Kill {
        readers: bool,
    },
}

fn expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        4 => Just(Expected::Any),
        1 => Just(Expected::NoStream),
        1 => Just(Expected::Exists),
        5 => Just(Expected::Last(0)),
        1 => (-1_i64..=1).prop_map(Expected::Last),
    ]
}

/// Up to two of the texts.
fn some_of(texts: &[&str]) -> impl Strategy<Value = Vec<String>> {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    sample::subsequence(texts, 0..=2)
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let draft = (sample::select(&TYPES), some_of(&TAGS))
        .prop_map(|(event_type, tags)| Draft { event_type: event_type.to_owned(), tags });
    collection::vec(draft, 1..5)
}

fn items() -> impl Strategy<Value = Vec<QueryItem>> {
    let item = (some_of(&TYPES), some_of(&TAGS)).prop_map(|(types, tags)| QueryItem { types, tags });
    collection::vec(item, 1..3)
}

fn range() -> impl Strategy<Value = Range> {
    let direction = sample::select(vec![Direction::Forward, Direction::Backward]);
    (option::of(0_u64..=110), 1_u32..30, direction).prop_map(|(from, count, direction)| Range {
        from,
        count,
        direction,
    })
}

/// Any operation. Writes are more frequent than reads.
pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let stream = 0..STREAMS;
    let deletion = prop_oneof![3 => Just(Deletion::Soft), 1 => Just(Deletion::Tombstone)];
    prop_oneof![
        16 => (stream.clone(), expected(), drafts())
            .prop_map(|(stream, expected, events)| Operation::Append { stream, expected, events }),
        3 => (any::<usize>(), expected())
            .prop_map(|(earlier, expected)| Operation::Repeat { earlier, expected }),
        8 => (
            sample::subsequence((0..STREAMS).collect::<Vec<_>>(), 1..=3),
            collection::vec((expected(), drafts()), 3),
            option::of((stream.clone(), expected())),
            option::of((items(), option::of(0_u64..=100))),
        )
            .prop_map(|(streams, parts, check, condition)| {
                let check = check.filter(|(stream, _)| !streams.contains(stream));
                let parts = streams.into_iter().zip(parts);
                let appends = parts.map(|(stream, (expected, events))| (stream, expected, events)).collect();
                Operation::Transact { appends, check, condition }
            }),
        1 => (stream.clone(), expected(), deletion)
            .prop_map(|(stream, expected, deletion)| Operation::Delete { stream, expected, deletion }),
        2 => (stream.clone(), option::of(0_u64..=150), option::of(1_u64..20))
            .prop_map(|(stream, truncate, max_count)| Operation::Retain { stream, truncate, max_count }),
        6 => (stream.clone(), range()).prop_map(|(stream, range)| Operation::ReadStream { stream, range }),
        4 => range().prop_map(|range| Operation::ReadAll { range }),
        5 => (items(), any::<bool>(), range())
            .prop_map(|(query, prefix, range)| Operation::ReadFiltered { query, prefix, range }),
        2 => stream.clone().prop_map(|stream| Operation::Info { stream }),
        1 => Just(Operation::List),
        2 => (stream.clone(), any::<bool>(), 0_u64..20)
            .prop_map(|(stream, source, version)| Operation::PutSnapshot { stream, source, version }),
        2 => (stream.clone(), any::<bool>(), option::of(0_u64..20))
            .prop_map(|(stream, source, at_most)| Operation::LatestSnapshot { stream, source, at_most }),
        1 => (stream, any::<bool>(), 1_u32..4)
            .prop_map(|(stream, source, keep)| Operation::PruneSnapshots { stream, source, keep }),
        1 => any::<bool>().prop_map(|readers| Operation::Kill { readers }),
    ]
}
