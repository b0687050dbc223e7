//! A sink as a consumer of its subscription.

use std::time::Duration;

use crate::bindings::store::dispatch::EventNames;
use crate::emitters::{Attachment, Emitters, Settlement};

/// How long a sink waits until its subscription has heard it. After that, the events are delivered again.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);

/// A sink as a consumer. What it has goes back when it leaves, and counts against no event.
pub(super) struct Joined<'a> {
    pub(super) emitters: &'a Emitters,
    pub(super) subscription: &'a str,
    pub(super) attachment: Attachment,
}

impl Joined<'_> {
    /// Settles events; whether the subscription has heard it.
    pub(super) async fn settle(&self, places: Vec<u64>, settlement: Settlement) -> bool {
        let (name, consumer) = (self.subscription, self.attachment.consumer());
        let settled = self.emitters.settle(name, consumer, EventNames::Places(places), settlement);
        matches!(tokio::time::timeout(SETTLE_PATIENCE, settled).await, Ok(Ok(_)))
    }
}
