//! Why a store stops writing.

/// Why the store is poisoned: the first failure to write or sync. Nothing more is written until it is opened again.
pub(crate) struct PoisonReason(pub(crate) String);

impl PoisonReason {
    /// Converts an error; `what` is put before its message.
    pub(crate) fn failed<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self(format!("{what}: {error}"))
    }
}
