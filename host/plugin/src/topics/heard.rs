//! What a listener has heard.

use super::notes::Notes;
use super::record::Record;

/// What a listener has heard: events, or notes, or both.
#[derive(Default)]
pub(crate) struct Heard {
    /// Packed.
    pub(crate) events: Vec<u8>,
    pub(crate) count: u32,
    /// Where the next event is looked for; none for a system topic.
    pub(crate) next: Option<u64>,
    pub(crate) notes: Notes,
    /// Nothing more can come.
    pub(crate) is_over: bool,
}

impl Heard {
    pub(super) fn record(record: Record) -> Self {
        Self { notes: Notes { records: vec![record], ..Notes::default() }, ..Self::default() }
    }
}
