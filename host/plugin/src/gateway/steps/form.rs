//! What a bulk read makes of pages, marks and its end: the gateway's bytes.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::exports::{Conclude, Encode, EncodeMark};
use super::guest::{Guest, failed};
use super::marker::Wanted;
use super::rules;
use crate::bindings::gateway::steps::{Bulk, Ending, Mark};
use crate::bindings::store::types::Error;
use crate::gateway::error::GatewayError;

/// The form of a bulk read. Followers with the same form share the bytes of their pages.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Form {
    representation: Arc<Vec<u8>>,
    as_is: bool,
    wanted: Wanted,
}

impl Form {
    pub(super) fn of(bulk: &mut Bulk) -> Self {
        Self {
            representation: Arc::new(std::mem::take(&mut bulk.representation)),
            as_is: bulk.as_is,
            wanted: Wanted::of(bulk),
        }
    }

    /// Which marks are wanted.
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// The bytes of a page.
    pub(super) async fn page(&self, guest: &Guest<'_>, events: Vec<u8>) -> Result<Bytes, Error> {
        if self.as_is {
            return Ok(events.into());
        }
        let call = Encode { representation: self.representation.clone(), page: Arc::new(events) };
        Ok(guest.encode(&call).await?.into())
    }

    /// The bytes of a mark.
    pub(super) async fn mark(&self, guest: &Guest<'_>, mark: Mark) -> Result<Bytes, Error> {
        let call = EncodeMark { representation: self.representation.clone(), mark };
        let encoded = guest.call(&call, Ok).await.map_err(|error| failed(&error))?;
        Ok(encoded.into())
    }

    /// The last bytes, and the trailers.
    pub(super) async fn end(
        &self,
        guest: &Guest<'_>,
        ending: Ending,
    ) -> Result<(Bytes, HeaderMap), GatewayError> {
        let call = Conclude { representation: self.representation.clone(), ending: Arc::new(ending) };
        let checked = |closing: crate::bindings::gateway::steps::Closing| {
            Ok((closing.body.into(), rules::trailers(&closing.trailers)?))
        };
        guest.call(&call, checked).await
    }
}
