//! `exesdb:host/config`.

use crate::bindings::store::config::Host;
use crate::bindings::store::fields::Field;
use crate::gateway::steps::limits;
use crate::state::State;

impl Host for State {
    fn get(&mut self, name: String) -> Option<String> {
        self.context.settings.get(&name).cloned()
    }

    fn all(&mut self) -> Vec<Field> {
        let field = |(name, value): (&String, &String)| Field { name: name.clone(), value: value.clone() };
        self.context.settings.iter().map(field).collect()
    }

    fn about(&mut self, name: String) -> Option<String> {
        let limits = &self.context.limits;
        if self.context.role == "gateway"
            && let Some(value) = about_gateway(&name)
        {
            return Some(value);
        }
        match name.as_str() {
            "allowed-hosts" => self.calls_out.allowed_hosts(),
            "store" => Some(self.context.store.clone()),
            "host-version" => Some(env!("CARGO_PKG_VERSION").to_owned()),
            "limits.call-cpu-ms" => Some(limits.call_cpu_ms.to_string()),
            "limits.memory-mib" => Some((limits.memory_bytes >> 20).to_string()),
            "limits.request-events" => Some(exesdb_storage::limits::BATCH_EVENTS_MAX.to_string()),
            "limits.request-bytes" => Some(exesdb_storage::limits::BATCH_BYTES_MAX.to_string()),
            _ => None,
        }
    }
}

fn about_gateway(name: &str) -> Option<String> {
    match name {
        "mount" => Some(limits::MOUNT.to_owned()),
        "limits.inline-body" => Some(limits::INLINE_BODY_BYTES_MAX.to_string()),
        "limits.piece-bytes" => Some(limits::PIECE_BYTES_MAX.to_string()),
        "limits.held-bytes" => Some(limits::HELD_BYTES_MAX.to_string()),
        _ => None,
    }
}
