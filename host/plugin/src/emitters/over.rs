//! Why an emitter is over.

use crate::bindings::store::types::Error;
use crate::crash::Crash;

/// Why an emitter is over.
pub(super) enum Over {
    /// Its work is done, or is another one's by now.
    Done,
    /// Its instance has ended.
    Crashed(Box<Crash>),
    /// Something does not work that a restart may cure.
    Failed(Error),
}

impl From<Box<Crash>> for Over {
    fn from(crash: Box<Crash>) -> Self {
        Self::Crashed(crash)
    }
}
