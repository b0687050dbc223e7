//! Version 0.1 of the contract in terms of version 0.2: gateways have the one, and persistence components the other. It goes
//! when gateways have version 0.2.
//!
//! A gateway's call becomes a request ([`requests`], [`imports`]) whose events are packed ([`events`]). Its result
//! ([`results`]) or error ([`errors`]) is what the gateway gets. What a component returns is a claim: if it is not a result
//! of the request, the error says so.

mod errors;
mod events;
mod imports;
mod records;
mod requests;
mod results;

pub(super) use errors::of_append;
pub(super) use events::page;
pub(super) use imports::import;
pub(super) use requests::{append, deletion, filter, retention, selection, transaction};
pub(super) use results::{appended, transacted};

/// Converts every element.
pub(super) fn each<A: Into<B>, B>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(Into::into).collect()
}
