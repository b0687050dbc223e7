//! What streams have imported so far. The names of the streams do not fit into a token, so this is a handler that is run again.

use exesdb_sdk::steps::handler::{self, Calls};
use exesdb_sdk::steps::{Call, ImportLookup, Request, Response};

use super::{Stop, too_large};
use crate::argument::json_body;
use crate::body::{ImportStatesRequest, decode_import_states_request};
use crate::limits::REQUEST_BYTES_MAX;
use crate::problem::{Kind, Problem};
use crate::query::Query;
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, encode, response};

/// Reads the head.
pub(crate) fn parse(head: &Head<'_>) -> Result<Route, Problem> {
    Query::parse(head.query, &[])?;
    json_body(head)?;
    Ok(Route::ImportStates)
}

pub(super) fn run(request: &Request, calls: &mut Calls) -> Result<Response, Stop> {
    if let exesdb_sdk::steps::RequestBody::Pieces(Some(length)) = request.body
        && length > REQUEST_BYTES_MAX as u64
    {
        return Err(too_large().into());
    }
    let body = handler::body(request, REQUEST_BYTES_MAX as u32)?;
    let ImportStatesRequest { source, streams } = decode_import_states_request(body)?;
    let lookup = ImportLookup { source, stream_ids: streams.clone() };
    let answer = calls.call(Call::ImportStates(lookup))?.map_err(|error| problem(error, Subject::Store))?;
    let (states, _) = answer::import_states(answer)?;
    if states.len() != streams.len() {
        let (found, asked) = (states.len(), streams.len());
        let detail = format!("the streams component gave {found} import states for {asked} streams");
        return Err(Problem::new(Kind::Internal, detail).into());
    }
    Ok(response::json(encode::import_states(&streams, &states)))
}
