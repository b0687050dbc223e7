//! How many files the process may have open, and what they are for.

use anyhow::Context as _;
use exesdb_gateway::CONNECTIONS_MAX;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Table files that a database keeps open if there are enough files.
const TABLES: usize = 900;

/// The least that the storage accepts.
const TABLES_MIN: usize = exesdb_storage::limits::OPEN_TABLES_MIN;

/// Files of a database besides the tables that it keeps open: journals, locks, and those that a flush, a compaction and a
/// backup have open meanwhile.
const FILES_BESIDE_TABLES: usize = 100;

/// Files of the host itself: the control socket, logs, those of the runtime.
const FILES_OF_HOST: usize = 100;

/// With fewer connections the host does not start.
const CONNECTIONS_MIN: usize = 64;

/// If there are few files, one in so many is for connections.
const CONNECTIONS_SHARE: usize = 4;

/// What the files are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilePlan {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Tables that each database keeps open.
    pub(crate) open_tables: usize,
}

impl FilePlan {
    /// Divides files among the databases of the stores and the connections. None if there are too few.
    pub(crate) fn of(files: usize, stores: usize) -> Option<Self> {
        let stores = stores.max(1);
        let files = files.checked_sub(FILES_OF_HOST)?;
        let whole = stores * (TABLES + FILES_BESIDE_TABLES);
        if let Some(connections) = files.checked_sub(whole).filter(|spare| *spare >= CONNECTIONS_MIN) {
            return Some(Self { connections: connections.min(CONNECTIONS_MAX), open_tables: TABLES });
        }
        let connections = (files / CONNECTIONS_SHARE).max(CONNECTIONS_MIN);
        let of_store = files.checked_sub(connections)? / stores;
        let open_tables = of_store.checked_sub(FILES_BESIDE_TABLES).filter(|tables| *tables >= TABLES_MIN)?;
        Some(Self { connections: connections.min(CONNECTIONS_MAX), open_tables: open_tables.min(TABLES) })
    }

    /// Whether databases close tables that they would keep open if there were more files.
    pub(crate) fn is_tight(&self) -> bool {
        self.open_tables < TABLES
    }

    /// The fewest files that are enough for the stores.
    fn least(stores: usize) -> usize {
        let of_stores = stores.max(1) * (TABLES_MIN + FILES_BESIDE_TABLES);
        // The databases get what the connections' share leaves.
        let rest = of_stores * CONNECTIONS_SHARE / (CONNECTIONS_SHARE - 1) + CONNECTIONS_SHARE;
        FILES_OF_HOST + rest.max(of_stores + CONNECTIONS_MIN)
    }
}

/// Raises the process's limit on open files as far as the system allows, and divides them.
pub(crate) fn raise(stores: usize) -> anyhow::Result<FilePlan> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit on open files")?;
    let files = limit.maximum.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    let plan = FilePlan::of(files, stores).with_context(|| {
        format!(
            "{} at least {} open files, and this process may have {files}; raise the limit (ulimit -n)",
            if stores == 1 { "a store needs".to_owned() } else { format!("{stores} stores need") },
            FilePlan::least(stores)
        )
    })?;
    if plan.is_tight() {
        tracing::warn!(
            files,
            open_tables = plan.open_tables,
            connections = plan.connections,
            "this process may open few files, so large stores read slower; raise the limit (ulimit -n)"
        );
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS_MIN, FILES_BESIDE_TABLES, FILES_OF_HOST, FilePlan, TABLES_MIN};

    #[test]
    fn databases_and_connections_share_the_files() {
        let plan = |connections, open_tables| Some(FilePlan { connections, open_tables });
        for (files, stores, expected) in [
            (usize::MAX, 1, plan(8_192, 900)),
            (1 << 20, 256, plan(8_192, 900)),
            (4_096, 1, plan(2_996, 900)),
            (1_164, 1, plan(64, 900)),
            (1_163, 1, plan(265, 698)),
            (1_024, 1, plan(231, 593)),
            (1_024, 3, plan(231, 131)),
            (1_024, 5, plan(231, 38)),
            (1_024, 6, None),
            (256, 1, None),
            (0, 1, None),
        ] {
            assert_eq!(FilePlan::of(files, stores), expected, "{files} files, {stores} stores");
        }
    }

    #[test]
    fn a_plan_never_exceeds_the_limit() {
        for stores in [1, 2, 7, 100] {
            let mut least = None;
            for files in 0..200_000 {
                let Some(plan) = FilePlan::of(files, stores) else {
                    assert!(
                        least.is_none(),
                        "{files} files are too few for {stores} stores, and fewer were enough"
                    );
                    continue;
                };
                least.get_or_insert(files);
                let used =
                    FILES_OF_HOST + plan.connections + stores * (plan.open_tables + FILES_BESIDE_TABLES);
                assert!(used <= files, "{files} files, {stores} stores: {plan:?}");
                assert!(plan.connections >= CONNECTIONS_MIN && plan.open_tables >= TABLES_MIN);
            }
            let least = least.expect("there are enough files in the end");
            assert!((least..least + 16).contains(&FilePlan::least(stores)), "{stores}: {least}");
        }
    }
}
