//! Components that keep durable subscriptions.
//!
//! [`Subscriptions`] is what is stored of them, [`Dispatch`] what they deliver to whom.

use std::marker::PhantomData;

use crate::panic;
use crate::types::{Decision, Error};
use crate::view::HostView;

/// What is stored of subscriptions. Register the type that implements it with [`persistence_plugin!`](crate::persistence_plugin).
pub use crate::bindings::store::subscriptions::exports::exesdb::store::subscriptions::Guest as Subscriptions;

/// What subscriptions deliver. Register the type that implements it with [`persistence_plugin!`](crate::persistence_plugin).
pub use crate::bindings::store::dispatch::exports::exesdb::store::dispatch::Guest as Dispatch;

pub use crate::bindings::store::common::exesdb::store::subscription_types::{
    Advance, Halting, NewSubscription, ParkedEvent, ParkedPage, ParkedScope, Parking, Place, PoisonPolicy,
    Progress, Selector, Settings, Strategy, Subscribed, Subscription, SubscriptionPage, SubscriptionRequest,
    SubscriptionState, Update,
};
pub use crate::bindings::store::dispatch::exports::exesdb::store::dispatch::{
    Beginning, ConsumerState, Delivered, Delivery, DispatcherState, EventNames, Fed, GuestDispatcher, Input,
    Joining, Leaving, Outcome, Output, Reading, Refusal, Refusing, Replaying, Resizing, Settling,
};

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: Subscriptions> Subscriptions for Registered<P> {
    fn decide(view: &HostView, requests: Vec<SubscriptionRequest>) -> Vec<Decision> {
        panic::install_hook();
        P::decide(view, requests)
    }

    fn describe(view: &HostView, name: String) -> Result<Subscription, Error> {
        panic::install_hook();
        P::describe(view, name)
    }

    fn list_subscriptions(
        view: &HostView,
        prefix: String,
        after: Option<String>,
        count: u32,
    ) -> Result<SubscriptionPage, Error> {
        panic::install_hook();
        P::list_subscriptions(view, prefix, after, count)
    }

    fn list_parked(
        view: &HostView,
        name: String,
        from: Place,
        count: u32,
        replayed: bool,
    ) -> Result<ParkedPage, Error> {
        panic::install_hook();
        P::list_parked(view, name, from, count, replayed)
    }
}

impl<P: Dispatch> Dispatch for Registered<P> {
    type Dispatcher = RegisteredDispatcher<P::Dispatcher>;
}

/// Wraps a dispatcher.
#[doc(hidden)]
pub struct RegisteredDispatcher<D>(D);

impl<D: GuestDispatcher> GuestDispatcher for RegisteredDispatcher<D> {
    fn new(beginning: Beginning) -> Self {
        panic::install_hook();
        Self(D::new(beginning))
    }

    fn step(&self, now: u64, inputs: Vec<Input>) -> Outcome {
        self.0.step(now, inputs)
    }

    fn state(&self) -> DispatcherState {
        self.0.state()
    }
}
