//! The exports of a gateway as steps, and the calls that the host makes of them.

use std::sync::Arc;

use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};
use wasmtime::{AsContextMut, Store};

use crate::bindings::gateway::requests::{Outcome, Request};
use crate::bindings::gateway::steps::{Closing, Ending, Event, Mark, Step};
use crate::bindings::store::types::Error;
use crate::state::State;

/// The interface that makes a gateway one of steps.
pub(crate) const INTERFACE: &str = "exesdb:gateway/steps@0.2.0";

/// The places of the functions in a compiled component.
pub(in crate::gateway) struct Indices {
    begin: ComponentExportIndex,
    resume: ComponentExportIndex,
    run_again: ComponentExportIndex,
    encode: ComponentExportIndex,
    encode_mark: ComponentExportIndex,
    conclude: ComponentExportIndex,
}

/// A function with these parameters and this result.
type Function<Params, T> = TypedFunc<Params, (T,)>;

/// Bytes that are kept for a second call.
type Kept = Arc<Vec<u8>>;

/// The functions of one instance.
pub(in crate::gateway) struct Exports {
    begin: Function<(Arc<Request>,), Step>,
    resume: Function<(Kept, Arc<Event>), Step>,
    run_again: Function<(Arc<Request>, Arc<Vec<Outcome>>), Step>,
    encode: Function<(Kept, Kept), Result<Vec<u8>, Error>>,
    encode_mark: Function<(Kept, Mark), Vec<u8>>,
    conclude: Function<(Kept, Arc<Ending>), Closing>,
}

impl Indices {
    /// Finds the functions; none if the component is no gateway as steps. The error names the one that is missing.
    pub(in crate::gateway) fn find(component: &Component) -> Result<Option<Self>, String> {
        let Some(instance) = component.get_export_index(None, INTERFACE) else { return Ok(None) };
        let index = |name: &str| {
            let index = component.get_export_index(Some(&instance), name);
            index.ok_or_else(|| format!("{INTERFACE}.{name}"))
        };
        Ok(Some(Self {
            begin: index("begin")?,
            resume: index("resume")?,
            run_again: index("run-again")?,
            encode: index("encode")?,
            encode_mark: index("encode-mark")?,
            conclude: index("conclude")?,
        }))
    }

    /// Checks the functions' types and makes them callable.
    pub(in crate::gateway) fn load(
        &self,
        mut store: impl AsContextMut<Data = State>,
        instance: &Instance,
    ) -> wasmtime::Result<Exports> {
        Ok(Exports {
            begin: instance.get_typed_func(&mut store, self.begin)?,
            resume: instance.get_typed_func(&mut store, self.resume)?,
            run_again: instance.get_typed_func(&mut store, self.run_again)?,
            encode: instance.get_typed_func(&mut store, self.encode)?,
            encode_mark: instance.get_typed_func(&mut store, self.encode_mark)?,
            conclude: instance.get_typed_func(&mut store, self.conclude)?,
        })
    }
}

/// A call of one of the functions, which may be made more than once.
pub(super) trait Call: Sync {
    type Returned: Send;

    /// Whether it is made for a read that may be long, and not for a request that waits for it.
    const IS_OF_LONG: bool;

    /// Makes the call.
    fn make(
        &self,
        exports: &Exports,
        store: &mut Store<State>,
    ) -> impl Future<Output = wasmtime::Result<Self::Returned>> + Send;
}

/// The next step of a request.
#[derive(Clone)]
pub(super) enum NextStep {
    Begin(Arc<Request>),
    Resume(Arc<Vec<u8>>, Arc<Event>),
    RunAgain(Arc<Request>, Arc<Vec<Outcome>>),
}

impl Call for NextStep {
    type Returned = Step;

    const IS_OF_LONG: bool = false;

    async fn make(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Step> {
        let (step,) = match self {
            Self::Begin(request) => exports.begin.call_async(store, (request.clone(),)).await?,
            Self::Resume(token, event) => {
                exports.resume.call_async(store, (token.clone(), event.clone())).await?
            }
            Self::RunAgain(request, outcomes) => {
                exports.run_again.call_async(store, (request.clone(), outcomes.clone())).await?
            }
        };
        Ok(step)
    }
}

/// A page in a representation.
pub(super) struct Encode {
    pub(super) representation: Arc<Vec<u8>>,
    pub(super) page: Arc<Vec<u8>>,
}

impl Call for Encode {
    type Returned = Result<Vec<u8>, Error>;

    const IS_OF_LONG: bool = true;

    async fn make(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Self::Returned> {
        let params = (self.representation.clone(), self.page.clone());
        let (encoded,) = exports.encode.call_async(store, params).await?;
        Ok(encoded)
    }
}

/// A mark in a representation.
pub(super) struct EncodeMark {
    pub(super) representation: Arc<Vec<u8>>,
    pub(super) mark: Mark,
}

impl Call for EncodeMark {
    type Returned = Vec<u8>;

    const IS_OF_LONG: bool = true;

    async fn make(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Vec<u8>> {
        let params = (self.representation.clone(), self.mark);
        let (encoded,) = exports.encode_mark.call_async(store, params).await?;
        Ok(encoded)
    }
}

/// The end of a bulk read.
pub(super) struct Conclude {
    pub(super) representation: Arc<Vec<u8>>,
    pub(super) ending: Arc<Ending>,
}

impl Call for Conclude {
    type Returned = Closing;

    const IS_OF_LONG: bool = true;

    async fn make(&self, exports: &Exports, store: &mut Store<State>) -> wasmtime::Result<Closing> {
        let params = (self.representation.clone(), self.ending.clone());
        let (closing,) = exports.conclude.call_async(store, params).await?;
        Ok(closing)
    }
}
