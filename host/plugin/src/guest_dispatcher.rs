//! The type of dispatchers in the generated bindings.

/// A dispatcher of the subscriptions component. The host never has one: it passes their handles.
#[allow(dead_code, reason = "only its type is used")]
pub enum GuestDispatcher {}
