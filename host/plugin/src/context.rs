//! What all instances of one component of one store share.

use std::collections::BTreeMap;
use std::sync::Arc;

use exesdb_supervisor::{Registry, Telemetry};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::limits::Limits;
use crate::log_rate::LogRate;
use crate::names;

/// The kind of telemetry about a durable subscription; its detail `is` says what became of it.
pub(crate) const SUBSCRIPTION: &str = "subscription";

/// The context of a component in a store.
pub struct ComponentContext {
    /// The store's name.
    pub store: String,
    /// The component's role in the store: `streams`, `snapshots`, `subscriptions`, `gateway` or `sink`. Names its keyspaces, too, so that a
    /// replacement finds its predecessor's data.
    pub role: &'static str,
    /// The operator's settings for the component.
    pub settings: BTreeMap<String, String>,
    /// What each instance may use.
    pub limits: Limits,
    /// The instances' time of day.
    pub clock: Clock,
    /// Finds the store's other parts, at the time of use.
    pub registry: Registry,
    /// Receives events such as traps.
    pub telemetry: Telemetry,
    /// Bounds the warnings about crashes, which clients can cause at will.
    pub(crate) crash_rate: Mutex<LogRate>,
    /// Bounds the errors about damaged data.
    pub(crate) damage_rate: Mutex<LogRate>,
}

impl ComponentContext {
    /// The context of the component that has this role in this store.
    pub fn new(
        store: &str,
        role: &'static str,
        settings: BTreeMap<String, String>,
        limits: Limits,
        clock: Clock,
        registry: Registry,
        telemetry: Telemetry,
    ) -> Arc<Self> {
        Arc::new(Self {
            store: store.to_owned(),
            role,
            settings,
            limits,
            clock,
            registry,
            telemetry,
            crash_rate: Mutex::default(),
            damage_rate: Mutex::default(),
        })
    }

    /// Writes to the telemetry what became of a durable subscription, and why.
    pub(crate) fn report_subscription(&self, name: &str, is: &str, reason: Option<&str>) {
        let detail = serde_json::json!({ "name": name, "is": is, "reason": reason });
        self.telemetry.emit(&names::child(&self.registry, &self.store), SUBSCRIPTION, detail);
    }
}
