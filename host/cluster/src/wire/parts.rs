//! The parts that messages consist of.

use exesdb_storage::LogId;

use super::WireError;
use crate::limits::NUMBER_MAX;
use crate::types::Vote;

pub(super) fn push_u64(out: &mut Vec<u8>, number: u64) {
    out.extend(number.to_be_bytes());
}

pub(super) fn push_vote(out: &mut Vec<u8>, vote: &Vote) {
    push_u64(out, vote.leader_id().term);
    push_u64(out, vote.leader_id().node_id);
    out.push(vote.committed.into());
}

pub(super) fn push_id(out: &mut Vec<u8>, id: &LogId) {
    [id.term, id.leader, id.index].into_iter().for_each(|number| push_u64(out, number));
}

pub(super) fn push_option<T>(out: &mut Vec<u8>, value: Option<&T>, push: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        push(out, value);
    }
}

/// What was not read yet.
pub(super) struct Rest<'a> {
    bytes: &'a [u8],
    /// What is being read.
    what: &'static str,
}

impl<'a> Rest<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, what: "its head" }
    }

    pub(super) fn begin(&mut self, what: &'static str) {
        self.what = what;
    }

    pub(super) fn end(self) -> Result<(), WireError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(WireError::TooLong { bytes: self.bytes.len() }) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let what = self.what;
        let (array, rest) = self.bytes.split_first_chunk().ok_or(WireError::Truncated { what })?;
        self.bytes = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        self.bytes.split_off(..len).ok_or(WireError::Truncated { what: self.what })
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(WireError::UnknownKind { what: self.what, found }),
        }
    }

    /// A term or an index.
    pub(super) fn number(&mut self) -> Result<u64, WireError> {
        let found = self.u64()?;
        if found > NUMBER_MAX {
            return Err(WireError::TooLarge { what: self.what, found, max: NUMBER_MAX });
        }
        Ok(found)
    }

    pub(super) fn vote(&mut self) -> Result<Vote, WireError> {
        let vote = Vote::new(self.number()?, self.u64()?);
        Ok(Vote { committed: self.flag()?, ..vote })
    }

    pub(super) fn id(&mut self) -> Result<LogId, WireError> {
        Ok(LogId { term: self.number()?, leader: self.u64()?, index: self.number()? })
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }
}
