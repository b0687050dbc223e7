//! Every limit of this layer, with its unit in its name and its reason.
//!
//! Whatever a component sends is a claim, so each of these is checked before anything is written, and each has a
//! test that sends the hostile value.

/// Longest owner or keyspace name. fjall stores `owner.keyspace` behind one length byte (255 at most); two names of
/// this length and the dot between them take 129.
pub const NAME_BYTES_MAX: usize = 64;

/// Keyspaces of one owner. Each is an LSM tree with its own memtable, files and folder, and fjall walks all of them at
/// every memtable rotation; a component needs a handful, and a name built from a client's input must fail early.
pub const OWNER_KEYSPACES_MAX: usize = 32;

/// Longest key. fjall stores key lengths in 16 bits; an index block holds whole keys, so keys much longer than this
/// would push the index out of the cache long before that.
pub const KEY_BYTES_MAX: usize = 4 * 1024;

/// Longest value: an event of 1 MiB with its metadata and envelope fits with room to spare, and a page of reads is
/// never much more than its limit.
pub const VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Keys and values of one batch together. A batch is one journal record, held in memory until it is written.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Operations of one batch: 1,000 events with an entry for each of 32 tags, one for the type, two for what they are
/// correlated with, and five for the event and its stream.
pub const BATCH_OPERATIONS_MAX: usize = 40_000;

/// Guards of one batch. Each is a lookup on the committer thread, which everybody waits for.
pub const BATCH_GUARDS_MAX: usize = 10_000;

/// Positions one batch may take, so that no batch can use up the position space.
pub const BATCH_EVENTS_MAX: u32 = 10_000;

/// Batches of one commit: what a writer gathers while one commit is in flight.
pub const COMMIT_BATCHES_MAX: usize = 10_000;

/// Bytes of one commit: two of the largest batches, and still less than a memtable together with a full group.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Entries of one page, and keys of one `get_many`: bounds the time a page takes when its entries are tiny.
pub const PAGE_ENTRIES_MAX: usize = 10_000;

/// Bytes of one page; a larger `max_bytes` is lowered to this. A reader holds a page in memory, and closing the store
/// waits for the pages being read.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Smallest journal limit that fjall accepts: one journal file is preallocated at 64 MiB.
pub const JOURNAL_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Fewest tables that may be kept open: fewer are opened anew for nearly every read.
pub const OPEN_TABLES_MIN: usize = 32;

/// Smallest memtable: a full group must fit into one, or a single group could queue several for flushing and run into
/// fjall's write halt in its middle.
pub const MEMTABLE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// Largest `group_bytes`: with the last commit taken, a group stays below [`MEMTABLE_BYTES_MIN`].
pub const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!((GROUP_BYTES_MAX + COMMIT_BYTES_MAX) as u64 <= MEMTABLE_BYTES_MIN);
const _: () =
    assert!(BATCH_BYTES_MAX <= COMMIT_BYTES_MAX && VALUE_BYTES_MAX + KEY_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(2 * NAME_BYTES_MAX < 255);
