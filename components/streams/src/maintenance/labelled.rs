//! The labels of a stored event.

use exesdb_sdk::types::RecordedEvent;

use crate::correlation::{CorrelationIds, CorrelationIndex};
use crate::layout::{LabelDigest, LabelKind, label_digest};

/// The digests of an event's labels. Whether its correlation and causation ids are indexed depends on the setting when it
/// was appended: `On` returns all labels that it may have, `Off` those that it must have.
pub(super) fn digests(event: &RecordedEvent, index: CorrelationIndex) -> Vec<LabelDigest> {
    let mut digests = vec![label_digest(LabelKind::Type, &event.event_type)];
    digests.extend(event.tags.iter().map(|tag| label_digest(LabelKind::Tag, tag)));
    if index == CorrelationIndex::On {
        let ids = CorrelationIds::of(&event.metadata);
        digests.extend(ids.correlation.map(|id| label_digest(LabelKind::Correlation, &id)));
        digests.extend(ids.causation.map(|id| label_digest(LabelKind::Causation, &id)));
    }
    digests
}

/// Whether an event may have an entry for this label.
pub(super) fn may_have(event: &RecordedEvent, digest: LabelDigest) -> bool {
    digests(event, CorrelationIndex::On).contains(&digest)
}
