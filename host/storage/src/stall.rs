//! Waiting for the engine's flushes and compactions, with a limit.
//!
//! fjall makes a writer wait while they are behind, without end and without noticing that its workers are gone. So this
//! crate's writers wait themselves, before fjall would make them.

use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, PersistMode};

/// Sealed memtables of one keyspace at which a writer waits. fjall halts at 4, inside the write; a group of commits
/// adds at most one.
const SEALED_MEMTABLES_MAX: usize = 3;

/// Tables in level 0 of one keyspace at which a writer waits. fjall halts at 30 runs.
const LEVEL_0_TABLES_MAX: usize = 28;

/// Pause between two checks while waiting. fjall's own pauses are 10 to 100 ms.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// Whether writes to a keyspace should wait.
pub(crate) fn is_crowded(keyspace: &Keyspace) -> bool {
    keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX
        || keyspace.l0_table_count() >= LEVEL_0_TABLES_MAX
}

/// Waits while `busy` names a keyspace. Fails if a worker of the engine has failed, or the wait exceeds `limit`. Whenever
/// `excused` is true the limit counts from there.
pub(crate) fn wait(
    database: &Database,
    limit: Duration,
    busy: impl Fn() -> Option<String>,
    excused: impl Fn() -> bool,
) -> Result<(), String> {
    let mut since = Instant::now();
    while let Some(keyspace) = busy() {
        // The only way to ask fjall whether one of its workers has failed.
        database
            .persist(PersistMode::Buffer)
            .map_err(|error| format!("a flush or compaction failed: {error}"))?;
        if excused() {
            since = Instant::now();
        }
        if since.elapsed() > limit {
            return Err(format!(
                "flushing {keyspace} made no progress for {} ms; the disk may be full or failing",
                limit.as_millis()
            ));
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::wait;

    #[test]
    fn a_wait_ends_with_its_cause_or_at_its_limit_unless_excused() {
        let dir = tempfile::tempdir().unwrap();
        let database = fjall::Database::builder(dir.path()).open().unwrap();
        let limit = Duration::from_millis(1);
        let checks = Cell::new(0);
        let busy_for = |times: u32| {
            checks.set(0);
            let checks = &checks;
            move || {
                checks.set(checks.get() + 1);
                (checks.get() <= times).then(|| "a.b".to_owned())
            }
        };
        assert_eq!(wait(&database, limit, busy_for(0), || false), Ok(()));
        let error = wait(&database, limit, busy_for(u32::MAX), || false).unwrap_err();
        assert!(error.contains("a.b") && error.contains("1 ms"), "{error}");
        // Twenty checks take far longer than the limit.
        assert_eq!(wait(&database, limit, busy_for(20), || true), Ok(()));
        assert_eq!(checks.get(), 21);
        let excused = Cell::new(10u32);
        let for_a_time = || excused.replace(excused.get().saturating_sub(1)) > 0;
        wait(&database, limit, busy_for(u32::MAX), for_a_time).unwrap_err();
        assert_eq!(excused.get(), 0, "the limit counts from the end of the excuse");
    }
}
