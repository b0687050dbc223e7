//! The labels of events, by which the index finds them.

use exesdb_sdk::types::EventData;

use crate::correlation::{CorrelationIds, CorrelationIndex};
use crate::layout::{LabelDigest, LabelKind, label_digest};

/// A label of some events of an append: its entry in keyspace `labels`, without the positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    /// The digest of the label.
    pub(crate) digest: LabelDigest,
    /// The index of the first event with the label, counted from 0.
    pub(crate) first: u32,
    /// The index of the last event with the label.
    pub(crate) last: u32,
}

/// The labels of an append's events, each once, in the order of their digests.
#[must_use]
pub(crate) fn labels<'a>(
    events: impl Iterator<Item = &'a EventData>,
    index: CorrelationIndex,
) -> Vec<Labelled> {
    let mut found: Vec<(LabelDigest, u32)> = Vec::new();
    for (event, at) in events.zip(0..) {
        labels_of(event, index, |digest| found.push((digest, at)));
    }
    found.sort_unstable();
    found
        .chunk_by(|(one, _), (other, _)| one == other)
        .map(|same| {
            let ((digest, first), (_, last)) = (same[0], same[same.len() - 1]);
            Labelled { digest, first, last }
        })
        .collect()
}

fn labels_of(event: &EventData, index: CorrelationIndex, mut label: impl FnMut(LabelDigest)) {
    label(label_digest(LabelKind::Type, &event.event_type));
    for tag in &event.tags {
        label(label_digest(LabelKind::Tag, tag));
    }
    if index == CorrelationIndex::On {
        let ids = CorrelationIds::of(&event.metadata);
        for (kind, id) in [(LabelKind::Correlation, ids.correlation), (LabelKind::Causation, ids.causation)] {
            if let Some(id) = id {
                label(label_digest(kind, &id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::EventData;

    use super::{Labelled, labels};
    use crate::correlation::CorrelationIndex;
    use crate::layout::{LabelKind, label_digest};

    fn event(event_type: &str, tags: &[&str], metadata: &str) -> EventData {
        EventData {
            id: "i".into(),
            event_type: event_type.into(),
            content_type: "c".into(),
            data: Vec::new(),
            metadata: metadata.into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    #[test]
    fn each_label_has_its_first_and_last_event() {
        let events = [
            event("t", &["x"], r#"{"$correlationId":"x","$causationId":"k"}"#),
            event("u", &["x", "y"], ""),
            event("t", &["y"], "{}"),
            event("u", &[], ""),
        ];
        let expected = |list: &[(LabelKind, &str, u32, u32)]| {
            let mut labels: Vec<_> = list
                .iter()
                .map(|(kind, text, first, last)| Labelled {
                    digest: label_digest(*kind, text),
                    first: *first,
                    last: *last,
                })
                .collect();
            labels.sort_unstable_by_key(|label| label.digest);
            labels
        };
        let plain = [
            (LabelKind::Type, "t", 0, 2),
            (LabelKind::Type, "u", 1, 3),
            (LabelKind::Tag, "x", 0, 1),
            (LabelKind::Tag, "y", 1, 2),
        ];
        assert_eq!(labels(events.iter(), CorrelationIndex::Off), expected(&plain));
        let correlated = [(LabelKind::Correlation, "x", 0, 0), (LabelKind::Causation, "k", 0, 0)];
        assert_eq!(
            labels(events.iter(), CorrelationIndex::On),
            expected(&[&plain[..], &correlated].concat())
        );
    }
}
