//! The labels of the index that lead to the events of a filter.

use exesdb_sdk::types::QueryItem;

use crate::layout::{LabelDigest, LabelKind, label_digest};

/// The way in which the events of a filter are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Scan all events.
    Scan,
    /// Use the index of labels; each matching event is found by one of these.
    Labels(Vec<Lead>),
}

/// Labels that lead to all events of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lead {
    /// Each of the events has all these labels, so that any one of them, such as the rarest, finds them.
    EveryOf(Vec<LabelDigest>),
    /// Each of the events has one of these labels.
    OneOf(Vec<LabelDigest>),
}

impl Lead {
    /// None if the item has neither types nor tags.
    pub(super) fn of_item(item: &QueryItem) -> Option<Self> {
        let types = item.types.iter().map(|event_type| label_digest(LabelKind::Type, event_type));
        let tags = item.tags.iter().map(|tag| label_digest(LabelKind::Tag, tag));
        match (item.types.len(), item.tags.len()) {
            (0, 0) => None,
            (_, 0) => Some(Self::OneOf(types.collect())),
            // An event has only one type, so a type leads to all events only if it is the item's only one.
            (1, _) => Some(Self::EveryOf(tags.chain(types).collect())),
            (_, _) => Some(Self::EveryOf(tags.collect())),
        }
    }
}
