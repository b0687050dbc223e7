//! Queries: which events they match, and which labels of the index lead to those events.

use exesdb_sdk::arguments::check_text;
use exesdb_sdk::types::{Error, QueryItem, invalid};

use crate::check::{EVENT_TYPE_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX};
use crate::layout::{LabelDigest, LabelKind, label_digest};

/// Maximum number of items of one query. Each is compared with every scanned event.
pub(crate) const QUERY_ITEMS_MAX: usize = 16;

/// Maximum number of types of one item. For each, a list of the index is read.
pub(crate) const ITEM_TYPES_MAX: usize = 64;

/// Checks the items of a query, which may be empty. `argument` is the query's name.
///
/// # Errors
///
/// [`Error::Invalid`], which names the argument, as in `filter.query[2].tags[0]`.
pub(crate) fn check_query(argument: &str, query: &[QueryItem]) -> Result<(), Error> {
    check_most(argument, query.len(), QUERY_ITEMS_MAX)?;
    for (index, item) in query.iter().enumerate() {
        let texts = [
            ("types", &item.types, ITEM_TYPES_MAX, EVENT_TYPE_BYTES_MAX),
            ("tags", &item.tags, TAGS_MAX, TAG_BYTES_MAX),
        ];
        for (name, texts, most, bytes_max) in texts {
            let list = format!("{argument}[{index}].{name}");
            check_most(&list, texts.len(), most)?;
            for (at, text) in texts.iter().enumerate() {
                check_text(&format!("{list}[{at}]"), text, bytes_max)?;
            }
        }
    }
    Ok(())
}

pub(super) fn check_most(argument: &str, count: usize, most: usize) -> Result<(), Error> {
    if count <= most {
        return Ok(());
    }
    Err(invalid(argument, format!("has {count} entries; it may have {most}")))
}

/// Whether an event matches one of the items: it has one of the item's types and all of its tags.
#[must_use]
pub(crate) fn matches_query<'a>(
    query: &[QueryItem],
    event_type: &str,
    tags: impl Iterator<Item = &'a str> + Clone,
) -> bool {
    query.iter().any(|item| {
        (item.types.is_empty() || item.types.iter().any(|wanted| wanted == event_type))
            && item.tags.iter().all(|wanted| tags.clone().any(|tag| tag == wanted))
    })
}

/// Labels of which every matching event has at least one; none if an item has neither types nor tags. For an item with
/// tags, its first tag suffices.
#[must_use]
pub(crate) fn labels_of_query(query: &[QueryItem]) -> Option<Vec<LabelDigest>> {
    let mut labels = Vec::new();
    for item in query {
        match (item.tags.first(), item.types.as_slice()) {
            (Some(tag), _) => labels.push(label_digest(LabelKind::Tag, tag)),
            (None, []) => return None,
            (None, types) => {
                labels.extend(types.iter().map(|event_type| label_digest(LabelKind::Type, event_type)));
            }
        }
    }
    labels.sort_unstable();
    labels.dedup();
    Some(labels)
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::types::QueryItem;

    use super::{labels_of_query, matches_query};
    use crate::layout::{LabelKind, label_digest};

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn item(types: &[&str], tags: &[&str]) -> QueryItem {
        QueryItem { types: texts(types), tags: texts(tags) }
    }

    #[test]
    fn an_item_matches_one_of_its_types_and_all_of_its_tags() {
        let tags = texts(&["a:1", "b:2"]);
        let table = [
            (vec![], false),
            (vec![item(&[], &[])], true),
            (vec![item(&["t"], &[])], true),
            (vec![item(&["s", "t"], &[])], true),
            (vec![item(&["T"], &[])], false),
            (vec![item(&["t "], &[])], false),
            (vec![item(&[], &["a:1"])], true),
            (vec![item(&[], &["b:2", "a:1"])], true),
            (vec![item(&[], &["a:1", "c:3"])], false),
            (vec![item(&[], &["a:"])], false),
            (vec![item(&["t"], &["a:1"])], true),
            (vec![item(&["s"], &["a:1"])], false),
            (vec![item(&["t"], &["c:3"])], false),
            (vec![item(&["s"], &[]), item(&[], &["b:2"])], true),
            (vec![item(&["s"], &[]), item(&[], &["c:3"])], false),
        ];
        for (query, expected) in table {
            assert_eq!(matches_query(&query, "t", tags.iter().map(String::as_str)), expected, "{query:?}");
        }
    }

    #[test]
    fn the_labels_of_a_query_cover_all_its_events() {
        use LabelKind::{Tag, Type};
        let labels = |query: &[QueryItem]| labels_of_query(query);
        let digests = |labels: &[(LabelKind, &str)]| {
            let mut digests: Vec<_> = labels.iter().map(|(kind, text)| label_digest(*kind, text)).collect();
            digests.sort_unstable();
            Some(digests)
        };
        assert_eq!(labels(&[]), digests(&[]));
        assert_eq!(labels(&[item(&["t"], &[]), item(&[], &[])]), None);
        assert_eq!(labels(&[item(&["t", "u"], &[])]), digests(&[(Type, "t"), (Type, "u")]));
        assert_eq!(labels(&[item(&["t"], &["a", "b"])]), digests(&[(Tag, "a")]));
        let each_once = [item(&["t", "t"], &[]), item(&["t"], &[]), item(&[], &["t"])];
        assert_eq!(labels(&each_once), digests(&[(Type, "t"), (Tag, "t")]));
    }
}
