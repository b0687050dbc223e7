//! The gateway's limits, in addition to those of [`exesdb_sdk::arguments`]. The OpenAPI document states the same numbers,
//! and a test compares them.

/// Bytes of `data` and `metadata` of one event or snapshot together. The store has the same limit, because an event is
/// held in memory as a whole.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Bytes of a request's body: enough for four of the largest events, and little enough that an instance can hold the
/// text and the decoded body within its memory limit.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Events of one append. They are committed as one batch, and all later commits wait for it.
pub const APPEND_EVENTS_MAX: usize = 1_000;

/// Default number of items of one page.
pub const PAGE_COUNT_DEFAULT: u32 = 100;

/// Bytes of an event's type in UTF-8.
pub const EVENT_TYPE_BYTES_MAX: usize = 256;

/// Bytes of an event's id in UTF-8: enough for a UUID or a compound key.
pub const EVENT_ID_BYTES_MAX: usize = 128;

pub use exesdb_json::NESTING_MAX as JSON_NESTING_MAX;

/// Milliseconds between keepalives on a silent event stream: less than the 30 seconds after which proxies commonly close
/// an idle connection.
pub const KEEPALIVE_MS: u32 = 15_000;

/// Milliseconds between progress messages to a filtered follower while no event matches. It bounds what the follower
/// reads again after a broken connection.
pub const PROGRESS_MS: u32 = 2_000;

/// Seconds after which a client should retry a request that failed with status 503.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Bytes of a client's text that an error message quotes: enough to recognise it.
pub const QUOTED_BYTES_MAX: usize = 64;

/// Bytes of a parser's message that a problem quotes. The message may contain text of the client.
pub const DETAIL_BYTES_MAX: usize = 256;

/// Appends of one transaction: the store's bound.
pub const TRANSACTION_APPENDS_MAX: usize = 100;

/// Checks of one transaction: the store's bound.
pub const TRANSACTION_CHECKS_MAX: usize = 100;

/// Conditions of one transaction: the store's bound.
pub const TRANSACTION_CONDITIONS_MAX: usize = 16;

/// Items of one query: the store's bound.
pub const QUERY_ITEMS_MAX: usize = 16;

/// Types of one query item: the store's bound.
pub const QUERY_TYPES_MAX: usize = 64;

/// Tags of one event or one query item: the store's bound.
pub const TAGS_MAX: usize = 32;

/// Bytes of a tag in UTF-8.
pub const TAG_BYTES_MAX: usize = 256;

/// Bytes of all tags of one request together. Each tag is stored twice, with its event and in an index, and the store's
/// batches hold up to 8 MiB.
pub const REQUEST_TAGS_BYTES_MAX: usize = 1 << 20;

/// Prefixes of stream names of one filter: the store's bound.
pub const STREAM_PREFIXES_MAX: usize = 64;

/// Bytes of a correlation or causation id in UTF-8.
pub const CORRELATION_ID_BYTES_MAX: usize = 256;

/// Bytes of a regular expression. It is compiled again for each page, and long ones are costly to compile.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Bytes of the name of a snapshot's source in UTF-8.
pub const SOURCE_BYTES_MAX: usize = 256;

/// Events of one import. Like those of an append, they are committed as one batch.
pub const IMPORT_EVENTS_MAX: usize = 1_000;

/// Marks of one import: one for each of its events.
pub const IMPORT_MARKS_MAX: usize = 1_000;

/// Streams of one request for import states: the store's bound.
pub const IMPORT_STATES_MAX: usize = 1_000;

/// Bytes of the name of an import's source in UTF-8: the store's bound.
pub const IMPORT_SOURCE_BYTES_MAX: usize = 256;

/// Bytes of one append of packed events: as much as a request may have.
pub const PACKED_BYTES_MAX: usize = REQUEST_BYTES_MAX;

/// Appends that one step of a pipeline makes, out of what came: they are decided in one list, and the store's queue is
/// shared.
pub const PIPELINE_STEP_APPENDS: usize = 64;

/// Bytes of a pipeline's body that one step asks for, unless an append is longer.
pub const PIPELINE_PIECE_BYTES: usize = 256 << 10;

/// Bytes of packed events of one page of JSON. The text can be a third longer, and an instance holds both.
pub const PAGE_BYTES_MAX: u32 = 2 << 20;

/// Bytes of packed events of a page of a bulk read: the most that the host passes at once.
pub const BULK_PAGE_BYTES: u32 = 1 << 20;

/// Events in flight at a consumer of a durable subscription, as the host permits.
pub const CONSUMER_WINDOW_MAX: u64 = 10_000;

/// The same, if the client says nothing.
pub const CONSUMER_WINDOW_DEFAULT: u32 = 100;

/// How long a request for a batch of events may wait for the first one, in milliseconds, as the host permits.
pub const CONSUMER_WAIT_MS_MAX: u64 = 30_000;
