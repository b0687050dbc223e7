//! Filters. Pure functions: a filter is checked and compiled, plans where to look, and compares the texts of each event that
//! is found there.

mod plan;
mod query;

use exesdb_sdk::arguments::{STREAM_ID_BYTES_MAX, check_part};
use exesdb_sdk::packed::Envelope;
use exesdb_sdk::types::{Error, EventFilter, QueryItem, check_options, invalid};
use regex_lite::{Regex, RegexBuilder};

pub use self::plan::{Lead, Plan};
use self::query::check_most;
pub(crate) use self::query::{check_query, labels_of_query, matches_query};
use crate::correlation::{self, CorrelationIds, CorrelationIndex};
use crate::layout::{LabelDigest, LabelKind, label_digest};

/// Maximum number of stream prefixes of one filter. Each is compared with every scanned event.
pub(crate) const PREFIXES_MAX: usize = 64;

/// Maximum length of a regular expression in bytes.
pub(crate) const PATTERN_BYTES_MAX: usize = 256;

/// Maximum bytes of one compiled regular expression. One of 256 bytes without counted repetitions stays below; with them
/// it could be of any size, and each of its steps may run at each character of each scanned event.
pub(crate) const PATTERN_PROGRAM_BYTES_MAX: usize = 16 << 10;

/// The cost of matching a regular expression against one byte, in bytes of scanned events: matching a large expression
/// takes as long as reading this many bytes.
const PATTERN_BYTE_COST: usize = 128;

/// Maximum nesting of groups in a regular expression: the compiler recurses on a small stack.
const PATTERN_NESTING_MAX: u32 = 32;

/// A checked filter.
#[derive(Clone, Debug)]
pub struct Filter {
    query: Vec<QueryItem>,
    stream_prefixes: Vec<String>,
    correlation_id: Option<String>,
    causation_id: Option<String>,
    stream_pattern: Option<Regex>,
    type_pattern: Option<Regex>,
}

impl Filter {
    /// Checks a filter and compiles its patterns. `index` is whether the store indexes correlations.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], which names the filter's member, as in `filter.stream-pattern`.
    pub fn new(filter: EventFilter, index: CorrelationIndex) -> Result<Self, Error> {
        check_options(&filter.options)?;
        check_query("filter.query", &filter.query)?;
        check_most("filter.stream-prefixes", filter.stream_prefixes.len(), PREFIXES_MAX)?;
        for (index, prefix) in filter.stream_prefixes.iter().enumerate() {
            check_part(&format!("filter.stream-prefixes[{index}]"), prefix, STREAM_ID_BYTES_MAX)?;
        }
        let ids = [
            ("filter.correlation-id", &filter.correlation_id),
            ("filter.causation-id", &filter.causation_id),
        ];
        for (argument, id) in ids {
            let Some(id) = id else { continue };
            check_correlation_id(argument, id, index)?;
        }
        Ok(Self {
            query: filter.query,
            stream_prefixes: filter.stream_prefixes,
            correlation_id: filter.correlation_id,
            causation_id: filter.causation_id,
            stream_pattern: compile("filter.stream-pattern", filter.stream_pattern.as_deref())?,
            type_pattern: compile("filter.type-pattern", filter.type_pattern.as_deref())?,
        })
    }

    /// Whether an event matches. Cheap comparisons come first.
    #[must_use]
    pub fn matches(&self, event: &Envelope<'_>) -> bool {
        (self.query.is_empty() || matches_query(&self.query, event.event_type, event.tags))
            && (self.stream_prefixes.is_empty()
                || self.stream_prefixes.iter().any(|prefix| event.stream_id.starts_with(prefix.as_str())))
            && is_match(self.type_pattern.as_ref(), event.event_type)
            && is_match(self.stream_pattern.as_ref(), event.stream_id)
            && self.matches_correlation(event.metadata)
    }

    /// Whether matching may be expensive, because the filter has patterns.
    #[must_use]
    pub(crate) fn has_patterns(&self) -> bool {
        self.stream_pattern.is_some() || self.type_pattern.is_some()
    }

    /// The cost of matching the patterns against an event, in bytes of scanned events.
    #[must_use]
    pub(crate) fn pattern_cost(&self, event: &Envelope<'_>) -> usize {
        let of = |pattern: &Option<Regex>, text: &str| pattern.as_ref().map_or(0, |_| text.len());
        let bytes = of(&self.stream_pattern, event.stream_id) + of(&self.type_pattern, event.event_type);
        bytes * PATTERN_BYTE_COST
    }

    fn matches_correlation(&self, metadata: &[u8]) -> bool {
        if self.correlation_id.is_none() && self.causation_id.is_none() {
            return true;
        }
        let CorrelationIds { correlation, causation } = CorrelationIds::of(metadata);
        (self.correlation_id.is_none() || self.correlation_id == correlation)
            && (self.causation_id.is_none() || self.causation_id == causation)
    }

    /// Plans where to look for matching events. Correlation ids are rarer than types and tags.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let ids =
            [(LabelKind::Correlation, &self.correlation_id), (LabelKind::Causation, &self.causation_id)];
        let ids = ids.into_iter().filter_map(|(kind, id)| Some(label_digest(kind, id.as_deref()?)));
        let ids: Vec<LabelDigest> = ids.collect();
        if !ids.is_empty() {
            return Plan::Labels(vec![Lead::EveryOf(ids)]);
        }
        if self.query.is_empty() {
            return Plan::Scan;
        }
        let leads: Option<Vec<Lead>> = self.query.iter().map(Lead::of_item).collect();
        leads.map_or(Plan::Scan, Plan::Labels)
    }
}

/// Checks the length of an id, whose text comes from a client's JSON, and that ids are indexed.
fn check_correlation_id(argument: &str, id: &str, index: CorrelationIndex) -> Result<(), Error> {
    let most = correlation::ID_BYTES_MAX;
    if !(1..=most).contains(&id.len()) {
        return Err(invalid(argument, format!("has {} bytes; it must have 1 to {most}", id.len())));
    }
    if index == CorrelationIndex::Off {
        return Err(invalid(
            argument,
            format!(
                "needs the index of correlations, which this store does not keep; set `{}` of its streams component \
                 to `true`",
                correlation::SETTING
            ),
        ));
    }
    Ok(())
}

fn compile(argument: &str, pattern: Option<&str>) -> Result<Option<Regex>, Error> {
    let Some(pattern) = pattern else { return Ok(None) };
    check_part(argument, pattern, PATTERN_BYTES_MAX)?;
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_PROGRAM_BYTES_MAX)
        .nest_limit(PATTERN_NESTING_MAX)
        .build()
        .map(Some)
        .map_err(|error| invalid(argument, format!("is no regular expression that can be used: {error}")))
}

fn is_match(pattern: Option<&Regex>, text: &str) -> bool {
    pattern.is_none_or(|pattern| pattern.is_match(text))
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::events::EventData;
    use exesdb_sdk::packed::Envelope;
    use exesdb_sdk::types::{Error, EventFilter, QueryItem};

    use super::{Filter, Lead, Plan, check_query};
    use crate::correlation::CorrelationIndex;
    use crate::layout::{LabelKind, label_digest};

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn item(types: &[&str], tags: &[&str]) -> QueryItem {
        QueryItem { types: texts(types), tags: texts(tags) }
    }

    fn every() -> EventFilter {
        EventFilter {
            query: Vec::new(),
            stream_prefixes: Vec::new(),
            correlation_id: None,
            causation_id: None,
            stream_pattern: None,
            type_pattern: None,
            options: Vec::new(),
        }
    }

    fn matches(filter: EventFilter) -> bool {
        let event = EventData {
            id: "i".into(),
            event_type: "OrderPaid".into(),
            content_type: "c".into(),
            data: Vec::new(),
            metadata: br#"{"$correlationId":"c","$causationId":"k\n"}"#.to_vec(),
            tags: texts(&["a:1", "b:2"]),
        };
        let mut bytes = Vec::new();
        event.parts("order-7", 0, 0).push(&mut bytes).unwrap();
        let envelope = Envelope::read(&bytes).unwrap();
        Filter::new(filter, CorrelationIndex::On).unwrap().matches(&envelope)
    }

    /// The argument and the message of the error.
    fn complaint(filter: EventFilter) -> (String, String) {
        match Filter::new(filter, CorrelationIndex::On) {
            Err(Error::Invalid(invalid)) => (invalid.argument, invalid.message),
            Err(other) => panic!("{other:?}"),
            Ok(_) => ("none".into(), String::new()),
        }
    }

    #[test]
    fn all_parts_of_a_filter_must_match() {
        let id = |id: &str| Some(id.to_owned());
        let table = [
            (every(), true),
            (EventFilter { query: vec![item(&["OrderPaid"], &["a:1"])], ..every() }, true),
            (EventFilter { query: vec![item(&["OrderSent"], &[])], ..every() }, false),
            (EventFilter { stream_prefixes: texts(&["x", "order-"]), ..every() }, true),
            (EventFilter { stream_prefixes: texts(&[""]), ..every() }, true),
            (EventFilter { stream_prefixes: texts(&["x", "order-77"]), ..every() }, false),
            (EventFilter { correlation_id: id("c"), ..every() }, true),
            (EventFilter { correlation_id: id("k\n"), ..every() }, false),
            (EventFilter { causation_id: id("k\n"), ..every() }, true),
            (EventFilter { causation_id: id("c"), ..every() }, false),
            (EventFilter { correlation_id: id("c"), causation_id: id("k\n"), ..every() }, true),
            (EventFilter { correlation_id: id("c"), causation_id: id("c"), ..every() }, false),
            // A pattern is not anchored.
            (EventFilter { stream_pattern: id("der"), ..every() }, true),
            (EventFilter { stream_pattern: id("^der"), ..every() }, false),
            (EventFilter { stream_pattern: id(r"^order-\d+$"), ..every() }, true),
            (EventFilter { stream_pattern: id("ORDER"), ..every() }, false),
            (EventFilter { stream_pattern: id("(?i)ORDER"), ..every() }, true),
            (EventFilter { stream_pattern: id(""), ..every() }, true),
            (EventFilter { type_pattern: id("^Order(Paid|Sent)$"), ..every() }, true),
            (EventFilter { type_pattern: id("^order"), ..every() }, false),
            (EventFilter { type_pattern: id("Paid"), stream_prefixes: texts(&["x"]), ..every() }, false),
            (EventFilter { type_pattern: id("Paid"), stream_pattern: id("x"), ..every() }, false),
        ];
        for (filter, expected) in table {
            assert_eq!(matches(filter.clone()), expected, "{filter:?}");
        }
    }

    #[test]
    fn a_plan_uses_the_most_selective_labels() {
        let plan = |filter| Filter::new(filter, CorrelationIndex::On).unwrap().plan();
        let of = |query: &[QueryItem]| plan(EventFilter { query: query.to_vec(), ..every() });
        let digests = |labels: &[(LabelKind, &str)]| {
            labels.iter().map(|(kind, text)| label_digest(*kind, text)).collect::<Vec<_>>()
        };
        let every_of = |labels: &[(LabelKind, &str)]| Lead::EveryOf(digests(labels));
        let one_of = |labels: &[(LabelKind, &str)]| Lead::OneOf(digests(labels));
        use LabelKind::{Causation, Correlation, Tag, Type};
        assert_eq!(of(&[]), Plan::Scan);
        assert_eq!(of(&[item(&[], &[])]), Plan::Scan);
        assert_eq!(of(&[item(&["t"], &[]), item(&[], &[])]), Plan::Scan);
        assert_eq!(of(&[item(&["t", "u"], &[])]), Plan::Labels(vec![one_of(&[(Type, "t"), (Type, "u")])]));
        let all = every_of(&[(Tag, "a"), (Tag, "b"), (Type, "t")]);
        assert_eq!(of(&[item(&["t"], &["a", "b"])]), Plan::Labels(vec![all]));
        let tags = every_of(&[(Tag, "a"), (Tag, "b")]);
        assert_eq!(of(&[item(&["t", "u"], &["a", "b"])]), Plan::Labels(vec![tags]));
        let both = vec![one_of(&[(Type, "t")]), every_of(&[(Tag, "t")])];
        assert_eq!(of(&[item(&["t"], &[]), item(&[], &["t"])]), Plan::Labels(both));
        let narrow = |correlation_id: Option<&str>, causation_id: Option<&str>| EventFilter {
            correlation_id: correlation_id.map(str::to_owned),
            causation_id: causation_id.map(str::to_owned),
            query: vec![item(&["t"], &[])],
            ..every()
        };
        let by_id = |labels: &[(LabelKind, &str)]| Plan::Labels(vec![every_of(labels)]);
        assert_eq!(plan(narrow(Some("c"), None)), by_id(&[(Correlation, "c")]));
        assert_eq!(plan(narrow(None, Some("k"))), by_id(&[(Causation, "k")]));
        assert_eq!(plan(narrow(Some("c"), Some("k"))), by_id(&[(Correlation, "c"), (Causation, "k")]));
        let by_text = EventFilter {
            stream_prefixes: texts(&["a"]),
            stream_pattern: Some("a".into()),
            type_pattern: Some("a".into()),
            ..every()
        };
        assert_eq!(plan(by_text), Plan::Scan);
    }

    #[test]
    fn the_largest_filter_is_accepted() {
        let long = "x".repeat(256);
        let types: Vec<&str> = vec![&long; 64];
        let tags: Vec<&str> = vec![&long; 32];
        let largest = EventFilter {
            query: vec![item(&types, &tags); 16],
            stream_prefixes: vec![long.clone(); 64],
            correlation_id: Some(long.clone()),
            causation_id: Some("\n".into()),
            stream_pattern: Some(long.clone()),
            type_pattern: Some("(?i)".to_owned() + &"[ä-ö]*".repeat(28)),
            options: Vec::new(),
        };
        assert_eq!(complaint(largest).0, "none");
    }

    #[test]
    fn errors_name_the_argument() {
        let long = "x".repeat(257);
        let query = |items: Vec<QueryItem>| complaint(EventFilter { query: items, ..every() }).0;
        assert_eq!(query(vec![item(&[], &[]); 17]), "filter.query");
        assert_eq!(query(vec![item(&[], &[]), item(&["t"; 65], &[])]), "filter.query[1].types");
        assert_eq!(query(vec![item(&[], &["t"; 33])]), "filter.query[0].tags");
        for text in ["", "a\0", "\u{7f}", long.as_str()] {
            assert_eq!(query(vec![item(&["t", text], &[])]), "filter.query[0].types[1]");
            assert_eq!(query(vec![item(&["t"], &[text])]), "filter.query[0].tags[0]");
        }
        match check_query("conditions[3].query", &[item(&[""], &[])]) {
            Err(Error::Invalid(invalid)) => assert_eq!(invalid.argument, "conditions[3].query[0].types[0]"),
            other => panic!("{other:?}"),
        }
        let prefixes =
            |prefixes: Vec<String>| complaint(EventFilter { stream_prefixes: prefixes, ..every() }).0;
        assert_eq!(prefixes(vec!["a".into(); 65]), "filter.stream-prefixes");
        for text in ["a\0", long.as_str()] {
            assert_eq!(prefixes(vec!["a".into(), text.into()]), "filter.stream-prefixes[1]");
        }
        for id in ["", long.as_str()] {
            let id = Some(id.to_owned());
            assert_eq!(
                complaint(EventFilter { correlation_id: id.clone(), ..every() }).0,
                "filter.correlation-id"
            );
            assert_eq!(complaint(EventFilter { causation_id: id, ..every() }).0, "filter.causation-id");
        }
    }

    #[test]
    fn invalid_patterns_are_refused_with_the_reason() {
        let long = "x".repeat(257);
        let nested = "(".repeat(128) + &")".repeat(128);
        for (pattern, reason) in [
            ("(", "open group"),
            ("a**{", ""),
            ("[z-a]", ""),
            (r"\p{L}", ""),
            ("(?=a)", ""),
            (r"(a)\1", ""),
            ("a\0", "control character"),
            (long.as_str(), "257 bytes"),
            (nested.as_str(), "nest"),
            ("(((a{99}){99}){99}){99}", ""),
            ("(a{1,50}){1,50}", ""),
            ("a{4294967295}", ""),
        ] {
            let pattern = Some(pattern.to_owned());
            let of_stream = complaint(EventFilter { stream_pattern: pattern.clone(), ..every() });
            assert_eq!(of_stream.0, "filter.stream-pattern", "{pattern:?}");
            assert!(of_stream.1.contains(reason), "{pattern:?}: {}", of_stream.1);
            assert_eq!(complaint(EventFilter { type_pattern: pattern, ..every() }).0, "filter.type-pattern");
        }
    }

    #[test]
    fn a_filter_by_correlation_needs_the_index() {
        let id = Some("c".to_owned());
        for (argument, filter) in [
            ("filter.correlation-id", EventFilter { correlation_id: id.clone(), ..every() }),
            ("filter.causation-id", EventFilter { causation_id: id.clone(), ..every() }),
        ] {
            match Filter::new(filter, CorrelationIndex::Off) {
                Err(Error::Invalid(invalid)) => {
                    assert_eq!(invalid.argument, argument);
                    assert!(invalid.message.contains("`index-correlation`"), "{}", invalid.message);
                }
                other => panic!("{other:?}"),
            }
        }
        Filter::new(every(), CorrelationIndex::Off).unwrap();
    }
}
