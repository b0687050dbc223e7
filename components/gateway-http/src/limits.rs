//! What the gateway accepts, beside the rules of [`exesdb_sdk::arguments`]. The OpenAPI document states the same
//! numbers, and a test compares them.

/// Bytes of `data` and `metadata` of one event or snapshot together: the store refuses more, because an event
/// is read and kept in memory as a whole on its way.
pub const EVENT_BYTES_MAX: usize = 1 << 20;

/// Bytes of a request's body: four of the largest events, and what an instance can hold twice (as text and
/// decoded) within its memory limit.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Events of one append: they are committed as one batch, and everybody's next commit waits for it.
pub const APPEND_EVENTS_MAX: usize = 1_000;

/// Items of one page when the request does not say.
pub const PAGE_COUNT_DEFAULT: u32 = 100;

/// Bytes of an event's type in UTF-8.
pub const EVENT_TYPE_BYTES_MAX: usize = 256;

/// Bytes of an event's id in UTF-8: room for a UUID or a compound key of the client's.
pub const EVENT_ID_BYTES_MAX: usize = 128;

/// Depth of arrays and objects in `data` and `metadata`: readers commonly recurse, and their default limit is
/// often 128.
pub const JSON_NESTING_MAX: usize = 128;

/// Events that a follower reads at once: enough to spread the cost of a read, few enough that the first of
/// them is on its way soon.
pub const FOLLOW_PAGE_EVENTS: u32 = 256;

/// Milliseconds between signs of life on an event stream without events: shorter than the 30 seconds after
/// which proxies commonly give up on a silent connection.
pub const KEEPALIVE_MS: u32 = 15_000;

/// Milliseconds between two messages that tell a follower of a filtered read how far it is while nothing matches: what it
/// would read again after a broken connection.
pub const PROGRESS_MS: u32 = 2_000;

/// Seconds after which a client should try again when the store could not answer now.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Bytes of encoded events that are gathered before they are handed to the connection.
pub const FOLLOW_WRITE_BYTES: usize = 64 << 10;

/// Bytes of a client's text that an error message repeats: enough to recognise it.
pub const QUOTED_BYTES_MAX: usize = 64;

/// Bytes of a parser's message that an answer repeats: it may hold a text of the client's.
pub const DETAIL_BYTES_MAX: usize = 256;

/// Bytes of encoded events that are gathered before they are handed to the connection, in an answer of many pages: each
/// hand-over is a call of the host's, and the host takes up to 1 MiB at once.
pub const BULK_WRITE_BYTES: usize = 256 << 10;

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

/// Bytes of all tags of one request together: each is kept once with its event and once in an index, and a batch of the
/// store takes 8 MiB.
pub const REQUEST_TAGS_BYTES_MAX: usize = 1 << 20;

/// Prefixes of stream names that a filter may have: the store's bound.
pub const STREAM_PREFIXES_MAX: usize = 64;

/// Bytes of a correlation or causation id in UTF-8.
pub const CORRELATION_ID_BYTES_MAX: usize = 256;

/// Bytes of a regular expression: long ones are costly to prepare for each page anew.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Bytes of the name of a snapshot's source in UTF-8.
pub const SOURCE_BYTES_MAX: usize = 256;

/// Events of one import: they are committed as one batch, as those of an append.
pub const IMPORT_EVENTS_MAX: usize = 1_000;

/// Marks of one import: one for each of its events.
pub const IMPORT_MARKS_MAX: usize = 1_000;

/// Streams that one question about imports asks about: the store's bound.
pub const IMPORT_STATES_MAX: usize = 1_000;

/// Bytes of the name of an import's source in UTF-8: the store's bound.
pub const IMPORT_SOURCE_BYTES_MAX: usize = 256;
