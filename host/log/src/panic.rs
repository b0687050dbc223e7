//! The one place where this crate catches panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `call`; a panic in it becomes an error with the panic's message.
///
/// Unwind safety is asserted, not proven: callers must not use what `call` was changing when it panicked.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        text.unwrap_or("it did not say why").to_owned()
    })
}
