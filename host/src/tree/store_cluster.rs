//! `store-cluster`: membership. On a single node the store is its own cluster: it reports that and is ready.

use exesdb_supervisor::{ChildSpec, Context, Reason, Start};

pub(super) fn child() -> ChildSpec {
    ChildSpec::worker("store-cluster", |context: Context| async move {
        let detail = serde_json::json!({ "mode": "single-node", "members": 1, "ready": true });
        context.telemetry().emit(context.path(), "membership", detail);
        Ok(Start::running(async move {
            context.shutdown().requested().await;
            Reason::Shutdown
        }))
    })
}
