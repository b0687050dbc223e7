//! The labels of a stored event.

use exesdb_sdk::packed::Envelope;

use crate::correlation::CorrelationIndex;
use crate::label::labels_of;
use crate::layout::LabelDigest;

/// The digests of an event's labels; see [`labels_of`].
pub(super) fn digests(event: &Envelope<'_>, index: CorrelationIndex) -> Vec<LabelDigest> {
    let mut digests = Vec::new();
    labels_of(event, index, |digest| digests.push(digest));
    digests
}

/// Whether an event may have an entry for this label.
pub(super) fn may_have(event: &Envelope<'_>, digest: LabelDigest) -> bool {
    digests(event, CorrelationIndex::On).contains(&digest)
}
