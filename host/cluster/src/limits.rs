//! Every limit of this crate, with its unit in its name, and the reason for it.

use std::time::Duration;

/// How long after a leader's last word its followers wait before one of them campaigns, and how long a leader may hear of
/// no majority and stay ready. 900 ms: four heartbeats, so that one that is late costs no election.
pub const LEASE: Duration = Duration::from_millis(900);

/// Milliseconds between heartbeats as the engine counts them; it sends them at ticks of 1.5 times this. Also how long it
/// waits for the answer to an append.
pub const HEARTBEAT_MS: u64 = 150;

/// Longest random pause before a campaign: enough for two candidates to tell apart, a third of a lease.
pub const CAMPAIGN_DELAY_MAX: Duration = Duration::from_millis(300);

/// Shortest pause between two campaigns of one replica: two rounds of votes, when disks are fast.
pub const CAMPAIGN_PAUSE: Duration = Duration::from_millis(300);

/// How often the state of an election is looked at: a sixth of the longest delay.
pub const ELECTION_TICK: Duration = Duration::from_millis(50);

/// A timer that fires this much late was stopped or starved. 300 ms: what a busy machine does not do.
pub const TIMER_GAP: Duration = Duration::from_millis(300);

/// How long a pre-vote waits for answers: two slow round trips.
pub const PRE_VOTE_WAIT: Duration = Duration::from_millis(300);

/// Most bytes of the commits of one entry, as they are in it, unless one alone has more: what a network carries within a heartbeat.
pub const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Most entries of one replica that are proposed and not yet answered. 4: with one, disk and network take turns.
pub const IN_FLIGHT_MAX: usize = 4;

/// Most commits that wait to be proposed: 40 ms of work, as in a store that nothing is replicated to.
pub const QUEUE_COMMITS_MAX: usize = 1024;

/// Most bytes of the commits that wait to be proposed: four of the largest commits.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a campaign waits until its vote is saved: the slowest sync of a disk that works.
pub const VOTE_WAIT: Duration = Duration::from_secs(5);

/// How long the outcome of a proposal is waited for. Then it is unknown: a failover takes 4 s at most, so what has no
/// outcome by now may never get one.
pub const PROPOSAL_WAIT: Duration = Duration::from_secs(5);

/// How long a read waits for the leader's index, and then until it is applied here.
pub const READ_WAIT: Duration = Duration::from_secs(5);

/// Most bytes of entries in one message, unless one entry alone has more.
pub const APPEND_BYTES_MAX: usize = 1024 * 1024;

/// Most entries in one message. Empty entries count no bytes worth the name.
pub const APPEND_ENTRIES_MAX: usize = 4096;

/// Largest entry: what one record of a node's log takes. The largest commit (16 MiB) fits with as many bytes for what is around
/// its keys and values; one that needs more, of very many tiny operations, is refused.
pub const ENTRY_FRAME_BYTES_MAX: usize = 32 * 1024 * 1024 - 1024;

/// Largest commit as it is in an entry.
pub(crate) const COMMIT_ENCODED_BYTES_MAX: usize = ENTRY_FRAME_BYTES_MAX - 64;

/// Bytes of the entries that a group remembers after they were appended, unless the last one alone has more. 4 MiB: as many
/// entries as are proposed at a time. Decoded, they take about as much again.
pub(crate) const RECENT_BYTES_MAX: usize = IN_FLIGHT_MAX * ENTRY_BYTES_MAX;

/// Largest message, apart from the dump of a snapshot.
pub const MESSAGE_BYTES_MAX: usize = ENTRY_FRAME_BYTES_MAX + 1024 * 1024;

/// Bytes of one part of a snapshot: few enough that one waiting for the network costs no memory worth the name.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;

/// Parts of a snapshot that may wait for a slow peer or disk.
pub const SNAPSHOT_CHUNKS_WAITING_MAX: usize = 4;

/// How long a snapshot may take to send one more part, and then to be installed. A transfer that takes longer is begun again.
pub const SNAPSHOT_STALL: Duration = Duration::from_secs(30);

/// How long a purge waits until the replica holds the entries durably: opening a large replica after a snapshot.
pub const PURGE_WAIT: Duration = Duration::from_secs(60);

/// Highest term and index that a peer may name. 2^48: at a million a second, nine years; and the engine adds to them.
pub const NUMBER_MAX: u64 = 1 << 48;

/// Most voters of a group; odd, and more than five only while members are replaced.
pub const VOTERS_MAX: usize = 9;

/// Most members of a group: a copy on every node of 256.
pub const MEMBERS_MAX: usize = 256;

/// Longest name of a node: what a certificate has.
pub const NODE_NAME_BYTES_MAX: usize = 255;

/// Bytes that were applied since the replica was last made durable at which that is done: what a start replays.
pub const UNPERSISTED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Longest time after which what was applied is made durable.
pub const PERSIST_EVERY: Duration = Duration::from_secs(30);

/// How often a leader tells its followers what it has applied, if something has changed: an entry of 80 bytes. A replica that
/// differs serves for that long at most. 10 s at a thousand entries a second are as many as a replica remembers.
pub const CHECK_EVERY: Duration = Duration::from_secs(10);

/// Bytes of entries that are kept for lagging followers, as the node's log counts them. One that needs more gets a
/// snapshot. 128 MiB: half of what the log gives a group. The other half is for what is not durable yet, and for what is
/// appended until that is noticed: a group that fills its part could not go on.
pub const LOG_BYTES_KEPT: u64 = 128 * 1024 * 1024;

/// Bytes that an entry counts at least in what is kept, as in the node's log.
pub(crate) const ENTRY_COUNTS_MIN: u64 = exesdb_log::limits::RECORD_COUNTS_MIN;

const _: () = assert!(exesdb_storage::limits::COMMIT_BYTES_MAX * 3 / 2 <= COMMIT_ENCODED_BYTES_MAX);
const _: () =
    assert!(ENTRY_FRAME_BYTES_MAX as u64 + 512 <= exesdb_log::limits::record_bytes_max(64 * 1024 * 1024));
const _: () = assert!(LEASE.as_millis() >= 4 * (HEARTBEAT_MS as u128 * 3 / 2));
