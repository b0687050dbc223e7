//! What is left of a host that was killed or stopped under load.
//!
//! `EXESDB_CRASH_ROUNDS` sets how often the host is killed in each of the tests that do so (default 10), and
//! `EXESDB_TEST_SEED` the moments.

mod crash;
mod import;
mod stop;
