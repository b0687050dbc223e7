//! `pubsub`: the bus that wakes followers. It starts at the end of the log and knows nothing of earlier events. While the
//! store is being opened there is no end yet; `store` tells the bus later.

use exesdb_plugin::{StoreAccess, names};
use exesdb_pubsub::Bus;
use exesdb_supervisor::{ChildSpec, Context, Reason, Start};

pub(super) fn child(store: &str) -> ChildSpec {
    let store = store.to_owned();
    ChildSpec::worker("pubsub", move |context: Context| {
        let store = store.clone();
        async move {
            let registry = context.registry();
            // Registered before the end of the log is read, so that no append falls between the two.
            let bus = Bus::new(0);
            let registration = registry.register(names::pubsub(&store), bus.clone());
            if let Some(access) = registry.get::<StoreAccess>(&names::store(&store)) {
                bus.resync(access.reader().next_position());
            }
            Ok(Start::running(async move {
                context.shutdown().requested().await;
                drop(registration);
                Reason::Shutdown
            }))
        }
    })
}
