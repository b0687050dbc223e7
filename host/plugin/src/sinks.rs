//! Sinks: components that take the events of durable subscriptions, and send them elsewhere or write them down.
//!
//! A sink is a supervised child and a consumer of its subscription. Its [`driver`] takes a batch, calls the sink's
//! [`instance`](mod@instance), which is [checked](check), and acknowledges, refuses or gives back what the [`rules`] say. So
//! checkpoints, redelivery and parking are the subscription's. What outlives the child is here: what is suspected of events,
//! whether the receiver is there, and the [`status`].

mod batch;
mod check;
mod driver;
mod instance;
mod joined;
mod plugin;
mod rules;
mod shared;
mod status;
mod supervisor;

use std::sync::Arc;

use parking_lot::Mutex;

use self::rules::Rules;
use self::status::Status;
use crate::emitters::Suspicion;
use crate::grants::Grants;
use crate::installed::Installed;

pub use plugin::SinkPlugin;

/// A sink as it is configured.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Its name in the store.
    pub name: String,
    /// The durable subscription whose events it takes.
    pub subscription: String,
    /// Events of a batch, 1 to 1,000.
    pub batch_events: u32,
    /// What it may use outside of itself.
    pub grants: Grants,
}

/// The sinks of one store. They outlive their children.
pub struct Sinks(Vec<Arc<Sink>>);

/// A sink: what outlives its child.
struct Sink {
    spec: SinkSpec,
    installed: Arc<Installed<SinkPlugin>>,
    suspicion: Mutex<Suspicion>,
    rules: Mutex<Rules>,
    status: Mutex<Status>,
}

impl Sinks {
    /// Those of a store, of which no component is loaded yet.
    #[must_use]
    pub fn new(specs: impl IntoIterator<Item = SinkSpec>) -> Arc<Self> {
        let sink = |spec| {
            Arc::new(Sink {
                spec,
                installed: Arc::default(),
                suspicion: Mutex::default(),
                rules: Mutex::default(),
                status: Mutex::default(),
            })
        };
        Arc::new(Self(specs.into_iter().map(sink).collect()))
    }

    /// The names of the sinks, with the place of each one's component.
    pub fn components(&self) -> impl Iterator<Item = (&str, &Arc<Installed<SinkPlugin>>)> {
        self.0.iter().map(|sink| (sink.spec.name.as_str(), &sink.installed))
    }

    /// The names of the sinks that do not get on, each with what it waits for.
    #[must_use]
    pub fn troubles(&self) -> Vec<(String, String)> {
        let trouble = |sink: &Arc<Sink>| Some((sink.spec.name.clone(), sink.status.lock().trouble()?));
        self.0.iter().filter_map(trouble).collect()
    }
}
