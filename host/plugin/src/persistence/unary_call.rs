//! Calls of an exported function that are not batched: one call of the guest, one result.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use super::call::{Call, ResultSender};
use super::exports::Function;
use crate::bindings::types::Error;
use crate::state::State;

/// Functions that hide or remove data, so that a scavenge frees space.
const FREES_SPACE: [&str; 5] =
    ["delete-stream", "set-retention", "delete-snapshot", "keep-newest", "scavenge"];

/// A unary call of any function type. `E` are the exports that have the function.
pub trait UnaryCall<E>: Send + 'static {
    /// Ends the call with an error.
    fn fail(self: Box<Self>, error: Error);

    /// The name of the function in its interface.
    fn name(&self) -> &'static str;

    /// Hashes the function's name and its arguments.
    fn hash(&self, hasher: &mut DefaultHasher);

    /// Whether nobody waits for the result any more.
    fn is_abandoned(&self) -> bool;

    /// Calls the function and sends its result; after an error, nothing is sent.
    fn serve<'a>(
        &'a mut self,
        exports: &'a E,
        store: &'a mut Store<State>,
    ) -> BoxFuture<'a, wasmtime::Result<()>>;
}

/// A unary call of the function that `function` selects.
pub(crate) struct TypedCall<E, P, T> {
    /// The function's name, which is part of the fingerprint.
    pub(crate) name: &'static str,
    pub(crate) function: fn(&E) -> &Function<P, T>,
    /// Cloned for the guest, so that the call can be repeated if the instance ends. Large arguments are in an `Arc`.
    pub(crate) params: P,
    /// None once the result was sent.
    pub(crate) result: Option<ResultSender<T>>,
}

impl<E, P, T> UnaryCall<E> for TypedCall<E, P, T>
where
    E: Sync + 'static,
    P: ComponentNamedList + Lower + Clone + Hash + Send + Sync + 'static,
    T: Send + Sync + 'static,
    Result<T, Error>: Lift,
{
    fn fail(self: Box<Self>, error: Error) {
        if let Some(sender) = self.result {
            // The caller may be gone.
            drop(sender.send(Err(error)));
        }
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        (self.name, &self.params).hash(hasher);
    }

    fn is_abandoned(&self) -> bool {
        self.result.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn serve<'a>(
        &'a mut self,
        exports: &'a E,
        store: &'a mut Store<State>,
    ) -> BoxFuture<'a, wasmtime::Result<()>> {
        Box::pin(async move {
            let (result,) = (self.function)(exports).call_async(store, self.params.clone()).await?;
            if let Some(sender) = self.result.take() {
                // The caller may be gone.
                drop(sender.send(result));
            }
            Ok(())
        })
    }
}

impl<E: 'static> Call for Box<dyn UnaryCall<E>> {
    fn fail(self, error: Error) {
        UnaryCall::fail(self, error);
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        UnaryCall::hash(&**self, &mut hasher);
        hasher.finish()
    }

    fn is_abandoned(&self) -> bool {
        UnaryCall::is_abandoned(&**self)
    }

    fn batchable(&self) -> Option<(u8, usize)> {
        None
    }

    fn frees_space(&self) -> bool {
        FREES_SPACE.contains(&UnaryCall::name(&**self))
    }
}
