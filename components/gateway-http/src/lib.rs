//! The HTTP gateway that ships with exesdb: the streams and snapshots of a store as JSON, lines, binary frames and
//! server-sent events.
//!
//! A request goes through the files in this order: [`route`] finds out from its head what it asks for, [`body`]
//! decodes what it carries, [`serve`] asks the [`store`], [`encode`], [`bulk`] or [`follow`] writes the answer. Everything
//! that is refused on the way is a [`problem`], as [`store_error`] says of the store's errors. The rules are plain functions; [`store::LinkedStore`] and
//! [`wasi_http`] connect them to the world outside.
//!
//! What the API looks like is said by `openapi.json`, which the gateway serves.
//!
//! Another component can answer as this one does: depend on this crate without its default feature `export`, and
//! call [`HttpGateway`]'s `handle`.

pub mod accept;
pub mod body;
pub mod bulk;
pub mod cursor;
pub mod encode;
pub mod event_id;
pub mod exchange;
pub mod follow;
pub mod frame;
pub mod history;
pub mod json;
pub mod limits;
pub mod problem;
pub mod query;
pub mod route;
pub mod serve;
pub mod store;
pub mod store_error;
pub mod timestamp;
pub mod wasi_http;

pub use wasi_http::HttpGateway;

/// What the component is. It keeps nothing, and has no settings.
#[must_use]
pub fn describe() -> exesdb_sdk::describe::Description {
    exesdb_sdk::describe::description("gateway-http", 0)
}

#[cfg(feature = "export")]
exesdb_sdk::gateway_plugin!(HttpGateway);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
