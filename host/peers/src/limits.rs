//! Limits, each with its unit and its reason.

use std::time::Duration;

/// How long a certificate is valid. Ten years: nobody has to renew one in a store's usual life, and who wants less brings an
/// authority.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long before now a certificate begins to be valid: clocks of nodes may differ by as much.
pub const CERTIFICATE_EARLY: Duration = Duration::from_secs(86_400);

/// Largest file of a certificate or key, in bytes: a chain of a hundred certificates.
pub const PEM_BYTES_MAX: u64 = 256 * 1024;

/// Longest name of a node, in bytes: the longest DNS name.
pub const NODE_NAME_BYTES_MAX: usize = 253;

/// Longest request for a certificate, in bytes: ten times what a node sends.
pub const CERTIFICATE_REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Longest token, in characters: the addresses of 64 nodes.
pub const TOKEN_CHARS_MAX: usize = 16 * 1024;

/// How long a token is good for.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Most tokens of one node that are good at a time: nobody adds more nodes within an hour.
pub const INVITATIONS_MAX: usize = 64;

/// How long a TCP connection to a node may take to be made. Nodes are 10 ms from each other; one lost packet is sent again
/// after a second.
pub const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// How long the handshake of TLS may take: as above, and a slow processor.
pub const TLS_WAIT: Duration = Duration::from_secs(5);

/// How long a node may take to say hello, or to answer it.
pub const HELLO_WAIT: Duration = Duration::from_secs(5);

/// Most connections that have not said hello, or whose other side joins: all nodes that come back at once, one by one.
pub const STRANGERS_MAX: usize = 64;

/// How long a connection without a certificate may last, in which a node joins.
pub const JOIN_WAIT: Duration = Duration::from_secs(30);

/// How long other calls of a node wait for their answer.
pub const CALL_WAIT: Duration = Duration::from_secs(10);

/// Largest hello, refusal, or answer to one, in bytes: some names and numbers.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Largest content of a call or of its answer, in bytes: a status of 256 nodes with 4 KiB each.
pub const CALL_BYTES_MAX: usize = 1024 * 1024;

/// Largest headers of a request or answer, in bytes. The gateway takes no larger ones.
pub const HEADERS_BYTES_MAX: u32 = 64 * 1024;

/// Longest reason that is sent with a refusal, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;

/// Largest frame with an answer, in bytes. The longest answer names a few terms and indexes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Most frames of one group that wait for one peer, or that are handled for one. A leader sends one at a time to each
/// follower, and a few more in elections; reads take the rest.
pub const GROUP_FRAMES_MAX: usize = 1024;

/// Most bytes of those, unless one alone has more: four in flight of the largest usual entries.
pub const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most frames of all groups that wait for one peer: 64 of each of 256 groups.
pub const PEER_FRAMES_MAX: usize = 16 * 1024;

/// Most bytes of those, unless one alone has more: eight groups at their limit.
pub const PEER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Answers of one connection that wait to be written. One that is not taken stops the reading.
pub const ANSWERS_WAITING_MAX: usize = 1024;

/// Bytes of frames that go in one write, at least if so many wait. A larger frame is not copied.
pub const WRITE_BYTES: usize = 64 * 1024;

/// How often a node asks a peer whether it is there: four times before it is given up.
pub const PING_EVERY: Duration = Duration::from_millis(750);

/// How long a peer may be silent before its connection is given up. Three leases: elections do not wait for it.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How long a ping may wait for messages before it: twice what the bytes that may wait take at 10 MB/s.
pub const PING_WAIT: Duration = Duration::from_secs(30);

/// How often the other kinds of connections are probed, and how long the answer may take.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How often a connection's other side is looked up in the registry again: a node that was removed is cut off so late.
pub const ADMISSION_EVERY: Duration = Duration::from_secs(2);

/// The first pause before a connection is made again.
pub const RECONNECT_MIN: Duration = Duration::from_millis(100);

/// The longest such pause: a node that is back is reached within it.
pub const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// The pause after a refusal. Someone has to do something about its cause.
pub const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Difference of clocks that is reported. Only the times in events and ages depend on clocks.
pub const SKEW_MAX: Duration = Duration::from_secs(2);

/// Bytes of a snapshot that are sent in a second: half of a link of 1 Gbit/s.
pub const SNAPSHOT_BYTES_PER_S: u64 = 64 * 1024 * 1024;

/// Largest head of a snapshot, in bytes. It has a few numbers.
pub const SNAPSHOT_HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most relayed requests to one peer at a time: half of the connections that a gateway takes by default.
pub const RELAYS_MAX: usize = 512;

/// Most requests on one connection at a time: all relays, and calls beside them.
pub const STREAMS_MAX: u32 = 1024;

/// Bytes that may be on their way in one request or answer: 100 MB/s at 10 ms.
pub const STREAM_WINDOW: u32 = 1024 * 1024;

/// The same for relays, of which there are many.
pub const RELAY_WINDOW: u32 = 128 * 1024;

/// Bytes that may be on their way in one connection: as many relays as there can be, so that none that stands still holds back
/// the others.
pub const CONNECTION_WINDOW: u32 = RELAY_WINDOW * 512;

/// Bytes that may be on their way in a connection without a certificate.
pub const STRANGER_WINDOW: u32 = 64 * 1024;

/// Refusals of other nodes that are remembered, one for each node.
pub const REFUSALS_KEPT: usize = 64;

/// Largest frame with a message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = exesdb_cluster::limits::MESSAGE_BYTES_MAX;

const _: () = assert!(RELAYS_MAX <= 512 && RELAYS_MAX < STREAMS_MAX as usize);
const _: () = assert!(SILENCE_MAX.as_millis() >= 3 * exesdb_cluster::limits::LEASE.as_millis());
const _: () = assert!(NODE_NAME_BYTES_MAX <= exesdb_cluster::limits::NODE_NAME_BYTES_MAX);
