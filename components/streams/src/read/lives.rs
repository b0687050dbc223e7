//! The present lives of streams.

use exesdb_sdk::arguments::check_stream_id;
use exesdb_sdk::types::{Error, StreamLife, StreamState};
use exesdb_sdk::view::View;

use crate::check::{check_at_most, within};
use crate::entries::decode_head;
use crate::layout::{Head, STREAMS};

/// Maximum number of streams per call: as many as a page of snapshots can name.
pub const LIVES_MAX: usize = 1_000;

/// The present life of each stream, in order; none if the stream is not live.
///
/// # Errors
///
/// [`Error::Invalid`] and the problem `too-large` for the ids, those of the storage, and `damaged` for damaged data.
pub fn stream_lives(view: &impl View, stream_ids: &[String]) -> Result<Vec<Option<StreamLife>>, Error> {
    check_at_most("stream-ids", stream_ids.len(), LIVES_MAX)?;
    for (index, stream_id) in stream_ids.iter().enumerate() {
        check_stream_id("", stream_id).map_err(|error| within(error, || format!("stream-ids[{index}]")))?;
    }
    let keys: Vec<Vec<u8>> = stream_ids.iter().map(|id| id.as_bytes().to_owned()).collect();
    let values = view.get_all(STREAMS, &keys)?;
    let heads = stream_ids.iter().zip(values).map(|(id, value)| decode_head(id, value.as_deref()));
    heads.map(|head| Ok(head?.as_ref().and_then(life))).collect()
}

fn life(head: &Head) -> Option<StreamLife> {
    let life = StreamLife { first_version: head.life_begins, last_version: head.last_version };
    (head.state == StreamState::Live).then_some(life)
}
