//! What a gateway asks of its store, for both worlds of gateways: `exesdb:gateway/requests`.
//!
//! Calls and replies are data. A gateway that speaks `wasi:http` passes calls to `gateway::store::run`, a gateway on steps returns
//! them. The functions here are for what most gateways do; every other call is made of the contract's own fields.

use exesdb_packed::TooLong;

use crate::events::{EventData, pack};
use crate::types::{
    AllSelection, Append, ChangeResult, Direction, Error, ExpectedVersion, PackedPage, Selection, Source,
    StreamInfo, StreamSelection, WriteRequest, code, problem,
};

pub use crate::bindings::gateway::common::exesdb::gateway::requests::{
    Answer, Call, Caller, Horizon, ImportLookup, Latest, Listing, NamedCall, Outcome, Query, Reply,
    SnapshotListing, WriteCall,
};

/// The words of snapshots: `exesdb:store/snapshot-types`.
pub mod snapshots {
    pub use crate::bindings::store::common::exesdb::store::snapshot_types::{
        NewSnapshot, Newest, RecordedSnapshot, SnapshotData, SnapshotId, SnapshotInfo, SnapshotPage,
        SnapshotRequest, SnapshotScope,
    };
}

/// The most bytes of a page that [`Call::read_stream`] and [`Call::read_all`] ask for.
const PAGE_BYTES: u32 = 1 << 20;

impl Call {
    /// An append of events to one stream. Sent again with the same event ids, it is applied once.
    ///
    /// # Errors
    ///
    /// [`TooLong`], if a part of an event is longer than any event may be.
    pub fn append<'a>(
        stream_id: &str,
        expected: ExpectedVersion,
        events: impl IntoIterator<Item = &'a EventData>,
    ) -> Result<Self, TooLong> {
        let append = Append { stream_id: stream_id.to_owned(), expected, events: pack(stream_id, events)? };
        let (checks, conditions, options) = (Vec::new(), Vec::new(), Vec::new());
        let request = WriteRequest { appends: vec![append], checks, conditions, options };
        Ok(Self::Write(WriteCall { request, histories: Vec::new() }))
    }

    /// A forward read of at most `count` events of one stream, from a version or the first one on. At most 1 MiB.
    #[must_use]
    pub fn read_stream(stream_id: &str, from: Option<u64>, count: u32) -> Self {
        read(Source::OneStream(StreamSelection { stream_id: stream_id.to_owned(), from }), count)
    }

    /// A forward read of at most `count` events of the whole store, from a position or the first one on. At most 1 MiB.
    #[must_use]
    pub fn read_all(from: Option<u64>, count: u32) -> Self {
        read(Source::All(AllSelection { from, until: None }), count)
    }
}

fn read(source: Source, count: u32) -> Call {
    let (direction, options) = (Direction::Forward, Vec::new());
    let selection = Selection { source, direction, count, max_bytes: PAGE_BYTES, options };
    Call::Read(Query { selection, filter: None, at_least: None, history_id: None })
}

impl Answer {
    /// What a change did.
    ///
    /// # Errors
    ///
    /// The reply is of another kind, which no host of this contract gives to a change.
    pub fn changed(self) -> Result<ChangeResult, Error> {
        match self.reply {
            Reply::Changed(result) => Ok(result),
            _ => Err(other_kind()),
        }
    }

    /// The page of a read. [`unpack`](crate::events::unpack) turns its events to plain values.
    ///
    /// # Errors
    ///
    /// The reply is of another kind, which no host of this contract gives to a read.
    pub fn page(self) -> Result<PackedPage, Error> {
        match self.reply {
            Reply::Page(page) => Ok(page),
            _ => Err(other_kind()),
        }
    }

    /// The description of a stream.
    ///
    /// # Errors
    ///
    /// The reply is of another kind, which no host of this contract gives to [`Call::StreamInfo`].
    pub fn stream_info(self) -> Result<StreamInfo, Error> {
        match self.reply {
            Reply::StreamInfo(info) => Ok(info),
            _ => Err(other_kind()),
        }
    }
}

fn other_kind() -> Error {
    problem(code::OTHER, "the host's reply is not of the kind that the call has")
}

#[cfg(test)]
mod tests {
    use super::{Answer, Call, Horizon, Reply};
    use crate::events::{EventData, unpack};
    use crate::types::{EndOfLog, ExpectedVersion, PackedPage, Source};

    #[test]
    fn an_append_has_its_events_packed() {
        let events = ["a", "b"].map(|id| EventData { id: id.into(), ..EventData::default() });
        let Ok(Call::Write(write)) = Call::append("s", ExpectedVersion::Exact(3), &events) else {
            panic!("it is a write")
        };
        let append = &write.request.appends[0];
        assert_eq!((append.stream_id.as_str(), append.expected), ("s", ExpectedVersion::Exact(3)));
        let packed = unpack(&append.events).unwrap();
        assert_eq!(packed.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let long = EventData { id: "x".repeat(1 << 16), ..EventData::default() };
        assert!(Call::append("s", ExpectedVersion::Any, [&long]).is_err());
    }

    #[test]
    fn reads_say_where_they_begin() {
        let selection = |call| match call {
            Call::Read(query) => query.selection,
            other => panic!("{other:?}"),
        };
        let stream = selection(Call::read_stream("s", Some(7), 10));
        assert!(matches!(&stream.source, Source::OneStream(of) if of.stream_id == "s" && of.from == Some(7)));
        let all = selection(Call::read_all(None, 3));
        assert!(matches!(&all.source, Source::All(of) if of.from.is_none() && of.until.is_none()));
        assert_eq!((stream.count, all.count), (10, 3));
    }

    #[test]
    fn a_reply_of_another_kind_is_an_error() {
        let answer = |reply| Answer { reply, horizon: Horizon { history_id: 1, end: 0 } };
        let page = PackedPage { events: vec![1], next: Some(0), end: true, last_version: None };
        assert_eq!(answer(Reply::Page(page.clone())).page(), Ok(page));
        let end = || answer(Reply::LogEnd(EndOfLog { next_position: 0, chain: 0, history_id: 1 }));
        assert!(end().page().is_err() && end().changed().is_err() && end().stream_info().is_err());
    }
}
