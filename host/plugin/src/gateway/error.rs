//! Why a request got no response from the component.

use crate::crash::Crash;

/// Why a request got no response from the component.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GatewayError {
    /// All instances are busy, and the queue for them is full or the request waited in it for too long.
    #[error("all gateway instances of the store are busy; try again later")]
    Overloaded,
    /// The worker has as many requests as it may have.
    #[error("the gateway has {0} requests in progress, and more there may not be; try again later")]
    TooManyRequests(usize),
    /// The bodies of all requests have as many bytes as they may have.
    #[error("the requests in progress have as many bytes of bodies as there is room for; try again later")]
    NoRoom,
    /// There are as many long responses as there may be.
    #[error(
        "{0} long responses are in progress (clients that follow events, read very much, or send or read slowly), and more there may not be; try again later"
    )]
    TooManyLong(usize),
    /// The worker is stopping, or was stopped while it served the request.
    #[error(
        "the gateway is being restarted; if the request was an append its outcome is unknown, and sent again with the same event ids it is applied once"
    )]
    Restarting,
    /// No instance could be made.
    #[error("no gateway instance could be made; the host's log says why")]
    Unavailable,
    /// The instance ended while it served the request.
    #[error("the gateway component {}; incident {}", crash.for_client(), crash.incident)]
    Crashed {
        /// The crash. Its message is for the operator, not for the client.
        crash: Box<Crash>,
    },
    /// The connection ended before the request's body was complete.
    #[error("body: {}, {}", broke_off(*too_slow), what_was_done(*nothing_done))]
    BodyLost {
        /// It took longer than the host waits for one; otherwise the client has left, or sent what is not HTTP.
        too_slow: bool,
        /// Whether the gateway had made no call yet.
        nothing_done: bool,
    },
    /// The request's body is longer than the component takes.
    #[error("the request's body has more than {0} bytes")]
    BodyTooLarge(u32),
    /// The component finished without a response.
    #[error("the gateway component gave no answer; the host's log says why")]
    NoResponse,
}

fn broke_off(too_slow: bool) -> &'static str {
    if too_slow { "took longer than the host waits for one" } else { "broke off before its end" }
}

fn what_was_done(nothing: bool) -> &'static str {
    if nothing {
        "and nothing was done; send it again"
    } else {
        "and a part of it may have been done; send it again with the same event ids"
    }
}
