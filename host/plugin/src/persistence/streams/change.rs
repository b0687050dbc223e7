//! The changes that a streams component decides about.

use std::sync::Arc;

use crate::bindings::store::types::{DeletionRequest, ImportRequest, RetentionRequest, WriteRequest};
use crate::persistence::decider::changes::Change;

/// A change of streams. The request is in an `Arc`, so that it can be passed again if the instance ends.
#[derive(Clone, Debug, Hash)]
pub enum StreamChange {
    /// Appends.
    Write(Arc<WriteRequest>),
    /// Another retention of a stream.
    Retain(Arc<RetentionRequest>),
    /// The deletion of a stream.
    Remove(Arc<DeletionRequest>),
    /// Events of another store. It is decided without others.
    Import(Arc<ImportRequest>),
}

impl Change for StreamChange {
    fn bytes(&self) -> usize {
        match self {
            Self::Write(request) => {
                request.appends.iter().map(|append| append.stream_id.len() + append.events.len()).sum()
            }
            Self::Import(request) => request.events.len(),
            Self::Retain(request) => request.stream_id.len(),
            Self::Remove(request) => request.stream_id.len(),
        }
    }

    fn joins(&self, before: &Self) -> bool {
        matches!(
            (before, self),
            (Self::Write(_), Self::Write(_))
                | (Self::Retain(_), Self::Retain(_))
                | (Self::Remove(_), Self::Remove(_))
        )
    }

    fn frees_space(&self) -> bool {
        matches!(self, Self::Retain(_) | Self::Remove(_))
    }

    fn streams(&self) -> Option<Vec<&str>> {
        match self {
            Self::Write(request) => Some(request.appends.iter().map(|append| &*append.stream_id).collect()),
            Self::Import(_) => None,
            Self::Retain(_) | Self::Remove(_) => Some(Vec::new()),
        }
    }
}
