//! Filters of reads of the whole store.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use super::url::escaped;

/// Selects events of the whole store: those that match every member. The default matches all events.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Events of one of these types; empty for any.
    pub types: Vec<String>,
    /// Events with all of these tags.
    pub tags: Vec<String>,
    /// Instead of types and tags: a JSON array of `{"types": [..], "tags": [..]}`, one of which has to match.
    pub query: Option<Box<RawValue>>,
    /// Events of streams whose names begin with one of these; empty for any.
    pub stream_prefixes: Vec<String>,
    /// Events of streams whose names match this regular expression.
    pub stream_pattern: Option<String>,
    /// Events whose types match this regular expression.
    pub type_pattern: Option<String>,
    /// Events with this correlation id.
    pub correlation_id: Option<String>,
    /// Events with this causation id.
    pub causation_id: Option<String>,
}

impl Filter {
    /// Adds the filter's query parameters to a URL, each after a `&`.
    pub(super) fn push(&self, url: &mut String) {
        let mut add = |key: &str, value: &str| {
            let _ = write!(url, "&{key}={}", escaped(value));
        };
        let lists = [("type", &self.types), ("tag", &self.tags), ("stream_prefix", &self.stream_prefixes)];
        for (key, values) in lists {
            values.iter().for_each(|value| add(key, value));
        }
        let single = [
            ("query", self.query.as_deref().map(RawValue::get)),
            ("stream_pattern", self.stream_pattern.as_deref()),
            ("type_pattern", self.type_pattern.as_deref()),
            ("correlation_id", self.correlation_id.as_deref()),
            ("causation_id", self.causation_id.as_deref()),
        ];
        for (key, value) in single {
            if let Some(value) = value {
                add(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;
    use serde_json::value::RawValue;

    #[test]
    fn a_filter_becomes_query_parameters() {
        let text = |text: &str| vec![text.to_owned()];
        let cases = [
            (Filter::default(), ""),
            (
                Filter { types: vec!["a".into(), "b&c".into()], tags: text("k:ä"), ..Filter::default() },
                "&type=a&type=b%26c&tag=k%3A%C3%A4",
            ),
            (
                Filter {
                    query: Some(RawValue::from_string("[{}]".into()).unwrap()),
                    stream_prefixes: text("o-"),
                    ..Filter::default()
                },
                "&stream_prefix=o-&query=%5B%7B%7D%5D",
            ),
            (
                Filter {
                    stream_pattern: Some("^a+$".into()),
                    type_pattern: Some("b".into()),
                    correlation_id: Some("1".into()),
                    causation_id: Some("2".into()),
                    ..Filter::default()
                },
                "&stream_pattern=%5Ea%2B%24&type_pattern=b&correlation_id=1&causation_id=2",
            ),
        ];
        for (filter, expected) in cases {
            let mut url = String::new();
            filter.push(&mut url);
            assert_eq!(url, expected);
        }
    }
}
