//! Calls to the streams component. Appends and transactions are batched: many requests share one call of the guest.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::exports::StreamsExports;
use crate::bindings::streams::{AppendRequest, AppendResult, Transaction};
use crate::bindings::types::{Error, EventData};
use crate::persistence::call::{Call, ResultSender};
use crate::persistence::unary_call::UnaryCall;

/// A request that shares a call of the guest with others. The request is in an `Arc`, so that the call can be repeated if
/// the instance ends.
pub struct BatchedCall<R, A> {
    pub(super) request: Arc<R>,
    pub(super) result: ResultSender<A>,
}

/// A call to the streams component.
pub enum StreamsCall {
    /// Batched with other appends.
    Append(BatchedCall<AppendRequest, AppendResult>),
    /// Batched with other transactions.
    Transact(BatchedCall<Transaction, Vec<AppendResult>>),
    /// Any other function.
    Unary(Box<dyn UnaryCall<StreamsExports>>),
}

impl From<Box<dyn UnaryCall<StreamsExports>>> for StreamsCall {
    fn from(call: Box<dyn UnaryCall<StreamsExports>>) -> Self {
        Self::Unary(call)
    }
}

impl Call for StreamsCall {
    fn fail(self, error: Error) {
        // The caller may be gone.
        match self {
            Self::Append(call) => drop(call.result.send(Err(error))),
            Self::Transact(call) => drop(call.result.send(Err(error))),
            Self::Unary(call) => Call::fail(call, error),
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Append(call) => ("append", &call.request).hash(&mut hasher),
            Self::Transact(call) => ("transact", &call.request).hash(&mut hasher),
            Self::Unary(call) => return Call::fingerprint(call),
        }
        hasher.finish()
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Append(call) => call.result.is_closed(),
            Self::Transact(call) => call.result.is_closed(),
            Self::Unary(call) => Call::is_abandoned(call),
        }
    }

    fn batchable(&self) -> Option<(u8, usize)> {
        match self {
            Self::Append(call) => Some((0, append_bytes(&call.request))),
            Self::Transact(call) => Some((1, call.request.appends.iter().map(append_bytes).sum())),
            Self::Unary(_) => None,
        }
    }

    fn frees_space(&self) -> bool {
        matches!(self, Self::Unary(call) if Call::frees_space(call))
    }
}

/// Bytes of an append in the guest's memory: the contents of its events and the pointers to them.
fn append_bytes(request: &AppendRequest) -> usize {
    request.stream_id.len() + request.events.iter().map(event_bytes).sum::<usize>()
}

fn event_bytes(event: &EventData) -> usize {
    let texts = [&event.id, &event.event_type, &event.content_type].into_iter().chain(&event.tags);
    texts.map(String::len).sum::<usize>()
        + event.tags.len() * size_of::<String>()
        + event.data.len()
        + event.metadata.len()
        + size_of::<EventData>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::{BatchedCall, StreamsCall};
    use crate::bindings::streams::{AppendRequest, Transaction};
    use crate::bindings::types::{EventData, ExpectedVersion};
    use crate::persistence::call::Call;

    fn request() -> AppendRequest {
        let event = EventData {
            id: "1".into(),
            event_type: "t".into(),
            content_type: "application/json".into(),
            data: b"{}".to_vec(),
            metadata: Vec::new(),
            tags: vec!["a:1".into()],
        };
        AppendRequest { stream_id: "s".into(), expected: ExpectedVersion::Exact(1), events: vec![event] }
    }

    fn call(change: impl FnOnce(&mut AppendRequest)) -> StreamsCall {
        let mut request = request();
        change(&mut request);
        StreamsCall::Append(BatchedCall { request: Arc::new(request), result: oneshot::channel().0 })
    }

    #[test]
    fn a_fingerprint_covers_every_part_of_a_request() {
        let same = call(|_| ()).fingerprint();
        assert_eq!(same, call(|_| ()).fingerprint());
        let changes: [fn(&mut AppendRequest); 9] = [
            |request| request.stream_id.push('x'),
            |request| request.expected = ExpectedVersion::Exact(2),
            |request| request.expected = ExpectedVersion::Any,
            |request| request.events[0].id.push('x'),
            |request| request.events[0].event_type.push('x'),
            |request| request.events[0].content_type.push('x'),
            |request| request.events[0].data.push(b' '),
            |request| request.events[0].metadata.push(b'1'),
            |request| request.events[0].tags[0].push('x'),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(same, call(change).fingerprint(), "change {number}");
        }
    }

    #[test]
    fn the_size_of_a_request_is_its_size_in_the_guest() {
        let bytes = |change: fn(&mut AppendRequest)| call(change).batchable().expect("appends are batched").1;
        let plain = bytes(|_| ());
        assert_eq!(bytes(|request| request.events[0].event_type = "t".repeat(257)), plain + 256);
        assert_eq!(bytes(|request| request.events[0].tags[0] = "t".repeat(259)), plain + 256);
        assert!(bytes(|request| request.events = vec![request.events[0].clone(); 1_000]) > 100 * plain);
    }

    #[test]
    fn transactions_are_batched_with_transactions_only() {
        let transaction =
            Transaction { appends: vec![request(), request()], checks: Vec::new(), conditions: Vec::new() };
        let call_of_two = StreamsCall::Transact(BatchedCall {
            request: Arc::new(transaction),
            result: oneshot::channel().0,
        });
        let (append, transact) = (call(|_| ()).batchable().unwrap(), call_of_two.batchable().unwrap());
        assert_ne!(append.0, transact.0);
        assert_eq!(transact.1, 2 * append.1);
    }

    #[test]
    fn a_call_whose_caller_is_gone_is_abandoned() {
        assert!(call(|_| ()).is_abandoned());
    }
}
