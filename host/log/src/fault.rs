//! Faults that are injected to show that the tests find them.
//!
//! **Only for tests.** Each breaks a promise of this crate. They exist only with the feature `faults`, which no release
//! turns on.

/// A promise to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Callbacks are called once the records are written, before they are synced.
    CallbackBeforeSync,
    /// States alone are not synced.
    StateNotSynced,
}
