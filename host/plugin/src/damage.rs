//! Reports damaged data: to the operator in the log, with details, and to clients without them.

use std::time::Instant;

use exesdb_storage::EngineFailure;

use crate::context::ComponentContext;
use crate::trace::new_id;

impl ComponentContext {
    /// Logs that data is damaged, with the engine's message, and returns the error for clients.
    pub(crate) fn report_damage(&self, place: &str, failure: &EngineFailure) -> String {
        let incident = new_id();
        if let Some(dropped) = self.damage_rate.lock().admit(Instant::now()) {
            tracing::error!(
                incident,
                store = self.store,
                component = self.role,
                place,
                reason = failure.reason,
                engine = failure.said,
                dropped,
                "the store's data is damaged: stop the host, copy the store's folder, and run `exesdb doctor`"
            );
        }
        damaged_for_client(&incident)
    }
}

/// The error for a client that reads damaged data. It has no details of the disk: those are in the operator's log.
fn damaged_for_client(incident: &str) -> String {
    format!(
        "the store's data is damaged, so that what was asked for cannot be read (incident {incident} in the host's log); \
         the operator has to run `exesdb doctor`, which says what is damaged and what can be done"
    )
}
