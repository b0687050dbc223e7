//! Calls of one exported function that answers one result: all but those that share a call.

use std::hash::{DefaultHasher, Hash, Hasher};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{ComponentNamedList, Lift, Lower};

use super::kind::{Call, Function};
use crate::bindings::types::Error;
use crate::state::State;

/// Functions that hide or remove something, so that there is more room once the store is scavenged.
const MAKES_ROOM: [&str; 5] =
    ["delete-stream", "set-retention", "delete-snapshot", "keep-newest", "scavenge"];

/// Where the answer to a call goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Such a call, whatever its function's type. `E` are the exports among which the function is.
pub trait Ask<E>: Send + 'static {
    /// Answers the call with an error.
    fn fail(self: Box<Self>, error: Error);

    /// The name of the function in its interface.
    fn name(&self) -> &'static str;

    /// Hashes all that the guest is given.
    fn hash(&self, hasher: &mut DefaultHasher);

    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool;

    /// Calls the function and answers the call; on an error it is not answered.
    fn serve<'a>(
        &'a mut self,
        exports: &'a E,
        store: &'a mut Store<State>,
    ) -> BoxFuture<'a, wasmtime::Result<()>>;
}

/// A call of the function that `function` finds.
pub(crate) struct Asked<E, P, T> {
    /// What tells this function from the others in a fingerprint.
    pub(crate) name: &'static str,
    pub(crate) function: fn(&E) -> &Function<P, T>,
    /// Cloned for the guest, so that they are still there when the instance ends with the call. What is large is in an
    /// `Arc`.
    pub(crate) params: P,
    /// None once it was answered.
    pub(crate) reply: Option<Reply<T>>,
}

impl<E, P, T> Ask<E> for Asked<E, P, T>
where
    E: Sync + 'static,
    P: ComponentNamedList + Lower + Clone + Hash + Send + Sync + 'static,
    T: Send + Sync + 'static,
    Result<T, Error>: Lift,
{
    fn fail(self: Box<Self>, error: Error) {
        if let Some(reply) = self.reply {
            // Where nobody waits any more there is nobody to tell.
            drop(reply.send(Err(error)));
        }
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn hash(&self, hasher: &mut DefaultHasher) {
        (self.name, &self.params).hash(hasher);
    }

    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn serve<'a>(
        &'a mut self,
        exports: &'a E,
        store: &'a mut Store<State>,
    ) -> BoxFuture<'a, wasmtime::Result<()>> {
        Box::pin(async move {
            let (result,) = (self.function)(exports).call_async(store, self.params.clone()).await?;
            if let Some(reply) = self.reply.take() {
                // As in `fail`.
                drop(reply.send(result));
            }
            Ok(())
        })
    }
}

impl<E: 'static> Call for Box<dyn Ask<E>> {
    fn fail(self, error: Error) {
        Ask::fail(self, error);
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Ask::hash(&**self, &mut hasher);
        hasher.finish()
    }

    fn is_abandoned(&self) -> bool {
        Ask::is_abandoned(&**self)
    }

    fn shareable(&self) -> Option<(u8, usize)> {
        None
    }

    fn makes_room(&self) -> bool {
        MAKES_ROOM.contains(&Ask::name(&**self))
    }
}
