//! Waiting for the engine's flushes and compactions, with an end.
//!
//! fjall makes a writer wait when they are behind: without end, and without noticing that its workers are gone. Whoever
//! writes here waits on its own instead, before fjall would.

use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, PersistMode};

/// Sealed memtables of one keyspace at which a writer waits. fjall halts at 4, inside the write; a group of commits
/// adds at most one.
const SEALED_MEMTABLES_MAX: usize = 3;

/// Tables in level 0 of one keyspace at which a writer waits. fjall halts at 30 runs.
const LEVEL_0_TABLES_MAX: usize = 28;

/// How often who waits looks again. fjall's own waits are 10 to 100 ms.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// Whether nothing should be written to a keyspace now.
pub(crate) fn is_crowded(keyspace: &Keyspace) -> bool {
    keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX
        || keyspace.l0_table_count() >= LEVEL_0_TABLES_MAX
}

/// Waits for as long as `busy` names a keyspace. An error when a worker of the engine has failed, or when the wait
/// takes longer than `limit`; time that is `excused` when it is looked at counts anew from there.
pub(crate) fn wait(
    database: &Database,
    limit: Duration,
    busy: impl Fn() -> Option<String>,
    excused: impl Fn() -> bool,
) -> Result<(), String> {
    let mut since = Instant::now();
    while let Some(keyspace) = busy() {
        // The only way to ask fjall whether a worker of it has failed.
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
    fn a_wait_ends_with_its_cause_or_at_its_limit_unless_it_is_excused() {
        let dir = tempfile::tempdir().unwrap();
        let database = fjall::Database::builder(dir.path()).open().unwrap();
        let limit = Duration::from_millis(1);
        let looks = Cell::new(0);
        let busy_for = |times: u32| {
            looks.set(0);
            let looks = &looks;
            move || {
                looks.set(looks.get() + 1);
                (looks.get() <= times).then(|| "a.b".to_owned())
            }
        };
        assert_eq!(wait(&database, limit, busy_for(0), || false), Ok(()));
        let error = wait(&database, limit, busy_for(u32::MAX), || false).unwrap_err();
        assert!(error.contains("a.b") && error.contains("1 ms"), "{error}");
        // Twenty looks take far longer than the limit.
        assert_eq!(wait(&database, limit, busy_for(20), || true), Ok(()));
        assert_eq!(looks.get(), 21);
        let excused = Cell::new(10u32);
        let for_a_time = || excused.replace(excused.get().saturating_sub(1)) > 0;
        wait(&database, limit, busy_for(u32::MAX), for_a_time).unwrap_err();
        assert_eq!(excused.get(), 0, "and the limit counts from the end of the excuse");
    }
}
