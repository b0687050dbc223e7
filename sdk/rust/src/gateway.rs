//! Gateways that speak `wasi:http`: world `exesdb:gateway/gateway-http-plugin`.
//!
//! One call serves a request, and waits in the calls of [`store`]. Calls and replies are those of [`requests`](crate::requests).

use std::marker::PhantomData;

use wasip2::exports::http::incoming_handler;

use crate::panic;

mod request;
mod response;
pub mod store;

pub use wasip2;
pub use wasip2::http::types::{IncomingRequest, ResponseOutparam};

pub use request::{BodyError, header_entries, method_name, read_body};
pub use response::{RespondError, StreamingBody, respond, respond_streaming};

/// A gateway component. Register the type that implements it with [`gateway_plugin!`](crate::gateway_plugin).
pub trait Gateway {
    /// Responds to one request through `out`, which must be set exactly once. Returns when the response is written.
    fn handle(request: IncomingRequest, out: ResponseOutparam);
}

/// Wraps the registered gateway in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<G>(PhantomData<G>);

impl<G: Gateway> incoming_handler::Guest for Registered<G> {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        panic::install_hook();
        G::handle(request, out);
    }
}

/// Makes this crate a gateway component: exports `wasi:http/incoming-handler` of a type that implements
/// [`Gateway`](crate::gateway::Gateway). Use it once per component. It expands to nothing on targets other than WebAssembly.
#[macro_export]
macro_rules! gateway_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::gateway::Registered<$plugin>;
            $crate::gateway::wasip2::http::proxy::export!(
                Registered with_types_in $crate::gateway::wasip2
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<P: $crate::gateway::Gateway>() {}
            implements::<$plugin>();
        };
    };
}
