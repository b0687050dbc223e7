//! The HTTP gateway that ships with exesdb: the streams and snapshots of a store as JSON, lines, packed events and
//! server-sent events.
//!
//! It is a gateway on steps. A request passes through the files in this order: [`route`] turns its head into a [`Route`], each
//! operation of which has a file in [`operation`]: its arguments, the call that it makes, and its response. [`body`] decodes
//! bodies, `encode` writes results, `form` the pages of long reads and event streams, which the host sends. Every error is a
//! [`problem`]; `store_error` translates those of the store.
//!
//! `openapi.json`, which the gateway serves, describes the API.
//!
//! Another component can handle requests as this one does: depend on this crate without its default feature `export`, and
//! pass on to [`HttpGateway`].

pub mod accept;
mod answer;
mod argument;
pub mod body;
pub mod cursor;
mod encode;
mod event_id;
mod form;
pub mod history;
pub mod limits;
pub mod operation;
pub mod problem;
pub mod query;
pub mod request;
mod response;
pub mod route;
mod selection;
mod store_error;

use exesdb_sdk::steps::{Closing, Ending, Event, Gateway, Mark, Outcome, Request, Step};
use exesdb_sdk::types::Error;

pub use exesdb_json as json;
pub use form::Form;
pub use operation::State;
pub use response::OPENAPI;
pub use route::Route;

/// The gateway.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpGateway;

impl Gateway for HttpGateway {
    type State = State;
    type Representation = Form;

    fn begin(request: Request) -> Step<State, Form> {
        operation::begin(request)
    }

    fn resume(state: State, event: Event) -> Step<State, Form> {
        state.resume(event)
    }

    fn run_again(request: Request, outcomes: Vec<Outcome>) -> Step<State, Form> {
        operation::run_again(&request, outcomes)
    }

    fn encode(form: &Form, page: &[u8]) -> Result<Vec<u8>, Error> {
        form.encode(page)
    }

    fn encode_mark(form: &Form, mark: Mark) -> Vec<u8> {
        form.encode_mark(mark)
    }

    fn conclude(form: &Form, ending: Ending) -> Closing {
        form.conclude(ending)
    }
}

/// Describes the component. It has no state and no settings.
#[must_use]
pub fn describe() -> exesdb_sdk::describe::Description {
    exesdb_sdk::describe::description("gateway-http", 0)
}

#[cfg(feature = "export")]
exesdb_sdk::steps_plugin!(HttpGateway);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);
