//! A call to a persistence component, as its partition handles it.

use tokio::sync::oneshot;

use crate::bindings::types::Error;

/// Where the result of a call is sent.
pub(crate) type ResultSender<T> = oneshot::Sender<Result<T, Error>>;

/// A call that waits for an instance or is being served.
pub trait Call: Send + 'static {
    /// Ends the call with an error.
    fn fail(self, error: Error);

    /// A hash of the function and its arguments. Two calls with equal fingerprints are one request that was sent twice.
    fn fingerprint(&self) -> u64;

    /// Whether nobody waits for the result any more.
    fn is_abandoned(&self) -> bool;

    /// If the call may be batched with others into one call of the guest: a number for its function, and its size in
    /// bytes. Only calls of the same function are batched.
    fn batchable(&self) -> Option<(u8, usize)>;

    /// Whether the call frees space, at once or at the next scavenge, so that it may use the reserve that is kept on the
    /// disk.
    fn frees_space(&self) -> bool;
}
