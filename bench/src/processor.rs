//! The processor time that a process took, as Linux counts it for each thread.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;

/// The processor time that each thread of a process has taken since it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessorTime(BTreeMap<String, Duration>);

impl ProcessorTime {
    /// That of a running process.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        let entries = std::fs::read_dir(&folder);
        for thread in
            entries.with_context(|| format!("the system has no {folder}, which tells processor time"))?
        {
            let thread = thread?;
            // A thread that ended meanwhile has no such file.
            let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
            let time = parse(&text).with_context(|| format!("{folder}: a strange schedstat: {text}"))?;
            threads.insert(thread.file_name().to_string_lossy().into_owned(), time);
        }
        anyhow::ensure!(!threads.is_empty(), "the system has no schedstat of a thread below {folder}");
        Ok(Self(threads))
    }

    /// What the process has taken since `earlier`, but for threads that have ended.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let threads = self.0.iter().map(|(thread, now)| {
            let before = earlier.0.get(thread).copied().unwrap_or_default();
            // Less than before: the number of a thread that ended was given to a new one.
            now.checked_sub(before).unwrap_or(*now)
        });
        threads.sum()
    }
}

/// The first number of a `schedstat`: nanoseconds on a processor. The others are the time spent waiting for one, and how
/// often the thread was given one.
fn parse(schedstat: &str) -> Option<Duration> {
    let mut numbers = schedstat.split_whitespace().map(str::parse);
    let (Ok(running), Ok(_waiting), Ok(_times)) = (numbers.next()?, numbers.next()?, numbers.next()?) else {
        return None;
    };
    numbers.next().is_none().then_some(Duration::from_nanos(running))
}

#[cfg(test)]
mod tests {
    use super::{ProcessorTime, parse};
    use std::time::Duration;

    #[test]
    fn a_schedstat_is_three_numbers() {
        let table = [
            ("1234567 89 10\n", Some(1_234_567)),
            ("0 0 0", Some(0)),
            ("18446744073709551615 1 1\n", Some(u64::MAX)),
            ("18446744073709551616 1 1\n", None),
            ("", None),
            ("\n", None),
            ("1 2\n", None),
            ("1 2 3 4\n", None),
            ("-1 2 3\n", None),
            ("x 2 3\n", None),
            ("1 x 3\n", None),
        ];
        for (text, nanoseconds) in table {
            assert_eq!(parse(text), nanoseconds.map(Duration::from_nanos), "{text:?}");
        }
    }

    /// Numbers of threads, and their nanoseconds.
    type Threads = &'static [(&'static str, u64)];

    #[test]
    fn time_is_counted_thread_by_thread() {
        let times = |threads: Threads| {
            let threads =
                threads.iter().map(|(thread, time)| ((*thread).into(), Duration::from_nanos(*time)));
            ProcessorTime(threads.collect())
        };
        let table: [(&str, Threads, Threads, u64); 5] = [
            ("nothing was done", &[("1", 5), ("2", 7)], &[("1", 5), ("2", 7)], 0),
            ("both worked", &[("1", 5), ("2", 7)], &[("1", 6), ("2", 17)], 11),
            ("a thread began", &[("1", 5)], &[("1", 6), ("2", 3)], 4),
            ("a thread ended", &[("1", 5), ("2", 100)], &[("1", 6)], 1),
            ("its number was used again", &[("1", 5), ("2", 100)], &[("1", 6), ("2", 10)], 11),
        ];
        for (what, before, now, expected) in table {
            assert_eq!(times(now).since(&times(before)), Duration::from_nanos(expected), "{what}");
        }
    }

    #[test]
    fn a_process_that_works_takes_processor_time() {
        let before = ProcessorTime::of(std::process::id()).expect("the times of this process");
        let worked = (0..20_000_000_u64).fold(1, |hash: u64, number| std::hint::black_box(hash ^ number));
        let now = ProcessorTime::of(std::process::id()).expect("the times of this process");
        assert!(now.since(&before) > Duration::ZERO, "{worked}");
        // The largest number that a process can have is 2^22.
        assert!(ProcessorTime::of(1 << 23).is_err());
    }
}
