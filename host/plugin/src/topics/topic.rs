//! The names of topics. Pure.

use std::sync::Arc;

use exesdb_pattern::{PATTERN_BYTES_MAX, Pattern};

use crate::bindings::store::subscription_types::Subscribed;
use crate::bindings::store::types::{Error, EventFilter, InvalidArgument, QueryItem};
use crate::text::printable;

/// Bytes of a topic: a pattern and what is before it.
const TOPIC_BYTES_MAX: usize = PATTERN_BYTES_MAX + 8;

/// Bytes of a client's topic that an error shows.
const SHOWN_BYTES_MAX: usize = 64;

/// What there is, for those who ask for something else.
const THERE_ARE: &str = "`$all`, `stream:NAME`, `type:NAME`, `tag:NAME`, `pattern:{JSON}`, `$health`, `$metrics`, \
                         `$lifecycle`, `$alerts` and `$subscriptions`";

/// What somebody listens to.
#[derive(Debug)]
pub(super) enum Topic {
    /// Events of the store.
    Events(EventTopic),
    /// What the store says about itself.
    System(SystemTopic),
}

/// Events of the store.
#[derive(Debug)]
pub(super) struct EventTopic {
    pub(super) source: Subscribed,
    pub(super) pattern: Option<Arc<Pattern>>,
}

/// What the store says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SystemTopic {
    Health,
    Metrics,
    Lifecycle,
    Alerts,
    Subscriptions,
}

impl Topic {
    /// Reads the name of a topic. Names of streams, types and tags are checked by the component, when it reads the first page.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TOPIC_BYTES_MAX {
            return Err(invalid(format!("has {} bytes; it may have {TOPIC_BYTES_MAX}", text.len())));
        }
        let system = match text {
            "$all" => return Ok(Self::of(Subscribed::All(None))),
            "$health" => SystemTopic::Health,
            "$metrics" => SystemTopic::Metrics,
            "$lifecycle" => SystemTopic::Lifecycle,
            "$alerts" => SystemTopic::Alerts,
            "$subscriptions" => SystemTopic::Subscriptions,
            _ => return Self::with_name(text),
        };
        Ok(Self::System(system))
    }

    fn with_name(text: &str) -> Result<Self, Error> {
        let (kind, name) = text.split_once(':').unwrap_or((text, ""));
        let one = || vec![name.to_owned()];
        match kind {
            "stream" => Ok(Self::of(Subscribed::OneStream(name.to_owned()))),
            "type" => Ok(Self::of(labelled(QueryItem { types: one(), tags: Vec::new() }))),
            "tag" => Ok(Self::of(labelled(QueryItem { types: Vec::new(), tags: one() }))),
            "pattern" => {
                let pattern =
                    Pattern::parse(name).map_err(|wrong| invalid(format!("the pattern {wrong}")))?;
                let (source, pattern) = (Subscribed::All(None), Some(Arc::new(pattern)));
                Ok(Self::Events(EventTopic { source, pattern }))
            }
            _ => {
                let shown = printable(text, SHOWN_BYTES_MAX);
                Err(invalid(format!("there is no topic `{shown}`; there are {THERE_ARE}")))
            }
        }
    }

    fn of(source: Subscribed) -> Self {
        Self::Events(EventTopic { source, pattern: None })
    }
}

/// The events of the whole store with a type or a tag.
fn labelled(item: QueryItem) -> Subscribed {
    Subscribed::All(Some(EventFilter {
        query: vec![item],
        stream_prefixes: Vec::new(),
        stream_pattern: None,
        type_pattern: None,
        correlation_id: None,
        causation_id: None,
        options: Vec::new(),
    }))
}

fn invalid(message: String) -> Error {
    Error::Invalid(InvalidArgument { argument: "topic".to_owned(), message })
}

/// The error of a topic that the component refuses: its argument is a part of the topic.
pub(super) fn refused(error: Error) -> Error {
    match error {
        Error::Invalid(InvalidArgument { message, .. }) => invalid(format!("its name {message}")),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::{EventTopic, SystemTopic, TOPIC_BYTES_MAX, Topic};
    use crate::bindings::store::subscription_types::Subscribed;
    use crate::bindings::store::types::{Error, InvalidArgument};

    /// The stream, types, tags and whether there is a pattern.
    fn events(text: &str) -> (Option<String>, Vec<String>, Vec<String>, bool) {
        let Ok(Topic::Events(EventTopic { source, pattern })) = Topic::parse(text) else {
            panic!("{text} is a topic of events")
        };
        let has_pattern = pattern.is_some();
        match source {
            Subscribed::OneStream(stream) => (Some(stream), Vec::new(), Vec::new(), has_pattern),
            Subscribed::All(None) => (None, Vec::new(), Vec::new(), has_pattern),
            Subscribed::All(Some(mut filter)) => {
                let item = filter.query.remove(0);
                (None, item.types, item.tags, has_pattern)
            }
        }
    }

    #[test]
    fn topics_are_read() {
        let some = |text: &str| vec![text.to_owned()];
        assert_eq!(events("$all"), (None, vec![], vec![], false));
        assert_eq!(events("stream:a:b/c"), (Some("a:b/c".to_owned()), vec![], vec![], false));
        assert_eq!(events("type:order:paid"), (None, some("order:paid"), vec![], false));
        assert_eq!(events("tag:customer:7"), (None, vec![], some("customer:7"), false));
        assert_eq!(events(r#"pattern:{"type":"a:b"}"#), (None, vec![], vec![], true));
        for (text, expected) in [
            ("$health", SystemTopic::Health),
            ("$metrics", SystemTopic::Metrics),
            ("$lifecycle", SystemTopic::Lifecycle),
            ("$alerts", SystemTopic::Alerts),
            ("$subscriptions", SystemTopic::Subscriptions),
        ] {
            assert!(matches!(Topic::parse(text), Ok(Topic::System(topic)) if topic == expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_topic_is_refused_with_what_there_is() {
        let long = format!("stream:{}", "x".repeat(TOPIC_BYTES_MAX));
        let deep = format!("pattern:{{\"data\":{}}}", "[".repeat(1_000) + &"]".repeat(1_000));
        for (text, expected) in [
            ("", "no topic ``; there are `$all`"),
            ("$ALL", "`$ALL`"),
            ("$everything", "`$subscriptions`"),
            ("orders", "no topic `orders`"),
            ("streams:a", "`stream:NAME`"),
            ("stream\n:a", "`stream\\n:a`"),
            ("pattern:", "no JSON object"),
            ("pattern:[]", "no JSON object"),
            ("pattern:{\"kind\":1}", "the member `kind`"),
            (&deep, "no JSON object"),
            (&long, "may have 4104"),
        ] {
            let Err(Error::Invalid(InvalidArgument { argument, message })) = Topic::parse(text) else {
                panic!("{text} is no topic")
            };
            assert_eq!(argument, "topic");
            assert!(message.contains(expected) && message.len() < 400, "{text}: {message}");
        }
    }
}
