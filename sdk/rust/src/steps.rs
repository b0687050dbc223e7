//! Gateways as steps: world `exesdb:gateway/gateway-steps-plugin`.
//!
//! No call waits. A gateway says what the host has to do, and is asked again with the outcome, perhaps in another instance. A
//! request is written in one of two forms, and a gateway may use both:
//!
//! - as an enum of states ([`Gateway::State`]), from which the token is derived;
//! - as a [`handler`] that is run again from its beginning with the outcomes so far, for a few calls.
//!
//! `exesdb:gateway/steps` (`wit/gateway/steps.wit`) has the rules.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::steps::exports::exesdb::gateway::steps as wire;
use crate::panic;
use crate::types::{Error, code, problem};

#[cfg(feature = "testing")]
pub mod double;
pub mod handler;

pub use crate::bindings::gateway::common::exesdb::gateway::requests::{
    Header, Request, RequestBody, Response, ResponseHead,
};
pub use crate::requests::{
    Answer, Call, Caller, Horizon, ImportLookup, Latest, Listing, NamedCall, Outcome, Query, Reply,
    SnapshotListing, WriteCall, snapshots,
};
pub use wire::{
    Action, Called, Cause, Closing, Delivered, Ending, Event, Feed, Grant, Guest, Holding, Intake, Mark,
    MarkPlace, Marks, NumberedCall, Piece, Stopped, Subscription, Timer,
};

/// The first byte of a token or representation. So none is empty, and those of another build of the SDK are told apart.
const FORMAT: u8 = 1;

/// A gateway. Register the type that implements it with [`steps_plugin!`](crate::steps_plugin).
pub trait Gateway {
    /// What a request goes on with after a step: an enum of states, as a rule.
    type State: Serialize + DeserializeOwned;

    /// How the pages of a bulk read are written; `()` for a gateway without bulk reads.
    type Representation: Serialize + DeserializeOwned;

    /// The first step of a request.
    fn begin(request: Request) -> Step<Self::State, Self::Representation>;

    /// The next step of a request that waits with a state.
    fn resume(state: Self::State, event: Event) -> Step<Self::State, Self::Representation>;

    /// The next step of a request whose step was [`Step::RunAgain`].
    fn run_again(request: Request, outcomes: Vec<Outcome>) -> Step<Self::State, Self::Representation> {
        let _ = (request, outcomes);
        Step::Respond(Response::new(500))
    }

    /// A page of packed events in a representation. It must depend on its arguments alone.
    ///
    /// # Errors
    ///
    /// What ends the read.
    fn encode(representation: &Self::Representation, page: &[u8]) -> Result<Vec<u8>, Error> {
        let _ = (representation, page);
        Err(problem(code::UNSUPPORTED, "this gateway has no bulk reads"))
    }

    /// What stands between pages.
    fn encode_mark(representation: &Self::Representation, mark: Mark) -> Vec<u8> {
        let _ = (representation, mark);
        Vec::new()
    }

    /// The end of a bulk read.
    fn conclude(representation: &Self::Representation, ending: Ending) -> Closing {
        let _ = (representation, ending);
        Closing { body: Vec::new(), trailers: Vec::new() }
    }
}

/// What a call of a gateway leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<S, R> {
    /// The whole response.
    Respond(Response),
    /// A read whose pages the host sends, without a step for each.
    Bulk(Box<Bulk<S, R>>),
    /// Things to be done before the next step.
    Pending(Pending<S>),
    /// Things to be done before the request is run again from its beginning.
    RunAgain(Vec<Action>),
}

impl<S, R> Step<S, R> {
    /// The same step with another state.
    pub fn map<T>(self, state: impl FnOnce(S) -> T) -> Step<T, R> {
        match self {
            Self::Respond(response) => Step::Respond(response),
            Self::Bulk(bulk) => Step::Bulk(Box::new(Bulk { state: state(bulk.state), read: bulk.read })),
            Self::Pending(Pending { state: of, actions }) => {
                Step::Pending(Pending { state: state(of), actions })
            }
            Self::RunAgain(actions) => Step::RunAgain(actions),
        }
    }
}

impl<S, R> From<Pending<S>> for Step<S, R> {
    fn from(pending: Pending<S>) -> Self {
        Self::Pending(pending)
    }
}

impl<S, R> From<Response> for Step<S, R> {
    fn from(response: Response) -> Self {
        Self::Respond(response)
    }
}

/// A bulk read, and the state for the case that it fails before the head is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulk<S, R> {
    /// Comes back with [`Event::Failed`].
    pub state: S,
    /// The read.
    pub read: BulkRead<R>,
}

/// The read of a [`Bulk`]; the fields are those of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRead<R> {
    /// What is read. Its count bounds the whole read; 0 for no bound.
    pub query: Query,
    /// Whether the read goes on with what is appended, until the client leaves.
    pub follow: bool,
    /// The beginning of the response.
    pub head: ResponseHead,
    /// For [`Gateway::encode`].
    pub representation: R,
    /// Whether pages go out as they are.
    pub as_is: bool,
    /// Sent after the head.
    pub opening: Vec<u8>,
    /// The most bytes of a page.
    pub page_bytes: u32,
    /// The marks between pages.
    pub marks: Marks,
    /// Milliseconds without output after which [`Mark::Idle`] is due.
    pub idle_ms: u32,
    /// Events after which [`Mark::Progress`] is due,
    pub progress_every: u32,
    /// and milliseconds.
    pub progress_ms: u32,
    /// Milliseconds after which the read ends.
    pub within_ms: Option<u32>,
}

/// What has to be done before the next step, and the state for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending<S> {
    state: S,
    actions: Vec<Action>,
}

impl<S> Pending<S> {
    /// Nothing yet.
    pub fn new(state: S) -> Self {
        Self { state, actions: Vec::new() }
    }

    /// The state, for tests that bring the next event themselves.
    pub fn into_state(self) -> S {
        self.state
    }

    /// Adds an action.
    #[must_use]
    pub fn action(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    /// Makes a call that has the number 0, as suits a request that has one call at a time.
    #[must_use]
    pub fn call(self, call: Call) -> Self {
        self.action(Action::Call(vec![NumberedCall::new(0, call)]))
    }

    /// Asks for the whole body, up to a limit. It comes in one piece, which has one byte more or no trailers if it is longer.
    #[must_use]
    pub fn receive_all(self, limit: u32) -> Self {
        self.action(whole_body(limit))
    }
}

/// Asks for a whole body.
fn whole_body(limit: u32) -> Action {
    let bytes = limit.saturating_add(1);
    Action::Receive(Intake { used: 0, at_least: bytes, until: None, at_most: bytes })
}

impl NumberedCall {
    /// A call without anything special.
    #[must_use]
    pub fn new(id: u32, call: Call) -> Self {
        Self {
            id,
            call,
            context: Vec::new(),
            held: None,
            in_order: false,
            within_ms: None,
            options: Vec::new(),
        }
    }

    /// Its outcome comes after those of earlier calls that are in order.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }
}

impl ResponseHead {
    /// A head without headers.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    /// Adds a header, whose name is in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(Header { name: name.to_owned(), value: value.into() });
        self
    }
}

impl Response {
    /// A response without headers and body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { head: ResponseHead::new(status), body: Vec::new(), trailers: Vec::new() }
    }

    /// Adds a header, whose name is in lower case.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.head = self.head.header(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// The bytes that the host keeps of a value.
fn kept(value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, vec![FORMAT]).expect("derived values can be written into memory")
}

/// The value of kept bytes; none if this build did not write them.
fn taken<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (format, bytes) = bytes.split_first()?;
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    (*format == FORMAT && rest.is_empty()).then_some(value)
}

/// Wraps the registered gateway in what the SDK does for each call.
#[doc(hidden)]
#[derive(Debug)]
pub struct Registered<G>(PhantomData<G>);

impl<S: Serialize, R: Serialize> From<Step<S, R>> for wire::Step {
    fn from(step: Step<S, R>) -> Self {
        match step {
            Step::Respond(response) => Self::Respond(response),
            Step::Pending(Pending { state, actions }) => {
                Self::Pending(wire::Pending { token: kept(&state), actions })
            }
            Step::RunAgain(actions) => Self::Pending(wire::Pending { token: Vec::new(), actions }),
            Step::Bulk(bulk) => {
                let Bulk { state, read } = *bulk;
                Self::Bulk(wire::Bulk {
                    query: read.query,
                    token: kept(&state),
                    follow: read.follow,
                    head: read.head,
                    representation: kept(&read.representation),
                    as_is: read.as_is,
                    opening: read.opening,
                    page_bytes: read.page_bytes,
                    marks: read.marks,
                    idle_ms: read.idle_ms,
                    progress_every: read.progress_every,
                    progress_ms: read.progress_ms,
                    within_ms: read.within_ms,
                })
            }
        }
    }
}

impl<G: Gateway> Guest for Registered<G> {
    fn begin(request: Request) -> wire::Step {
        panic::install_hook();
        G::begin(request).into()
    }

    fn resume(token: Vec<u8>, event: Event) -> wire::Step {
        panic::install_hook();
        match taken(&token) {
            Some(state) => G::resume(state, event).into(),
            None => wire::Step::Respond(Response::new(500)),
        }
    }

    fn run_again(request: Request, outcomes: Vec<Outcome>) -> wire::Step {
        panic::install_hook();
        G::run_again(request, outcomes).into()
    }

    fn encode(representation: Vec<u8>, page: Vec<u8>) -> Result<Vec<u8>, Error> {
        panic::install_hook();
        match taken(&representation) {
            Some(representation) => G::encode(&representation, &page),
            None => Err(problem(code::OTHER, "the representation is not one of this gateway")),
        }
    }

    fn encode_mark(representation: Vec<u8>, mark: Mark) -> Vec<u8> {
        panic::install_hook();
        taken(&representation).map_or_else(Vec::new, |of| G::encode_mark(&of, mark))
    }

    fn conclude(representation: Vec<u8>, ending: Ending) -> Closing {
        panic::install_hook();
        match taken(&representation) {
            Some(representation) => G::conclude(&representation, ending),
            None => Closing { body: Vec::new(), trailers: Vec::new() },
        }
    }
}

/// Makes this crate a gateway on steps: exports `exesdb:gateway/steps` of a type that implements
/// [`Gateway`](crate::steps::Gateway). Use it once per component. It expands to nothing on targets other than WebAssembly.
#[macro_export]
macro_rules! steps_plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Registered = $crate::steps::Registered<$plugin>;
    $crate::bindings::steps::export_steps!(Registered with_types_in $crate::bindings::steps);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn implements<P: $crate::steps::Gateway>() {}
            implements::<$plugin>();
        };
    };
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{Event, Gateway, Guest, Pending, Registered, Request, Response, Step, kept, taken, wire};

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    enum State {
        First { name: String },
        Second(Option<u64>),
    }

    struct Echo;

    impl Gateway for Echo {
        type State = State;
        type Representation = ();

        fn begin(_: Request) -> Step<State, ()> {
            Pending::new(State::Second(None)).into()
        }

        fn resume(_: State, _: Event) -> Step<State, ()> {
            Response::new(204).into()
        }
    }

    #[test]
    fn a_token_is_the_state_that_it_was_made_of() {
        for state in [State::First { name: "é".into() }, State::Second(Some(u64::MAX)), State::Second(None)]
        {
            assert_eq!(taken(&kept(&state)), Some(state));
        }
        assert_eq!(taken::<()>(&kept(&())), Some(()));
    }

    #[test]
    fn other_bytes_are_no_token() {
        let good = kept(&State::First { name: "ab".into() });
        let longer = [&good[..], &[0]].concat();
        let hostile = [
            &[][..],
            &[0],
            &[1],
            &[1, 2],
            &[1, 0, 2, 0xff, 0xff],
            &[1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &good[..good.len() - 1],
            &longer,
        ];
        for bytes in hostile {
            assert_eq!(taken::<State>(bytes), None, "{bytes:?}");
            match Registered::<Echo>::resume(bytes.to_vec(), Event::Draining(1)) {
                wire::Step::Respond(response) => assert_eq!(response.head.status, 500),
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
    }
}
