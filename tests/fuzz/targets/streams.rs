//! Filters of reads: patterns that clients write.

use exesdb_fuzz::fuzz;
use exesdb_sdk::streams::{EventFilter, QueryItem};
use exesdb_sdk::types::RecordedEvent;
use exesdb_streams::correlation::CorrelationIndex;
use exesdb_streams::filter::Filter;

#[test]
fn fuzzed_filters_are_compiled_or_refused() {
    fuzz("filters", |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut lines = text.split('\n').map(str::to_owned);
        let mut line = || lines.next();
        let filter = EventFilter {
            stream_pattern: line(),
            type_pattern: line(),
            correlation_id: line().filter(|id| !id.is_empty()),
            causation_id: None,
            query: line().map(|tag| QueryItem { types: Vec::new(), tags: vec![tag] }).into_iter().collect(),
            stream_prefixes: line().into_iter().collect(),
        };
        let Ok(filter) = Filter::new(filter, CorrelationIndex::On) else { return };
        let event = RecordedEvent {
            stream_id: "order-7".to_owned(),
            version: 0,
            position: 0,
            id: "i".to_owned(),
            event_type: "placed".to_owned(),
            content_type: "application/json".to_owned(),
            data: Vec::new(),
            // The input is also metadata, which is searched for the ids.
            metadata: bytes.to_vec(),
            tags: vec!["customer:7".to_owned()],
            created: 0,
        };
        let _is_let_through = filter.matches(&event);
        drop(filter.plan());
    });
}
