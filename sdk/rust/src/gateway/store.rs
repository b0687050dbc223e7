//! The calls of a gateway that waits in them: `exesdb:gateway/store`.
//!
//! Outside of a component there is no host. In tests, with the feature `testing`, `answered_by` puts a function in its place.

use crate::requests::{Call, Caller, Outcome};

pub use crate::bindings::gateway::calls::exesdb::gateway::store::Wake;

#[cfg(target_arch = "wasm32")]
use crate::bindings::gateway::calls::exesdb::gateway::store as host;

/// Makes one call, and waits for its outcome.
///
/// # Errors
///
/// Why the call failed.
pub fn call(call: Call) -> Outcome {
    run(&[call]).pop().expect("each call has an outcome")
}

/// Makes at most 64 calls side by side, and waits for all. Returns the outcomes in the order of the calls. Writes are queued
/// in that order, too.
#[must_use]
pub fn run(calls: &[Call]) -> Vec<Outcome> {
    host::run(calls)
}

/// Waits until an event at or after position `seen` is readable in one stream or (none) in any, at most so many milliseconds.
/// Whoever wakes reads again.
#[must_use]
pub fn wait(stream_id: Option<&str>, seen: u64, timeout_ms: u32) -> Wake {
    host::wait(stream_id, seen, timeout_ms)
}

/// The name of the store.
#[must_use]
pub fn name() -> String {
    host::name()
}

/// Who asks, in the request that is being served.
#[must_use]
pub fn who() -> Caller {
    host::who()
}

#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub use host::answered_by;

/// What stands in for the host outside of a component.
#[cfg(not(target_arch = "wasm32"))]
mod host {
    use super::{Call, Caller, Outcome, Wake};

    #[cfg(feature = "testing")]
    pub use double::answered_by;
    #[cfg(feature = "testing")]
    pub(super) use double::run;

    #[cfg(not(feature = "testing"))]
    pub(super) fn run(_: &[Call]) -> Vec<Outcome> {
        panic!("outside of a component there is no store");
    }

    /// The end, so that a loop of waits ends.
    pub(super) fn wait(_: Option<&str>, _: u64, _: u32) -> Wake {
        Wake::Closing
    }

    pub(super) fn name() -> String {
        "test".to_owned()
    }

    pub(super) fn who() -> Caller {
        Caller { identity: None, scopes: Vec::new() }
    }

    #[cfg(feature = "testing")]
    mod double {
        use std::cell::RefCell;

        use super::{Call, Outcome};

        type Store = Box<dyn FnMut(Call) -> Outcome>;

        thread_local! {
            static STORE: RefCell<Option<Store>> = const { RefCell::new(None) };
        }

        /// Has a function answer the calls that `code` makes on this thread.
        pub fn answered_by<T>(store: impl FnMut(Call) -> Outcome + 'static, code: impl FnOnce() -> T) -> T {
            STORE.set(Some(Box::new(store)));
            let _removed = Removed;
            code()
        }

        /// Removes the function, also if the code panics.
        struct Removed;

        impl Drop for Removed {
            fn drop(&mut self) {
                STORE.take();
            }
        }

        pub(in crate::gateway::store) fn run(calls: &[Call]) -> Vec<Outcome> {
            STORE.with_borrow_mut(|store| {
                let store = store.as_mut().expect("calls in a test are made in `answered_by`");
                calls.iter().cloned().map(store).collect()
            })
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::{answered_by, call, run};
    use crate::requests::Call;
    use crate::types::Error;

    #[test]
    fn a_store_of_the_tests_answers_in_order() {
        let mut asked = Vec::new();
        let store = move |call| match call {
            Call::StreamInfo(id) => {
                asked.push(id);
                Err(Error::StreamDeleted(asked.join(",")))
            }
            _ => Err(Error::NotFound),
        };
        answered_by(store, || {
            let info = |id: &str| Call::StreamInfo(id.to_owned());
            let outcomes = run(&[info("a"), Call::LogEnd, info("b")]);
            let expected = [
                Err(Error::StreamDeleted("a".into())),
                Err(Error::NotFound),
                Err(Error::StreamDeleted("a,b".into())),
            ];
            assert_eq!(outcomes, expected);
            assert_eq!(call(info("c")), Err(Error::StreamDeleted("a,b,c".into())));
        });
        // It is there for that code alone.
        assert!(std::panic::catch_unwind(|| call(Call::LogEnd)).is_err());
    }
}
