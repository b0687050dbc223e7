//! How a streams component serves its calls.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentType, Instance, Lift, Lower};

use super::call::{BatchedCall, StreamsCall};
use super::exports::{Batched, Indices, StreamsExports};
use super::publisher::Publisher;
use crate::bindings::types::Error;
use crate::persistence::kind::Kind;
use crate::persistence::maintenance;
use crate::state::State;

/// The kind of component that keeps the streams.
pub struct StreamsKind;

impl Kind for StreamsKind {
    type Call = StreamsCall;
    type Indices = (Indices, maintenance::Indices);
    type Exports = StreamsExports;

    fn indices(component: &Component) -> Result<Self::Indices, String> {
        Ok((Indices::of(component)?, maintenance::Indices::of(component)?))
    }

    fn exports(
        (streams, maintenance): &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        Ok(StreamsExports {
            streams: streams.load(instance, store)?,
            maintenance: maintenance.load(instance, store)?,
        })
    }

    async fn serve(
        exports: &Self::Exports,
        store: &mut Store<State>,
        calls: &mut Vec<Self::Call>,
    ) -> wasmtime::Result<()> {
        match calls.first_mut() {
            None => Ok(()),
            Some(StreamsCall::Unary(call)) => {
                call.serve(exports, store).await?;
                calls.clear();
                Ok(())
            }
            Some(StreamsCall::Append(_)) => {
                let request = |call: &StreamsCall| match call {
                    StreamsCall::Append(call) => Some(call.request.clone()),
                    _ => None,
                };
                let requests = calls.iter().filter_map(request).collect();
                let results = call_batched(&exports.streams.append, store, requests).await?;
                let publisher = Publisher::of(store.data());
                for (call, outcome) in calls.drain(..).zip(results) {
                    let StreamsCall::Append(BatchedCall { request, result }) = call else { continue };
                    publisher.publish(&request, outcome.as_ref().ok());
                    // The caller may be gone.
                    drop(result.send(outcome));
                }
                Ok(())
            }
            Some(StreamsCall::Transact(_)) => {
                let request = |call: &StreamsCall| match call {
                    StreamsCall::Transact(call) => Some(call.request.clone()),
                    _ => None,
                };
                let requests = calls.iter().filter_map(request).collect();
                let results = call_batched(&exports.streams.transact, store, requests).await?;
                let publisher = Publisher::of(store.data());
                for (call, outcome) in calls.drain(..).zip(results) {
                    let StreamsCall::Transact(BatchedCall { request, result }) = call else { continue };
                    for (append, appended) in request.appends.iter().zip(outcome.iter().flatten()) {
                        publisher.publish(append, Some(appended));
                    }
                    // The caller may be gone.
                    drop(result.send(outcome));
                }
                Ok(())
            }
        }
    }
}

/// Calls a function with many requests, and checks that it returns one result for each.
async fn call_batched<R, A>(
    function: &Batched<R, A>,
    store: &mut Store<State>,
    requests: Vec<Arc<R>>,
) -> wasmtime::Result<Vec<Result<A, Error>>>
where
    R: ComponentType + Lower + Send + Sync + 'static,
    A: Send + Sync + 'static,
    Vec<Result<A, Error>>: Lift,
{
    let count = requests.len();
    let (results,) = function.call_async(store, (requests,)).await?;
    if results.len() != count {
        let returned = results.len();
        return Err(wasmtime::Error::msg(format!(
            "the component answered {returned} results to {count} requests"
        )));
    }
    Ok(results)
}
