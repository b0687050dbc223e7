//! Appends in any order, with any expectation, repeated and mixed up, against a plain list of events: what is answered
//! and what is read must agree with it.

use exesdb_sdk::keyspaces::MemoryKeyspaces;
use exesdb_sdk::streams::{AppendRequest, AppendResult, EventPage};
use exesdb_sdk::types::{Direction, Error, EventData, ExpectedVersion};
use exesdb_streams::append::append;
use exesdb_streams::read::{list_streams, read_all, read_stream, stream_info};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::{prop_assert_eq, proptest};

/// The whole store: stream and event id of each event, in order.
#[derive(Default)]
struct Model {
    events: Vec<(String, String)>,
}

impl Model {
    /// The positions of a stream's events.
    fn positions(&self, stream_id: &str) -> Vec<usize> {
        (0..self.events.len()).filter(|position| self.events[*position].0 == stream_id).collect()
    }

    fn append(&mut self, request: &AppendRequest) -> Result<AppendResult, Error> {
        let positions = self.positions(&request.stream_id);
        let there: Vec<&str> = positions.iter().map(|position| self.events[*position].1.as_str()).collect();
        let wanted: Vec<&str> = request.events.iter().map(|event| event.id.as_str()).collect();
        if let Some(first) = (0..there.len()).find(|first| there[*first..].starts_with(&wanted)) {
            let last = first + wanted.len() - 1;
            return Ok(result(first, last, positions[last]));
        }
        if let Some(id) = wanted.iter().find(|id| there.contains(id)) {
            return Err(Error::IdConflict((*id).to_owned()));
        }
        let last = there.len().checked_sub(1).map(|last| last as u64);
        let holds = match request.expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::NoStream => last.is_none(),
            ExpectedVersion::StreamExists => last.is_some(),
            ExpectedVersion::Exact(version) => last == Some(version),
        };
        if !holds {
            return Err(Error::WrongExpectedVersion(last));
        }
        let first = there.len();
        let added = wanted.iter().map(|id| (request.stream_id.clone(), (*id).to_owned())).collect::<Vec<_>>();
        self.events.extend(added);
        Ok(result(first, first + wanted.len() - 1, self.events.len() - 1))
    }
}

fn result(first: usize, last: usize, position: usize) -> AppendResult {
    AppendResult { first_version: first as u64, last_version: last as u64, position: position as u64 }
}

fn event(id: u8) -> EventData {
    EventData {
        id: id.to_string(),
        event_type: "t".into(),
        content_type: "c".into(),
        data: vec![id],
        metadata: Vec::new(),
    }
}

fn expected() -> impl Strategy<Value = ExpectedVersion> {
    prop_oneof![
        4 => Just(ExpectedVersion::Any),
        1 => Just(ExpectedVersion::NoStream),
        1 => Just(ExpectedVersion::StreamExists),
        2 => (0..6_u64).prop_map(ExpectedVersion::Exact),
    ]
}

/// Runs of few ids in few streams, so that repetitions and conflicts are frequent.
fn request() -> impl Strategy<Value = AppendRequest> {
    (prop_oneof![Just("a"), Just("ab"), Just("b")], expected(), 0..20_u8, 1..4_u8, any::<bool>()).prop_map(
        |(stream_id, expected, first, count, reversed)| {
            let mut events: Vec<_> = (first..first + count).map(event).collect();
            if reversed {
                events.reverse();
            }
            AppendRequest { stream_id: stream_id.into(), expected, events }
        },
    )
}

/// All that a series of pages gives.
fn all(mut read: impl FnMut(Option<u64>) -> EventPage) -> Vec<(String, String, u64, u64)> {
    let mut events = Vec::new();
    let mut from = None;
    loop {
        let page = read(from);
        events.extend(
            page.events.into_iter().map(|event| (event.stream_id, event.id, event.version, event.position)),
        );
        if page.end {
            return events;
        }
        from = page.next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_and_reads_agree_with_a_list(
        calls in vec(vec(request(), 1..6), 1..12),
        count in 1..5_u32,
    ) {
        let store = MemoryKeyspaces::new();
        let mut model = Model::default();
        for (now, call) in calls.iter().enumerate() {
            let answers = append(&store, now as u64, call);
            let modelled: Vec<_> = call.iter().map(|request| model.append(request)).collect();
            // Positions of one call depend on the order in which its streams are committed; versions do not.
            let versions = |answers: &[Result<AppendResult, Error>]| -> Vec<_> {
                answers.iter().map(|answer| answer.clone().map(|ok| (ok.first_version, ok.last_version))).collect()
            };
            prop_assert_eq!(versions(&answers), versions(&modelled));
            // A repetition of the whole call changes nothing and gives the same answers to what was appended.
            let again = append(&store, now as u64, call);
            for (first, second) in answers.iter().zip(&again) {
                if first.is_ok() {
                    prop_assert_eq!(first, second);
                }
            }
            for request in call {
                let _answer = model.append(request);
            }
        }

        let whole = all(|from| read_all(&store, from, count, Direction::Forward).unwrap());
        prop_assert_eq!(whole.len(), model.events.len());
        for (position, event) in whole.iter().enumerate() {
            prop_assert_eq!(event.3, position as u64);
        }
        let mut backward = all(|from| read_all(&store, from, count, Direction::Backward).unwrap());
        backward.reverse();
        prop_assert_eq!(&backward, &whole);

        let mut listed = Vec::new();
        for stream_id in ["a", "ab", "b"] {
            let modelled: Vec<_> =
                model.positions(stream_id).iter().map(|position| model.events[*position].1.clone()).collect();
            if modelled.is_empty() {
                prop_assert_eq!(stream_info(&store, stream_id), Err(Error::NotFound));
                continue;
            }
            listed.push(stream_id.to_owned());
            prop_assert_eq!(stream_info(&store, stream_id).unwrap().last_version, modelled.len() as u64 - 1);
            let forward = all(|from| read_stream(&store, stream_id, from, count, Direction::Forward).unwrap());
            let ids: Vec<_> = forward.iter().map(|event| event.1.clone()).collect();
            prop_assert_eq!(&ids, &modelled);
            let of_whole: Vec<_> = whole.iter().filter(|event| event.0 == stream_id).cloned().collect();
            prop_assert_eq!(&forward, &of_whole);
            for (version, event) in forward.iter().enumerate() {
                prop_assert_eq!(event.2, version as u64);
            }
            let mut backward =
                all(|from| read_stream(&store, stream_id, from, count, Direction::Backward).unwrap());
            backward.reverse();
            prop_assert_eq!(&backward, &forward);
        }
        prop_assert_eq!(list_streams(&store, "", None, 1_000).unwrap().streams, listed);
    }
}
