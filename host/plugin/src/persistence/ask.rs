//! Asking a component: one call of the guest, on a view of what is durable, and one result.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use super::exports::Missing;
use super::exports::{Function, ViewParam};
use crate::bindings::store::types::Error;
use crate::problem::{code, problem};
use crate::state::State;
use crate::store_view::Freshness;

/// Where the result of an ask is sent.
pub(crate) type ResultSender<T> = oneshot::Sender<Result<T, Error>>;

/// A call of any function that reads. `E` are the exports that have the function.
pub(crate) trait Ask<E>: Send + 'static {
    /// Ends the ask with an error.
    fn fail(self: Box<Self>, error: Error);

    /// Hashes the function's name and its arguments.
    fn hash(&self, hasher: &mut DefaultHasher);

    /// Whether nobody waits for the result any more.
    fn is_abandoned(&self) -> bool;

    /// Calls the function and sends its result; after an error, nothing is sent. Returns whether the guest was called.
    fn serve<'a>(
        &'a mut self,
        exports: &'a E,
        store: &'a mut Store<State>,
    ) -> BoxFuture<'a, wasmtime::Result<bool>>;
}

/// A hash of a request's kind and arguments. Two requests with equal fingerprints are one that was sent twice.
pub(crate) fn fingerprint<E: 'static>(ask: &dyn Ask<E>) -> u64 {
    let mut hasher = DefaultHasher::new();
    ask.hash(&mut hasher);
    hasher.finish()
}

/// The parameters of a function but for the view, which it has first.
pub(crate) trait Params: Clone + Hash + Send + Sync + 'static {
    /// All parameters.
    type WithView: ComponentNamedList + Lower + Send + Sync + 'static;

    /// Adds the view.
    fn with_view(self, view: ViewParam) -> Self::WithView;
}

macro_rules! params {
    ($($ty:ident $param:ident),*) => {
        impl<$($ty),*> Params for ($($ty,)*)
        where
            $($ty: wasmtime::component::ComponentType + Lower + Clone + Hash + Send + Sync + 'static,)*
        {
            type WithView = (ViewParam, $($ty,)*);

            fn with_view(self, view: ViewParam) -> Self::WithView {
                let ($($param,)*) = self;
                (view, $($param,)*)
            }
        }
    };
}

params!(A a);
params!(A a, B b);
params!(A a, B b, C c);
params!(A a, B b, C c, D d);
params!(A a, B b, C c, D d, E e);

/// Selects a function with these parameters of the exports `E`.
pub(crate) type Select<E, P, T> = fn(&E) -> Result<&Function<<P as Params>::WithView, T>, Missing>;

/// An ask of the function that `function` selects.
pub(crate) struct TypedAsk<E, P: Params, T> {
    /// The function's name, which is part of the fingerprint.
    pub(crate) name: &'static str,
    pub(crate) function: Select<E, P, T>,
    /// Cloned for the guest, so that the call can be repeated if the instance ends. Large arguments are in an `Arc`.
    pub(crate) params: P,
    /// None once the result was sent.
    pub(crate) result: Option<ResultSender<T>>,
}

impl<E, P, T> Ask<E> for TypedAsk<E, P, T>
where
    E: Sync + 'static,
    P: Params,
    T: Send + Sync + 'static,
    Result<T, Error>: Lift,
{
    fn fail(self: Box<Self>, error: Error) {
        if let Some(sender) = self.result {
            // The caller may be gone.
            drop(sender.send(Err(error)));
        }
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
    ) -> BoxFuture<'a, wasmtime::Result<bool>> {
        Box::pin(async move {
            let (called, result) = match (self.function)(exports) {
                Err(Missing(interface)) => (false, Err(unsupported(interface))),
                Ok(function) => match State::lend_view(store, Freshness::Durable)? {
                    Err(error) => (false, Err(error)),
                    Ok(lent) => {
                        let params = self.params.clone().with_view(lent.param());
                        let (result,) = function.call_async(&mut *store, params).await?;
                        State::take_back(store, lent)?;
                        (true, result)
                    }
                },
            };
            if let Some(sender) = self.result.take() {
                // The caller may be gone.
                drop(sender.send(result));
            }
            Ok(called)
        })
    }
}

/// The error of a request for which a component lacks the interface.
pub(crate) fn unsupported(interface: &str) -> Error {
    let message = format!("the store's component does not export {interface}, which this needs");
    problem(code::UNSUPPORTED, message)
}
