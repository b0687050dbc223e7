//! Faults that are injected to show that the tests find them.
//!
//! **Only for tests.** Each breaks a promise of durable subscriptions. They exist only with the feature `faults`, which no
//! release turns on.

use std::sync::OnceLock;

use tokio::sync::oneshot;

use crate::bindings::store::dispatch::{EventNames, Input, Settling};
use crate::bindings::store::subscription_types::Advance;

/// A promise to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A checkpoint is stored at the place up to which was read, whether that is acknowledged or not.
    CheckpointBeforeAck,
    /// What is in flight at a consumer that fails is not delivered again.
    LoseRedelivery,
    /// A filtered read leaves out the position at which it reaches the end of the store and becomes live.
    SkipAtSwitch,
}

/// The one that this process injects.
static INJECTED: OnceLock<Fault> = OnceLock::new();

/// Makes this process inject a fault. Only the first call counts.
pub fn inject(fault: Fault) {
    INJECTED.get_or_init(|| fault);
}

/// Whether this process injects a fault.
pub(crate) fn injects(fault: Fault) -> bool {
    INJECTED.get() == Some(&fault)
}

/// What is stored instead of this, if everything before `read` was read.
pub(crate) fn checkpoint(advance: Advance, read: Option<u64>) -> Advance {
    match read {
        Some(read) if injects(Fault::CheckpointBeforeAck) => {
            Advance { checkpoint: advance.checkpoint.max(read), ..advance }
        }
        _ => advance,
    }
}

/// What a consumer says of the events in flight at it when it fails: of as many as one word may name, which is more than the
/// tests have.
pub(crate) fn last_word(consumer: u64) -> Option<(Input, oneshot::Sender<u32>)> {
    const NAMES_MAX: u64 = 10_000;
    injects(Fault::LoseRedelivery).then(|| {
        let events = EventNames::Places((0..NAMES_MAX).collect());
        (Input::Acknowledged(Settling { consumer, events }), oneshot::channel().0)
    })
}
