//! Positions that the commit writes into keys and values.

/// Bytes of a stamp: a position, big-endian, so that positions sort as bytes.
pub const STAMP_BYTES: usize = 8;

/// Eight bytes of a key or value that are overwritten at commit, with the position of one of the batch's events or with
/// the chain after that event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Offset in bytes; [`STAMP_BYTES`] from here are overwritten, big-endian.
    pub at: u32,
    /// Which position of the batch, counted from 0; a gap counts as many as it takes.
    pub event: u32,
}

/// Overwrites the stamped places of `bytes` with the positions of a batch that starts at `first_position`.
pub(crate) fn stamp(bytes: &mut [u8], stamps: impl IntoIterator<Item = Stamp>, first_position: u64) {
    for stamp in stamps {
        let at = stamp.at as usize;
        let position = first_position + u64::from(stamp.event);
        bytes[at..at + STAMP_BYTES].copy_from_slice(&position.to_be_bytes());
    }
}
