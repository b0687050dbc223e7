//! The subscriptions component: its exports and its changes, and the pool's functions that call them.

use std::sync::Arc;

use exesdb_pubsub::Bus;
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Resource, ResourceAny, TypedFunc};

use super::decider::appended::Appended;
use super::decider::changes::Change;
use super::exports::Missing;
use super::exports::{Function, ViewParam, exports};
use super::kind::Kind;
use super::maintenance::{self, Maintained};
use super::pool::{Pool, Target};
use crate::bindings::store::decisions::Decision;
use crate::bindings::store::dispatch::{Beginning, DispatcherState, Input, Outcome};
use crate::bindings::store::subscription_types::{
    NewSubscription, ParkedPage, Subscription, SubscriptionPage, SubscriptionRequest,
};
use crate::bindings::store::types::Error;
use crate::caller::Caller;
use crate::state::State;
use crate::view::View;

exports! {
    subscriptions: "exesdb:store/subscriptions@0.2.0";
    decide: TypedFunc<(ViewParam, Vec<Arc<SubscriptionRequest>>), (Vec<Decision>,)> = "decide",
    describe: Function<(ViewParam, String), Subscription> = "describe",
    list: Function<(ViewParam, String, Option<String>, u32), SubscriptionPage> = "list-subscriptions",
    list_parked: Function<(ViewParam, String, u64, u32, bool), ParkedPage> = "list-parked",
}

exports! {
    dispatch: "exesdb:store/dispatch@0.2.0";
    new: TypedFunc<(Beginning,), (ResourceAny,)> = "[constructor]dispatcher",
    step: TypedFunc<(ResourceAny, u64, Vec<Input>), (Outcome,)> = "[method]dispatcher.step",
    state: TypedFunc<(ResourceAny,), (DispatcherState,)> = "[method]dispatcher.state",
}

/// The exports of one instance.
pub struct SubscriptionsExports {
    subscriptions: subscriptions::Exports,
    pub(crate) dispatch: dispatch::Exports,
    maintenance: Option<maintenance::Exports>,
}

impl Maintained for SubscriptionsExports {
    fn maintenance(&self) -> Option<&maintenance::Exports> {
        self.maintenance.as_ref()
    }
}

/// A change of subscriptions. The request is in an `Arc`, so that it can be passed again if the instance ends.
#[derive(Clone, Debug, Hash)]
pub struct SubscriptionChange(Arc<SubscriptionRequest>);

impl Change for SubscriptionChange {
    fn bytes(&self) -> usize {
        match &*self.0 {
            SubscriptionRequest::Create(NewSubscription { selector, .. }) => {
                selector.pattern.as_ref().map_or(0, String::len)
            }
            SubscriptionRequest::Advance(advance) => {
                advance.parked.iter().map(|parking| parking.reason.len()).sum()
            }
            _ => 0,
        }
    }

    /// What frees space must not be refused for want of room because of what does not.
    fn joins(&self, before: &Self) -> bool {
        self.frees_space() == before.frees_space()
    }

    fn frees_space(&self) -> bool {
        matches!(&*self.0, SubscriptionRequest::Remove(_) | SubscriptionRequest::Truncate(_))
    }

    fn streams(&self) -> Option<Vec<&str>> {
        Some(Vec::new())
    }
}

/// The kind of component that keeps durable subscriptions.
pub struct SubscriptionsKind;

impl Kind for SubscriptionsKind {
    type Change = SubscriptionChange;
    type Indices = (subscriptions::Indices, dispatch::Indices, Option<maintenance::Indices>);
    type Exports = SubscriptionsExports;

    const TAKES_POSITIONS: bool = false;

    fn indices(component: &Component) -> Result<Self::Indices, String> {
        let (stored, delivered) = (subscriptions::Indices::of(component)?, dispatch::Indices::of(component)?);
        Ok((stored, delivered, maintenance::Indices::find(component)?))
    }

    fn exports(
        (subscriptions, dispatch, maintenance): &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<SubscriptionsExports> {
        Ok(SubscriptionsExports {
            subscriptions: subscriptions.load(instance, store)?,
            dispatch: dispatch.load(instance, store)?,
            maintenance: maintenance.as_ref().map(|found| found.load(instance, store)).transpose()?,
        })
    }

    async fn decide(
        exports: &SubscriptionsExports,
        store: &mut Store<State>,
        view: Resource<View>,
        changes: Vec<SubscriptionChange>,
    ) -> wasmtime::Result<Result<Vec<Decision>, Missing>> {
        let requests = changes.into_iter().map(|change| change.0).collect();
        Ok(Ok(exports.subscriptions.decide.call_async(store, (view, requests)).await?.0))
    }

    fn wake(_: &Bus, _: &SubscriptionChange, _: &Appended, _: u64) {}
}

/// The pool of a store's subscriptions component. Its emitters have instances of their own.
pub type SubscriptionsPool = Pool<SubscriptionsKind>;

/// Requests for one subscription go to one instance, which serves them in order.
impl SubscriptionsPool {
    /// Changes what is stored of a subscription. The result is the `count` of the change.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn change(&self, caller: Caller, request: SubscriptionRequest) -> Result<u64, Error> {
        let target = self.target(name_of(&request));
        let change = SubscriptionChange(Arc::new(request));
        Ok(self.send_change(target, caller, change).await?.count)
    }

    /// Describes a subscription.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn describe(&self, caller: Caller, name: String) -> Result<Subscription, Error> {
        let target = self.target(&name);
        self.ask(target, caller, "describe", |exports| Ok(&exports.subscriptions.describe), (name,)).await
    }

    /// Lists the subscriptions with a prefix after `after`.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn list(
        &self,
        caller: Caller,
        prefix: String,
        after: Option<String>,
        count: u32,
    ) -> Result<SubscriptionPage, Error> {
        let params = (prefix, after, count);
        let name = "list-subscriptions";
        self.ask(Target::Any, caller, name, |exports| Ok(&exports.subscriptions.list), params).await
    }

    /// Lists parked events from a place on; with `replayed`, those that are to be delivered once more.
    ///
    /// # Errors
    ///
    /// The component's errors.
    pub async fn list_parked(
        &self,
        caller: Caller,
        name: String,
        from: u64,
        count: u32,
        replayed: bool,
    ) -> Result<ParkedPage, Error> {
        let target = self.target(&name);
        let params = (name, from, count, replayed);
        self.ask(target, caller, "list-parked", |exports| Ok(&exports.subscriptions.list_parked), params)
            .await
    }
}

fn name_of(request: &SubscriptionRequest) -> &str {
    match request {
        SubscriptionRequest::Create(new) => &new.name,
        SubscriptionRequest::Update(update) => &update.name,
        SubscriptionRequest::Advance(advance) => &advance.name,
        SubscriptionRequest::Halt(halting) => &halting.name,
        SubscriptionRequest::Replay(scope) | SubscriptionRequest::Truncate(scope) => &scope.name,
        SubscriptionRequest::Remove(name)
        | SubscriptionRequest::Pause(name)
        | SubscriptionRequest::Resume(name)
        | SubscriptionRequest::Claim(name) => name,
    }
}
