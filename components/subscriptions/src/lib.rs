//! The subscriptions component that ships with exesdb. It keeps durable subscriptions, and decides what they deliver.
//!
//! The rules are functions over a [`View`](exesdb_sdk::view::View), and a [`Dispatcher`] without clock
//! and effects; both are tested natively. This file connects them to the host.
//!
//! # Keyspaces
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `subscriptions` | name | definition |
//! | `progress` | name | format (1, one byte), epoch, checkpoint, number of parked events, number of changes |
//! | `parked` | name, a zero byte, place | format (1, one byte), time when it was parked, number of deliveries, reason |
//! | `replayed` | name, a zero byte, place | nothing: the parked event is to be delivered once more |
//! | `epochs` | `last` | format (1, one byte), the last epoch of any subscription |
//!
//! Whole numbers have 8 bytes and are big-endian. Names have no control characters, so a zero byte terminates them. A text is
//! its length in 2 bytes and its UTF-8. Times are microseconds since 1970-01-01T00:00:00 UTC.
//!
//! A definition consists of, in this order: format (1, one byte); times of its creation and of its last change; start; state (one
//! byte: 0 active, 1 paused, 2 halted, and then the reason); strategy and policy for poison (one byte each); the six numbers
//! of the settings in the order of the WIT; options; source (one byte: 0 one stream, and then its id; 1 the whole store; 2 the
//! whole store with a filter, and then that); pattern. A list is the number of its items and these, an option is one byte, 0
//! or 1, and what it has. The members of filters and options are in the order of the WIT.
//!
//! Every subscription has a definition and a progress. Its number of parked events is that of its entries in `parked`, and
//! each entry in `replayed` has one there.

pub mod check;
pub mod decide;
pub mod dispatch;
pub mod layout;
pub mod maintenance;
pub mod read;

use std::cell::RefCell;

use exesdb_sdk::describe::{Description, description};
use exesdb_sdk::maintenance::{Cursor, Maintenance, ScavengeStep, VerifyStep};
use exesdb_sdk::subscriptions::{
    self, Beginning, DispatcherState, GuestDispatcher, Input, Outcome, ParkedPage, Place, Subscription,
    SubscriptionPage, SubscriptionRequest,
};
use exesdb_sdk::types::{Decision, Error};
use exesdb_sdk::view::HostView;

use crate::dispatch::Dispatcher;

/// The component.
pub struct Subscriptions;

impl subscriptions::Subscriptions for Subscriptions {
    fn decide(view: &HostView, requests: Vec<SubscriptionRequest>) -> Vec<Decision> {
        decide::decide(view, &requests)
    }

    fn describe(view: &HostView, name: String) -> Result<Subscription, Error> {
        read::describe(view, &name)
    }

    fn list_subscriptions(
        view: &HostView,
        prefix: String,
        after: Option<String>,
        count: u32,
    ) -> Result<SubscriptionPage, Error> {
        read::list(view, &prefix, after.as_deref(), count)
    }

    fn list_parked(
        view: &HostView,
        name: String,
        from: Place,
        count: u32,
        replayed: bool,
    ) -> Result<ParkedPage, Error> {
        read::list_parked(view, &name, from, count, replayed)
    }
}

impl Maintenance for Subscriptions {
    fn scavenge(_: &HostView, from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        maintenance::scavenge(from.as_ref())
    }

    fn verify(view: &HostView, from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        maintenance::verify(view, from.as_ref(), repair)
    }
}

impl subscriptions::Dispatch for Subscriptions {
    type Dispatcher = InstanceDispatcher;
}

/// A dispatcher that the host has made in this instance.
pub struct InstanceDispatcher(RefCell<Dispatcher>);

impl GuestDispatcher for InstanceDispatcher {
    fn new(beginning: Beginning) -> Self {
        Self(RefCell::new(Dispatcher::new(beginning)))
    }

    fn step(&self, now: u64, inputs: Vec<Input>) -> Outcome {
        self.0.borrow_mut().step(now, inputs)
    }

    fn state(&self) -> DispatcherState {
        self.0.borrow_mut().state()
    }
}

/// The version of the layout in keyspaces. It goes up when older builds of this component could not read the new layout.
pub const STATE_VERSION: u32 = 1;

/// Describes the component.
#[must_use]
pub fn describe() -> Description {
    description("subscriptions", STATE_VERSION)
}

#[cfg(feature = "export")]
exesdb_sdk::persistence_plugin!(Subscriptions: subscriptions, dispatch, maintenance);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
