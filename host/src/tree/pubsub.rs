//! `pubsub`: the bus that wakes followers. It starts from the end of the log, so it vouches for nothing before.

use exesdb_plugin::names;
use exesdb_pubsub::Bus;
use exesdb_storage::Store;
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
            match registry.get::<Store>(&names::store(&store)) {
                Some(storage) => bus.lost(storage.snapshot().next_position()),
                None => return Err(Reason::error("the store is not there; pubsub starts after it")),
            }
            Ok(Start::running(async move {
                context.shutdown().requested().await;
                drop(registration);
                Reason::Shutdown
            }))
        }
    })
}
