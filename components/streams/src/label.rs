//! The labels of events, by which the index finds them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use exesdb_sdk::packed::Envelope;

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

/// A label before it is digested.
type Label<'a> = (LabelKind, Cow<'a, str>);

/// The labels of an append's events, each once, in the order of their digests.
///
/// The events of an append tend to share their labels, so each different label is digested once, at the end.
#[must_use]
pub(crate) fn labels<'a>(
    events: impl Iterator<Item = Envelope<'a>>,
    index: CorrelationIndex,
) -> Vec<Labelled> {
    let mut found: BTreeMap<Label<'a>, (u32, u32)> = BTreeMap::new();
    for (event, at) in events.zip(0..) {
        texts_of(&event, index, |label| found.entry(label).or_insert((at, at)).1 = at);
    }
    one_per_digest(found.into_iter().map(|((kind, text), (first, last))| Labelled {
        digest: label_digest(kind, &text),
        first,
        last,
    }))
}

/// Gives the digests of an event's labels. Whether its correlation and causation ids are indexed depends on the setting when
/// it was appended: `On` gives all labels that it may have, `Off` those that it must have.
pub(crate) fn labels_of(event: &Envelope<'_>, index: CorrelationIndex, mut label: impl FnMut(LabelDigest)) {
    texts_of(event, index, |(kind, text)| label(label_digest(kind, &text)));
}

fn texts_of<'a>(event: &Envelope<'a>, index: CorrelationIndex, mut label: impl FnMut(Label<'a>)) {
    label((LabelKind::Type, Cow::Borrowed(event.event_type)));
    for tag in event.tags {
        label((LabelKind::Tag, Cow::Borrowed(tag)));
    }
    if index == CorrelationIndex::On {
        let ids = CorrelationIds::of(event.metadata);
        for (kind, id) in [(LabelKind::Correlation, ids.correlation), (LabelKind::Causation, ids.causation)] {
            if let Some(id) = id {
                label((kind, Cow::Owned(id)));
            }
        }
    }
}

/// Different labels may have the same digest; they share an entry, which covers the events of all of them.
fn one_per_digest(labels: impl Iterator<Item = Labelled>) -> Vec<Labelled> {
    let mut labels: Vec<_> = labels.collect();
    labels.sort_unstable_by_key(|label| label.digest);
    labels.dedup_by(|next, kept| {
        let same = next.digest == kept.digest;
        if same {
            kept.first = kept.first.min(next.first);
            kept.last = kept.last.max(next.last);
        }
        same
    });
    labels
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::events::{EventData, pack};
    use exesdb_sdk::packed::Events;

    use super::{Labelled, labels, one_per_digest};
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
        let packed = pack("s", &events).unwrap();
        let events = || Events::new(&packed).map(|event| event.unwrap().1);
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
        assert_eq!(labels(events(), CorrelationIndex::Off), expected(&plain));
        let correlated = [(LabelKind::Correlation, "x", 0, 0), (LabelKind::Causation, "k", 0, 0)];
        assert_eq!(labels(events(), CorrelationIndex::On), expected(&[&plain[..], &correlated].concat()));
    }
    #[test]
    fn labels_with_one_digest_share_an_entry() {
        let label = |digest: u8, first, last| Labelled { digest: [digest; 12], first, last };
        let labels = [label(7, 3, 5), label(2, 1, 1), label(7, 1, 4), label(7, 2, 9), label(1, 0, 0)];
        assert_eq!(one_per_digest(labels.into_iter()), [label(1, 0, 0), label(2, 1, 1), label(7, 1, 9)]);
    }
}
