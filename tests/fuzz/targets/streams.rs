//! Filters of reads: patterns that clients write.

use exesdb_fuzz::fuzz;
use exesdb_sdk::events::EventData;
use exesdb_sdk::packed::Envelope;
use exesdb_sdk::types::{EventFilter, QueryItem};
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
            options: Vec::new(),
        };
        let Ok(filter) = Filter::new(filter, CorrelationIndex::On) else { return };
        let event = EventData {
            id: "i".to_owned(),
            event_type: "placed".to_owned(),
            content_type: "application/json".to_owned(),
            data: Vec::new(),
            // The input is also metadata, which is searched for the ids.
            metadata: bytes.to_vec(),
            tags: vec!["customer:7".to_owned()],
        };
        let mut envelope = Vec::new();
        event.parts("order-7", 0, 0).push(&mut envelope).expect("the input is short");
        let _is_let_through = filter.matches(&Envelope::read(&envelope).expect("it was just written"));
        drop(filter.plan());
    });
}
