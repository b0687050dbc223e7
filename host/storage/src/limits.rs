//! Every limit of this crate, with its unit in its name, and the reason for it.
//!
//! Input of components is not trusted, so each limit is checked before anything is written, and each has a test that
//! exceeds it.

/// Longest owner or keyspace name. fjall stores `owner.keyspace` after one length byte (at most 255); two names of this
/// length and the dot between them take 129.
pub const NAME_BYTES_MAX: usize = 64;

/// Most keyspaces of one owner. Each is an LSM tree with its own memtable, files and folder, and fjall visits all of them at
/// every memtable rotation. A component needs a handful, and one that derives names from clients' input must fail early.
pub const OWNER_KEYSPACES_MAX: usize = 32;

/// Longest key. fjall allows 64 KiB, but an index block holds whole keys, and much longer keys would push the index out
/// of the cache.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// Longest value: an event of 1 MiB fits easily with its metadata and envelope, and a page never exceeds its limit by
/// much.
pub const VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Most bytes of keys and values of one batch. A batch is one journal record, held in memory until it is written.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most operations of one batch: 1,000 events with an entry for each of 32 tags, one for the type, two for what they are
/// correlated with, and five for the event and its stream.
pub const BATCH_OPERATIONS_MAX: usize = 40_000;

/// Most guards of one batch. Each is a lookup on the committer thread, which everybody waits for.
pub const BATCH_GUARDS_MAX: usize = 10_000;

/// Most positions of one batch, so that no batch can use up the position space.
pub const BATCH_EVENTS_MAX: u32 = 10_000;

/// Longest envelope of an event in the log: what fits into a value beside its kind and link.
pub const EVENT_BYTES_MAX: usize = VALUE_BYTES_MAX - 16;

/// Most events that one batch removes from the log. Each is a lookup on the committer thread, as for a guard.
pub const BATCH_REMOVES_MAX: usize = 10_000;

/// Most batches of one commit: what a writer collects while another commit is in flight.
pub const COMMIT_BATCHES_MAX: usize = 10_000;

/// Most bytes of one commit: two of the largest batches, and together with a full group still less than a memtable.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Latest time of a commit, in microseconds since 1970: the year 294,247. A time never goes back, so a wrong one must
/// not leave a store without later ones; and a backup is refused whose numbers no store reaches.
pub const COMMIT_TIME_MAX: u64 = i64::MAX as u64;

/// Most bytes of a group's membership in an entry or snapshot of a cluster. 64 KiB: a thousand replicas with their
/// addresses; a group has three or five.
pub const MEMBERSHIP_BYTES_MAX: usize = 64 * 1024;

/// Most entries of one page, and keys of one `get_many`: bounds the time a page takes when its entries are tiny.
pub const PAGE_ENTRIES_MAX: usize = 10_000;

/// Most bytes of one page; a larger `max_bytes` is lowered to this. A reader holds a page in memory, and closing the store
/// waits for the pages being read.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Smallest journal limit that fjall accepts: each journal file is preallocated at 64 MiB.
pub const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Fewest tables to keep open: with fewer, nearly every read opens a file.
pub const OPEN_TABLES_MIN: usize = 32;

/// Smallest memtable: a full group must fit into one. Otherwise a single group could seal several and run into fjall's
/// write halt in its middle.
pub const MEMTABLE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// Largest `group_bytes`: even with the commit that exceeds it, a group stays below [`MEMTABLE_BYTES_MIN`].
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!((GROUP_BYTES_MAX + COMMIT_BYTES_MAX) as u64 <= MEMTABLE_BYTES_MIN);
const _: () =
    assert!(BATCH_BYTES_MAX <= COMMIT_BYTES_MAX && VALUE_BYTES_MAX + KEY_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(2 * NAME_BYTES_MAX < 255);
