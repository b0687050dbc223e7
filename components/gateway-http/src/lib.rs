//! The HTTP gateway that ships with exesdb: the streams and snapshots of a store as JSON, lines, binary frames and
//! server-sent events.
//!
//! A request passes through the files in this order: [`route`] turns its head into a call, [`body`] decodes its body,
//! [`serve`] calls the [`store`], and `encode`, `bulk` or `follow` writes the response. Every error is a
//! [`problem`]; `store_error` translates those of the store. These are plain functions; [`store::LinkedStore`] and
//! `wasi_http` connect them to the host.
//!
//! `openapi.json`, which the gateway serves, describes the API.
//!
//! Another component can handle requests as this one does: depend on this crate without its default feature `export`, and
//! call [`HttpGateway`]'s `handle`.

pub mod accept;
pub mod body;
mod bulk;
pub mod cursor;
mod encode;
mod event_id;
pub mod exchange;
mod follow;
pub mod frame;
pub mod history;
pub mod json;
pub mod limits;
mod position_check;
pub mod problem;
pub mod query;
pub mod request;
pub mod route;
pub mod serve;
pub mod store;
mod store_error;
mod timestamp;
mod wasi_http;

pub use wasi_http::HttpGateway;

/// Describes the component. It has no state and no settings.
#[must_use]
pub fn describe() -> exesdb_sdk::describe::Description {
    exesdb_sdk::describe::description("gateway-http", 0)
}

#[cfg(feature = "export")]
exesdb_sdk::gateway_plugin!(HttpGateway);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
