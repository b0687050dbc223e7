//! What a request of a gateway as steps may use. The contract names most of these numbers.

use std::time::Duration;

use crate::long_read::PAGE_BYTES_MAX;

/// Bytes of a token. It crosses the boundary twice for each step.
pub(crate) const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Actions of one step.
pub(crate) const ACTIONS_MAX: usize = 256;

/// Bytes of the context of a call.
pub(crate) const CONTEXT_BYTES_MAX: usize = 4 << 10;

/// Bytes of a representation: it is a part of the key by which readers share pages.
pub(crate) const REPRESENTATION_BYTES_MAX: usize = 256;

/// Calls of a request that may be open before no more of its body is delivered.
pub(crate) const CALLS_OPEN: usize = 256;

/// Bytes of such calls: events, snapshots and payloads. Four of the largest requests of the built-in gateway, so that a writer
/// of large appends has one decided while another is synced.
pub(crate) const CALL_BYTES_OPEN: usize = 16 << 20;

/// Calls of a request that may be open at all: four times as many as bring its body to a halt.
pub(crate) const CALLS_MAX: usize = 4 * CALLS_OPEN;

/// Calls of a request that runs again from its beginning: each run gets the outcomes of all of them.
pub(crate) const CALLS_OF_RERUNS_MAX: usize = 16;

/// Holds and timers of a request that may be open: a gateway has a handful of each.
pub(crate) const OTHERS_MAX: usize = 256;

/// Subscriptions of a request that may be open. Each has a page in memory while the client does not take it.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 16;

/// Bytes of a body that comes with its request.
pub(crate) const INLINE_BODY_BYTES_MAX: usize = 1 << 20;

/// Bytes of a piece of a body: a message of 8 MiB, which is what one write may have, with what is around it.
pub(crate) const PIECE_BYTES_MAX: u32 = 9 << 20;

/// Bytes of the events that a request holds: two of the largest writes.
pub(crate) const HELD_BYTES_MAX: usize = 16 << 20;

/// Bytes of bodies and held events of all requests of one worker, without what each has for free. Who needs more than there is
/// room for is refused.
pub(crate) const ROOM_BYTES_MAX: usize = 128 << 20;

/// Bytes of its body that each request has for free: most bodies are smaller.
pub(crate) const ROOM_FREE_BYTES: usize = 16 << 10;

/// Requests in progress of one worker: far more than it serves at a time. Followers are not among them.
pub(crate) const REQUESTS_MAX: usize = 4_096;

/// Followers of one store: as many as the host has connections. An idle one costs its connection, and less than 1 KiB here.
pub(crate) const FOLLOWERS_MAX: usize = 8_192;

/// Bytes of a response that its client has not taken, from which on its pages wait. A page, so that the next one is read and
/// encoded while the client takes one: with a quarter of that, reads of the whole store were a tenth slower.
pub(crate) const UNTAKEN_BEFORE_PAGES: usize = PAGE_BYTES_MAX as usize;

/// Bytes that all clients of one store have not taken. If there are more, a bulk read gets its next page, a small one, when the one
/// before is taken. So thousands of clients that take nothing cost this and a small page each. What the clients of a group share
/// counts for each of them.
pub(crate) const UNTAKEN_OF_ALL_MAX: usize = 256 << 20;

/// Bytes of a small page: reads go on, at more cost. A complete body of no more bytes than that is not watched any more.
pub(crate) const SMALL_PAGE_BYTES: u32 = 64 << 10;

/// Bytes that the client has not taken, from which on outcomes and pieces of the body wait. More than [`UNTAKEN_BEFORE_PAGES`] and
/// one page encoded, because an answer to what a client sends must not wait for pages that it takes only after that.
pub(crate) const UNTAKEN_BEFORE_OUTCOMES: usize = 4 << 20;

/// Bytes of pages in the outcomes of one event, if it has more than one outcome.
pub(crate) const OUTCOME_BYTES_MAX: usize = 4 << 20;

/// Calls of one request that only read and are made, or wait for delivery, at a time: each has a page.
pub(crate) const READS_AT_A_TIME: usize = 4;

/// How long a client may take nothing of a response that is ready for it.
pub(crate) const READ_PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a client may take for [`SEND_BYTES_MIN`] of a message that has some of the room, once the response has begun.
/// Silence between messages has no limit (the rule P14).
pub(crate) const SEND_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Bytes of a message that has some of the room which must come within [`SEND_PAUSE_MAX`]. At this pace, 2 KiB in a second, the
/// largest message takes more than an hour; at a slower one, a few clients could hold all the room for days.
pub(crate) const SEND_BYTES_MIN: usize = 64 << 10;

/// How much longer than its calls a request without a response may take, so that the outcome of the last one reaches the gateway.
pub(crate) const OUTCOME_TIME: Duration = Duration::from_secs(1);

/// How long a request may go on when the host stops. Less than a worker has to shut down.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(4);

/// The mount of every gateway: a store has one gateway, below no path of its own.
pub(crate) const MOUNT: &str = "http";
