//! Which journal the engine writes to. It does not say when it begins another, so that is looked up in the folder.

use std::path::PathBuf;

use crate::engine_files::journal;

/// Bytes in a journal above which fjall may begin another. It does so above 64,000,000. Half of that leaves room for what
/// is written while a store is opened, which is not counted here.
const ROTATION_BYTES_MIN: u64 = 32_000_000;

/// The journal that the engine writes to, or an older one if it began another since [`refresh`](Self::refresh).
pub(crate) struct ActiveJournal {
    data: PathBuf,
    id: u64,
    /// At most this many bytes are in it, apart from those written while the store was opened.
    end_max: u64,
    /// Bytes written since the last look for another journal, at most.
    unseen: u64,
    /// Whether there was a look since the store was opened.
    has_looked: bool,
    /// Whether the engine began it after such a look, so that everything in it was counted here.
    is_counted: bool,
    #[cfg(feature = "faults")]
    last_record_bytes: u64,
}

impl ActiveJournal {
    /// The journal that was found at open, with the bytes in it.
    pub(crate) fn new(data: PathBuf, id: u64, bytes: u64) -> Self {
        Self {
            data,
            id,
            end_max: bytes,
            unseen: 0,
            has_looked: false,
            is_counted: false,
            #[cfg(feature = "faults")]
            last_record_bytes: 0,
        }
    }

    /// The number in the journal's name.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn path(&self) -> PathBuf {
        journal::path(&self.data, self.id)
    }

    /// Where the next record is written at the latest, if that is certain: in a journal that the engine began while only
    /// the committer wrote to the store. The journal that was found at open is not such a one.
    pub(super) fn end_max(&self) -> Option<u64> {
        self.is_counted.then_some(self.end_max)
    }

    /// Finds out whether the engine has begun another journal. Called before a group is written, so that the group is in
    /// this journal or a later one.
    pub(crate) fn refresh(&mut self) {
        if self.end_max <= ROTATION_BYTES_MIN {
            return;
        }
        while journal::path(&self.data, self.id + 1).exists() {
            self.id += 1;
            // It did not exist at the last look, so it holds nothing older.
            self.end_max = self.unseen;
            self.is_counted = self.has_looked;
        }
        self.unseen = 0;
        self.has_looked = true;
    }

    /// Counts a record that takes at most `bytes`.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.end_max += bytes;
        self.unseen += bytes;
        #[cfg(feature = "faults")]
        {
            self.last_record_bytes = bytes;
        }
    }

    /// For the fault [`ZeroLastRecord`](crate::fault::Fault::ZeroLastRecord).
    #[cfg(feature = "faults")]
    pub(super) fn last_record_bytes(&self) -> u64 {
        self.last_record_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{ActiveJournal, ROTATION_BYTES_MIN};
    use crate::engine_files::journal;

    enum Step {
        Wrote(u64),
        /// The engine begins this journal.
        Began(u64),
        Refresh,
        /// The expected journal and bound.
        Is(u64, Option<u64>),
    }
    use Step::{Began, Is, Refresh, Wrote};

    #[test]
    fn the_end_is_known_only_in_a_journal_that_was_begun_between_two_looks() {
        const FULL: u64 = 2 * ROTATION_BYTES_MIN;
        let cases: Vec<(&str, u64, Vec<Step>)> = vec![
            ("found at open", 0, vec![Refresh, Wrote(7), Refresh, Is(5, None)]),
            ("found full at open", FULL, vec![Refresh, Wrote(7), Refresh, Is(5, None)]),
            (
                "begun while the store was opened: what was written then is not counted",
                FULL,
                vec![Began(6), Refresh, Is(6, None), Wrote(7), Refresh, Is(6, None)],
            ),
            (
                "begun after a look, before or after the record",
                FULL,
                vec![
                    Refresh,
                    Wrote(7),
                    Began(6),
                    Is(5, None),
                    Refresh,
                    Is(6, Some(7)),
                    Wrote(2),
                    Is(6, Some(9)),
                ],
            ),
            (
                "begun after several groups that needed no look",
                0,
                vec![Wrote(5), Refresh, Wrote(FULL), Refresh, Wrote(3), Began(6), Refresh, Is(6, Some(3))],
            ),
            (
                "another one",
                FULL,
                vec![
                    Refresh,
                    Began(6),
                    Refresh,
                    Is(6, Some(0)),
                    Wrote(FULL),
                    Refresh,
                    Is(6, Some(FULL)),
                    Wrote(4),
                    Began(7),
                    Refresh,
                    Is(7, Some(4)),
                ],
            ),
            (
                "one that was not counted is followed by one that is",
                FULL,
                vec![Began(6), Refresh, Wrote(FULL), Refresh, Wrote(1), Began(7), Refresh, Is(7, Some(1))],
            ),
        ];
        for (case, bytes, steps) in cases {
            let dir = tempfile::tempdir().expect("there is room for a test's folder");
            let mut active = ActiveJournal::new(dir.path().to_owned(), 5, bytes);
            for step in steps {
                match step {
                    Wrote(bytes) => active.wrote(bytes),
                    Began(id) => {
                        drop(File::create(journal::path(dir.path(), id)).expect("a file is created"))
                    }
                    Refresh => active.refresh(),
                    Is(id, end_max) => assert_eq!((active.id(), active.end_max()), (id, end_max), "{case}"),
                }
            }
        }
    }
}
