//! One record: the operations of a batch, stamped and chained, its records of the log, and the head after it.

use exesdb_packed::{Frames, Record as LogRecord};

use super::keyspaces::BatchHandles;
use crate::Slice;
use crate::batch::{Changes, Operation};
use crate::engine::{Engine, EngineRecord};
use crate::format;
use crate::head::{LogHead, RecordedHead, chain};
use crate::log::{LINK_AT, event_value, gap_value};
use crate::packed_puts::{PackedPut, PackedPuts, PackedStamps};
use crate::stamp::{STAMP_BYTES, stamp};

/// A record that is being put together.
pub(super) struct Record<E: Engine> {
    changes: E::Record,
    first_position: u64,
    chain: u64,
}

/// A record of the log that is replaced by the mark of a removed event.
pub(super) struct Removal<E: Engine> {
    pub(super) log: E::Keyspace,
    pub(super) position: u64,
    pub(super) mark: Vec<u8>,
}

impl<E: Engine> Record<E> {
    /// An empty record of a batch that is applied after `head`.
    pub(super) fn new(engine: &E, head: LogHead, operations: usize) -> Self {
        Self { changes: engine.record(operations + 1), first_position: head.next_position, chain: head.chain }
    }

    /// Adds an operation, with its stamps and its chain filled in.
    pub(super) fn add(&mut self, handles: &BatchHandles<E>, operation: Operation) {
        let handle = handles.iter().find(|(name, _)| name == operation.keyspace()).map(|(_, handle)| handle);
        match operation {
            Operation::Put { mut key, mut value, key_stamps, value_stamps, chain: link, .. } => {
                stamp(&mut key, key_stamps, self.first_position);
                stamp(&mut value, value_stamps, self.first_position);
                if let Some(link) = link {
                    self.link(&key, &mut value, link.at);
                }
                self.changes.insert(handle.expect("a keyspace that is put to was resolved"), key, value);
            }
            Operation::Delete { key, .. } => {
                if let Some(handle) = handle {
                    self.changes.remove(handle, key);
                }
            }
        }
    }

    /// Adds changes, with their stamps filled in.
    pub(super) fn add_changes(&mut self, handles: &BatchHandles<E>, changes: &Changes) {
        let handle = handles.iter().find(|(name, _)| *name == changes.keyspace).map(|(_, handle)| handle);
        for put in PackedPuts::new(&changes.puts) {
            let PackedPut { key, value, key_stamps, value_stamps } = put.expect("the batch was checked");
            let handle = handle.expect("a keyspace that is put to was resolved");
            let (key, value) = (self.stamped(key, key_stamps), self.stamped(value, value_stamps));
            self.changes.insert(handle, key, value);
        }
        let Some(handle) = handle else { return };
        for key in &changes.deletes {
            self.changes.remove(handle, &**key);
        }
    }

    /// The bytes with their stamps filled in.
    fn stamped(&self, bytes: &[u8], stamps: PackedStamps<'_>) -> Slice {
        if stamps.iter().len() == 0 {
            return bytes.into();
        }
        let mut stamped = bytes.to_vec();
        stamp(&mut stamped, stamps.iter(), self.first_position);
        stamped.into()
    }

    /// Appends events and gaps to the log, each with its position and its link.
    pub(super) fn append_to_log(&mut self, log: &E::Keyspace, frames: &[u8]) {
        let mut position = self.first_position;
        for frame in Frames::new(frames) {
            let (mut value, positions) = match frame.expect("the batch was checked").record {
                LogRecord::Event(envelope) => (event_value(envelope), 1),
                LogRecord::Gap { positions } => (gap_value(positions), positions),
                LogRecord::Removed { .. } => unreachable!("the batch was checked"),
            };
            let key = position.to_be_bytes();
            self.link(&key, &mut value, LINK_AT);
            self.changes.insert(log, key, value);
            position += positions;
        }
    }

    /// Replaces a record of the log by the mark of a removed event.
    pub(super) fn remove_from_log(&mut self, removal: Removal<E>) {
        self.changes.insert(&removal.log, removal.position.to_be_bytes(), removal.mark);
    }

    /// Says that the store has a log, which earlier software must not open.
    pub(super) fn begin_log(&mut self, meta: &E::Keyspace) {
        self.changes.insert(meta, format::FORMAT_KEY, format::FORMAT_VERSION.to_be_bytes());
    }

    /// Chains an entry, and writes the link into its value.
    fn link(&mut self, key: &[u8], value: &mut [u8], at: u32) {
        self.chain = chain(self.chain, key, value, at);
        let at = at as usize;
        value[at..at + STAMP_BYTES].copy_from_slice(&self.chain.to_be_bytes());
    }

    /// The hash chain after the operations so far.
    pub(super) fn chain(&self) -> u64 {
        self.chain
    }

    /// Lists new keyspaces in `meta`.
    pub(super) fn list_keyspaces(&mut self, meta: &E::Keyspace, keyspaces: Vec<E::Keyspace>) {
        for keyspace in keyspaces {
            let key = format!("{}{}", format::KEYSPACE_KEY_PREFIX, E::name(&keyspace));
            self.changes.insert(meta, key.into_bytes(), E::number(&keyspace).to_be_bytes());
        }
    }

    /// Completes the record with the head after it.
    pub(super) fn finish(mut self, meta: &E::Keyspace, head: RecordedHead) -> E::Record {
        self.changes.insert(meta, &format::HEAD_KEY[..], head.encode());
        self.changes
    }
}

#[cfg(test)]
mod tests {
    use exesdb_packed::{EventParts, push_event, push_gap};
    use exesdb_test_support::{Rng, random};
    use fjall::{Database, PersistMode};

    use super::{Record, Removal};
    use crate::batch::{Changes, Operation};
    use crate::engine::{COMPRESSED_BYTES_MIN, Engine, Fjall};
    use crate::engine_files::journal;
    use crate::head::{LogHead, RecordedHead};
    use crate::limits::VALUE_BYTES_MAX;
    use crate::options::Options;
    use crate::packed_puts::push_put;

    /// The end of the records in a database's only journal.
    fn end(database: &Database, data: &std::path::Path) -> u64 {
        database.persist(PersistMode::Buffer).expect("the journal can be written");
        let journals = journal::list(data).expect("the folder can be read");
        let read = journal::read(&journals, 0).expect("the journal can be read");
        let [journal] = read.as_slice() else { panic!("{} journals", read.len()) };
        assert_eq!(journal.bad_tail, None);
        journal.valid_end
    }

    /// Frames of a gap and an event.
    fn frames(random: &mut Rng, data_bytes: usize) -> Vec<u8> {
        let mut data = vec![0; data_bytes];
        random.fill(&mut data);
        let event = EventParts {
            flags: 0,
            version: 0,
            created: 0,
            stream_id: "s",
            id: "e",
            event_type: "t",
            content_type: "c",
            tags: &[] as &[&str],
            data: &data,
            metadata: b"",
        };
        let mut frames = Vec::new();
        push_gap(&mut frames, 0, 3);
        push_event(&mut frames, 0, &event).expect("the event is short enough");
        frames
    }

    #[test]
    fn a_record_takes_no_more_of_the_journal_than_it_says() {
        let dir = tempfile::tempdir().expect("there is room for a test's folder");
        let database =
            Database::builder(dir.path()).manual_journal_persist(true).open().expect("it is created");
        let open = |name| database.keyspace(name, || Options::default().keyspace()).expect("it is created");
        let (meta, log) = (open("meta"), open("o.log"));
        let handles = vec![("a".to_owned(), open("o.a")), ("b".to_owned(), open("o.b"))];
        let engine = Fjall::new(database.clone(), Options::default());
        let mut random = random();
        let mut compressed = 0;
        for sequence in 1..200 {
            let before = end(&database, dir.path());
            let mut record = Record::<Fjall>::new(&engine, LogHead::default(), 4);
            let mut is_exact = true;
            for _ in 0..random.usize(..8) {
                let mut key = vec![0; random.usize(1..100)];
                random.fill(&mut key);
                let keyspace = ["a", "b", "not there"][random.usize(..3)].to_owned();
                if random.bool() || keyspace == "not there" {
                    record.add(&handles, Operation::Delete { keyspace, key });
                    continue;
                }
                let near = COMPRESSED_BYTES_MIN - 2 + random.usize(..4);
                let bytes = [0, random.usize(..100), near, random.usize(..200_000), VALUE_BYTES_MAX]
                    [random.usize(..4 + usize::from(sequence % 40 == 0))];
                let mut value = vec![7; bytes];
                if random.bool() {
                    random.fill(&mut value);
                }
                is_exact &= bytes < COMPRESSED_BYTES_MIN;
                if random.bool() {
                    let mut puts = Vec::new();
                    push_put(&mut puts, &key, &value, &[], &[]);
                    let deletes = vec![key];
                    record.add_changes(&handles, &Changes { keyspace, puts, deletes });
                    continue;
                }
                record.add(
                    &handles,
                    Operation::Put {
                        keyspace,
                        key,
                        value,
                        key_stamps: vec![],
                        value_stamps: vec![],
                        chain: None,
                    },
                );
            }
            if random.bool() {
                record.begin_log(&meta);
            }
            if random.bool() {
                let bytes = [random.usize(..100), random.usize(..200_000)][random.usize(..2)];
                // The envelope adds less than a hundred bytes.
                is_exact &= bytes < COMPRESSED_BYTES_MIN - 100;
                record.append_to_log(&log, &frames(&mut random, bytes));
            }
            if random.bool() {
                let mark = vec![7; random.usize(..100)];
                record.remove_from_log(Removal { log: log.clone(), position: sequence, mark });
            }
            if random.bool() {
                record.list_keyspaces(&meta, handles.iter().map(|(_, handle)| handle.clone()).collect());
            }
            let head = LogHead { sequence, time: random.u64(..2), ..LogHead::default() };
            let record = record.finish(&meta, RecordedHead { head, engine_floor: 0 });
            let bytes = engine.commit(record).expect("the record can be written");
            let took = end(&database, dir.path()) - before;
            assert!(took <= bytes, "{took} bytes instead of at most {bytes}");
            assert!(!is_exact || took == bytes, "{took} bytes instead of exactly {bytes}");
            compressed += u64::from(!is_exact);
        }
        assert!(compressed > 0, "no value was long enough to be compressed");
    }
}
