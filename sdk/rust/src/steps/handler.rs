//! Handlers that are run again from their beginning, with the outcomes so far, until they have a response.
//!
//! ```
//! use exesdb_sdk::steps::handler::{Again, Calls, run};
//! use exesdb_sdk::steps::{Call, Event, Gateway, Outcome, Reply, Request, Response, Step};
//!
//! struct LastVersion;
//!
//! fn handle(request: &Request, calls: &mut Calls) -> Result<Response, Again> {
//!     let outcome = calls.call(Call::StreamInfo(request.path.trim_start_matches('/').to_owned()))?;
//!     Ok(match outcome.map(|answer| answer.reply) {
//!         Ok(Reply::StreamInfo(info)) => Response::new(200).body(info.last_version.to_string()),
//!         _ => Response::new(404),
//!     })
//! }
//!
//! impl Gateway for LastVersion {
//!     type State = ();
//!     type Representation = ();
//!
//!     fn begin(request: Request) -> Step<(), ()> {
//!         run(&request, Vec::new(), handle)
//!     }
//!     fn resume((): (), _: Event) -> Step<(), ()> {
//!         Response::new(500).into()
//!     }
//!     fn run_again(request: Request, outcomes: Vec<Outcome>) -> Step<(), ()> {
//!         run(&request, outcomes, handle)
//!     }
//! }
//!
//! exesdb_sdk::steps_plugin!(LastVersion);
//! ```

use super::{Action, Call, NumberedCall, Outcome, Request, RequestBody, Step, whole_body};

/// What the handler needs before it can go on: pass it on with `?`.
#[derive(Debug)]
pub struct Again(Box<Action>);

/// The calls of a handler, in their order. It must make the same ones whenever it is run: ids come from the request's `id`,
/// not from chance.
#[derive(Debug)]
pub struct Calls {
    outcomes: std::vec::IntoIter<Outcome>,
    made: u32,
}

impl Calls {
    /// Makes a call.
    ///
    /// # Errors
    ///
    /// [`Again`], the first time.
    pub fn call(&mut self, call: Call) -> Result<Outcome, Again> {
        let id = self.made;
        self.made += 1;
        self.outcomes.next().ok_or_else(|| Again(Box::new(Action::Call(vec![NumberedCall::new(id, call)]))))
    }
}

/// The whole body of a request. The host refuses a longer one.
///
/// # Errors
///
/// [`Again`], if it is not there yet.
pub fn body(request: &Request, limit: u32) -> Result<&[u8], Again> {
    match &request.body {
        RequestBody::Whole(body) => Ok(body),
        RequestBody::Pieces(_) => Err(Again(Box::new(whole_body(limit)))),
    }
}

/// Runs a handler with the outcomes so far: none in `begin`, and those of `run_again`. What it returns is a response or
/// another step.
pub fn run<S, R, T: Into<Step<S, R>>>(
    request: &Request,
    outcomes: Vec<Outcome>,
    handler: impl FnOnce(&Request, &mut Calls) -> Result<T, Again>,
) -> Step<S, R> {
    match handler(request, &mut Calls { outcomes: outcomes.into_iter(), made: 0 }) {
        Ok(step) => step.into(),
        Err(Again(action)) => Step::RunAgain(vec![*action]),
    }
}
