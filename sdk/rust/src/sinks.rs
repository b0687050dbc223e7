//! Sinks: components that take the events of a durable subscription.
//!
//! ```
//! use exesdb_sdk::packed::Events;
//! use exesdb_sdk::sinks::{Batch, Failure, Outcome, Sink};
//!
//! /// Counts events, and takes none of the type `secret`.
//! struct Counter;
//!
//! impl Sink for Counter {
//!     fn deliver(batch: Batch) -> Outcome {
//!         let mut done = 0;
//!         for event in Events::new(&batch.events) {
//!             let (position, event) = event.expect("the host checks what it passes");
//!             if event.event_type == "secret" {
//!                 let reason = format!("the event at position {position} is secret");
//!                 return Outcome { done, failure: Some(Failure::Rejected(reason)) };
//!             }
//!             exesdb_sdk::logging::info(event.stream_id);
//!             done += 1;
//!         }
//!         Outcome { done, failure: None }
//!     }
//! }
//!
//! exesdb_sdk::sink_plugin!(Counter);
//!
//! // In a test, with the feature `testing`.
//! use exesdb_sdk::events::EventData;
//! use exesdb_sdk::sinks::testing::{batch, deliver};
//!
//! let event = |event_type: &str| ("s", EventData { event_type: event_type.into(), ..EventData::default() });
//! let outcome = deliver::<Counter>(batch([event("a"), event("secret")]));
//! assert_eq!((outcome.done, outcome.failure.is_some()), (1, true));
//! ```
//!
//! The operator grants a sink hosts (`allowed_hosts`) and a directory (`directory`). It uses them through [`wasip2`], or
//! through the standard library if it is built for `wasm32-wasip2`.

#[cfg(feature = "testing")]
pub mod testing;

use std::marker::PhantomData;

use crate::panic;

pub use wasip2;

use crate::bindings::store::sink::exports::exesdb::store::sink::Guest;

pub use crate::bindings::store::sink::exports::exesdb::store::sink::{
    Batch, Failure, Outcome, Unavailability,
};

/// A sink. Register the type that implements it with [`sink_plugin!`](crate::sink_plugin).
pub trait Sink {
    /// Checks the settings and what was granted, when the component is loaded. It sends nothing and writes nothing.
    ///
    /// # Errors
    ///
    /// Which setting is wrong and what it must be, in at most 1 KiB. The store does not start with it.
    fn check() -> Result<(), String> {
        Ok(())
    }

    /// Delivers events: at least one, or says why not.
    fn deliver(batch: Batch) -> Outcome;
}

impl Outcome {
    /// All events of a batch, or the first ones of it, are done.
    #[must_use]
    pub fn done(done: u32) -> Self {
        Self { done, failure: None }
    }

    /// So many events are done, and the next one is not.
    #[must_use]
    pub fn failed(done: u32, failure: Failure) -> Self {
        Self { done, failure: Some(failure) }
    }
}

/// The failure of an event for which the receiver is not there.
#[must_use]
pub fn unavailable(reason: impl Into<String>) -> Failure {
    Failure::Unavailable(Unavailability { reason: reason.into(), retry_after_ms: None })
}

/// Wraps the registered sink in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<S>(PhantomData<S>);

impl<S: Sink> Guest for Registered<S> {
    fn check() -> Result<(), String> {
        panic::install_hook();
        S::check()
    }

    fn deliver(batch: Batch) -> Outcome {
        panic::install_hook();
        S::deliver(batch)
    }
}

/// Makes this crate a sink: exports the interface of a type that implements [`Sink`](crate::sinks::Sink). Use it once per
/// component. It expands to nothing on targets other than WebAssembly, so that the rules can be tested there.
#[macro_export]
macro_rules! sink_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::sinks::Registered<$plugin>;
            $crate::bindings::store::sink::export_sink!(
                Registered with_types_in $crate::bindings::store::sink
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<S: $crate::sinks::Sink>() {}
            implements::<$plugin>();
        };
    };
}
