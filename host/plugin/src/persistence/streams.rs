//! The streams component: calls, and the exports of `exesdb:store/streams`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};

use super::kind::{Call, Function, Kind, index};
use crate::access::StoreAccess;
use crate::bindings::streams::{AppendRequest, AppendResult, EventPage, StreamInfo, StreamPage};
use crate::bindings::types::{Direction, Error, EventData, ExpectedVersion};
use crate::names;
use crate::state::State;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// One result for each request.
type Appended = Vec<Result<AppendResult, Error>>;

/// A call to the streams component.
pub enum StreamsCall {
    /// Shared with the guest's call, so that it is still there when the instance ends with it.
    Append {
        request: Arc<AppendRequest>,
        reply: Reply<AppendResult>,
    },
    ReadStream {
        stream_id: String,
        from: Option<u64>,
        count: u32,
        direction: Direction,
        reply: Reply<EventPage>,
    },
    ReadAll {
        from: Option<u64>,
        count: u32,
        direction: Direction,
        reply: Reply<EventPage>,
    },
    ListStreams {
        prefix: String,
        after: Option<String>,
        count: u32,
        reply: Reply<StreamPage>,
    },
    StreamInfo {
        stream_id: String,
        reply: Reply<StreamInfo>,
    },
}

impl Call for StreamsCall {
    fn fail(self, error: Error) {
        // Where nobody waits any more there is nobody to tell.
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(error))),
            Self::ReadStream { reply, .. } | Self::ReadAll { reply, .. } => drop(reply.send(Err(error))),
            Self::ListStreams { reply, .. } => drop(reply.send(Err(error))),
            Self::StreamInfo { reply, .. } => drop(reply.send(Err(error))),
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Append { request, .. } => hash_append(request, &mut hasher),
            Self::ReadStream { stream_id, from, count, direction, .. } => {
                ("read-stream", stream_id, from, count, *direction as u8).hash(&mut hasher);
            }
            Self::ReadAll { from, count, direction, .. } => {
                ("read-all", from, count, *direction as u8).hash(&mut hasher);
            }
            Self::ListStreams { prefix, after, count, .. } => {
                ("list-streams", prefix, after, count).hash(&mut hasher);
            }
            Self::StreamInfo { stream_id, .. } => ("stream-info", stream_id).hash(&mut hasher),
        }
        hasher.finish()
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Append { reply, .. } => reply.is_closed(),
            Self::ReadStream { reply, .. } | Self::ReadAll { reply, .. } => reply.is_closed(),
            Self::ListStreams { reply, .. } => reply.is_closed(),
            Self::StreamInfo { reply, .. } => reply.is_closed(),
        }
    }

    fn shareable(&self) -> Option<usize> {
        match self {
            Self::Append { request, .. } => {
                Some(request.stream_id.len() + request.events.iter().map(event_bytes).sum::<usize>())
            }
            _ => None,
        }
    }
}

fn hash_append(request: &AppendRequest, hasher: &mut DefaultHasher) {
    let expected = match request.expected {
        ExpectedVersion::Any => (0, 0),
        ExpectedVersion::NoStream => (1, 0),
        ExpectedVersion::StreamExists => (2, 0),
        ExpectedVersion::Exact(version) => (3, version),
    };
    ("append", &request.stream_id, expected, request.events.len()).hash(hasher);
    for event in &request.events {
        (&event.id, &event.event_type, &event.content_type, &event.data, &event.metadata).hash(hasher);
    }
}

/// Bytes of an event in the guest's memory: what it consists of, and the pointers to that.
fn event_bytes(event: &EventData) -> usize {
    let parts =
        [&event.id, &event.event_type, &event.content_type].map(|text| text.len()).iter().sum::<usize>();
    parts + event.data.len() + event.metadata.len() + size_of::<EventData>()
}

/// The exports of a streams component in one instance.
pub struct Exports {
    append: TypedFunc<(Vec<Arc<AppendRequest>>,), (Appended,)>,
    read_stream: Function<(String, Option<u64>, u32, Direction), EventPage>,
    read_all: Function<(Option<u64>, u32, Direction), EventPage>,
    list_streams: Function<(String, Option<String>, u32), StreamPage>,
    stream_info: Function<(String,), StreamInfo>,
}

/// The kind of component that keeps the streams.
pub struct StreamsKind;

impl Kind for StreamsKind {
    type Call = StreamsCall;
    type Indices = [ComponentExportIndex; 5];
    type Exports = Exports;

    const EXPORT: &'static str = "exesdb:store/streams@0.1.0";

    fn indices(component: &Component) -> Result<Self::Indices, String> {
        let find = |name| index(component, Self::EXPORT, name);
        Ok([
            find("append")?,
            find("read-stream")?,
            find("read-all")?,
            find("list-streams")?,
            find("get-stream-info")?,
        ])
    }

    fn exports(
        [append, read_stream, read_all, list_streams, stream_info]: &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        Ok(Exports {
            append: instance.get_typed_func(&mut *store, append)?,
            read_stream: instance.get_typed_func(&mut *store, read_stream)?,
            read_all: instance.get_typed_func(&mut *store, read_all)?,
            list_streams: instance.get_typed_func(&mut *store, list_streams)?,
            stream_info: instance.get_typed_func(&mut *store, stream_info)?,
        })
    }

    async fn serve(
        exports: &Self::Exports,
        store: &mut Store<State>,
        calls: &mut Vec<Self::Call>,
    ) -> wasmtime::Result<()> {
        if let [StreamsCall::Append { .. }, ..] = calls.as_slice() {
            return append(exports, store, calls).await;
        }
        let Some(call) = calls.first() else { return Ok(()) };
        match call {
            StreamsCall::Append { .. } => unreachable!("appends were served above"),
            StreamsCall::ReadStream { stream_id, from, count, direction, .. } => {
                let params = (stream_id.clone(), *from, *count, *direction);
                let (page,) = exports.read_stream.call_async(store, params).await?;
                answer(calls, page, |call| match call {
                    StreamsCall::ReadStream { reply, .. } => Some(reply),
                    _ => None,
                });
            }
            StreamsCall::ReadAll { from, count, direction, .. } => {
                let params = (*from, *count, *direction);
                let (page,) = exports.read_all.call_async(store, params).await?;
                answer(calls, page, |call| match call {
                    StreamsCall::ReadAll { reply, .. } => Some(reply),
                    _ => None,
                });
            }
            StreamsCall::ListStreams { prefix, after, count, .. } => {
                let params = (prefix.clone(), after.clone(), *count);
                let (page,) = exports.list_streams.call_async(store, params).await?;
                answer(calls, page, |call| match call {
                    StreamsCall::ListStreams { reply, .. } => Some(reply),
                    _ => None,
                });
            }
            StreamsCall::StreamInfo { stream_id, .. } => {
                let (info,) = exports.stream_info.call_async(store, (stream_id.clone(),)).await?;
                answer(calls, info, |call| match call {
                    StreamsCall::StreamInfo { reply, .. } => Some(reply),
                    _ => None,
                });
            }
        }
        Ok(())
    }
}

/// Answers the one call in `calls`.
pub(super) fn answer<C, T>(
    calls: &mut Vec<C>,
    result: Result<T, Error>,
    reply: impl FnOnce(C) -> Option<Reply<T>>,
) {
    if let Some(reply) = calls.pop().and_then(reply) {
        // Whoever asked may have gone; then nobody wants the answer.
        drop(reply.send(result));
    }
}

async fn append(
    exports: &Exports,
    store: &mut Store<State>,
    calls: &mut Vec<StreamsCall>,
) -> wasmtime::Result<()> {
    let requests = calls.iter().filter_map(|call| match call {
        StreamsCall::Append { request, .. } => Some(request.clone()),
        _ => None,
    });
    let (results,) = exports.append.call_async(&mut *store, (requests.collect(),)).await?;
    if results.len() != calls.len() {
        let (results, requests) = (results.len(), calls.len());
        return Err(wasmtime::Error::msg(format!(
            "append answered {results} results to {requests} requests"
        )));
    }
    let publisher = Publisher::of(store.data());
    for (call, result) in calls.drain(..).zip(results) {
        if let StreamsCall::Append { request, reply } = call {
            publisher.publish(&request.stream_id, &result);
            // As in `answer`.
            drop(reply.send(result));
        }
    }
    Ok(())
}

/// Wakes those who follow the streams. After the answer of `append`, so everything told of is durable.
struct Publisher {
    bus: Option<Arc<exesdb_pubsub::Bus>>,
    /// A component's word that goes beyond this is not believed.
    durable: u64,
}

impl Publisher {
    fn of(state: &State) -> Self {
        let (registry, store) = (&state.tenancy.registry, &state.tenancy.store);
        let durable = registry.get::<StoreAccess>(&names::store(store));
        Self {
            bus: registry.get(&names::pubsub(store)),
            durable: durable.map_or(0, |store| store.reader.next_position()),
        }
    }

    fn publish(&self, stream_id: &str, result: &Result<AppendResult, Error>) {
        if let (Some(bus), Ok(AppendResult { position, .. })) = (&self.bus, result)
            && *position < self.durable
        {
            bus.publish(stream_id, *position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StreamsCall;
    use crate::bindings::streams::AppendRequest;
    use crate::bindings::types::{EventData, ExpectedVersion};
    use crate::persistence::kind::Call;
    use std::sync::Arc;

    fn request() -> AppendRequest {
        let event = EventData {
            id: "1".into(),
            event_type: "t".into(),
            content_type: "application/json".into(),
            data: b"{}".to_vec(),
            metadata: Vec::new(),
        };
        AppendRequest { stream_id: "s".into(), expected: ExpectedVersion::Exact(1), events: vec![event] }
    }

    fn call(change: impl FnOnce(&mut AppendRequest)) -> StreamsCall {
        let mut request = request();
        change(&mut request);
        StreamsCall::Append { request: Arc::new(request), reply: tokio::sync::oneshot::channel().0 }
    }

    #[test]
    fn every_part_of_a_request_is_in_its_fingerprint() {
        let same = call(|_| ()).fingerprint();
        assert_eq!(same, call(|_| ()).fingerprint());
        let changes: [fn(&mut AppendRequest); 8] = [
            |request| request.stream_id.push('x'),
            |request| request.expected = ExpectedVersion::Exact(2),
            |request| request.expected = ExpectedVersion::Any,
            |request| request.events[0].id.push('x'),
            |request| request.events[0].event_type.push('x'),
            |request| request.events[0].content_type.push('x'),
            |request| request.events[0].data.push(b' '),
            |request| request.events[0].metadata.push(b'1'),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_ne!(same, call(change).fingerprint(), "change {number}");
        }
    }

    #[test]
    fn a_request_weighs_what_it_takes_in_the_guest() {
        let bytes = |change: fn(&mut AppendRequest)| call(change).shareable().expect("appends share a call");
        let plain = bytes(|_| ());
        assert_eq!(bytes(|request| request.events[0].event_type = "t".repeat(257)), plain + 256);
        assert!(bytes(|request| request.events = vec![request.events[0].clone(); 1_000]) > 100 * plain);
    }

    #[test]
    fn a_call_without_a_listener_is_abandoned() {
        assert!(call(|_| ()).is_abandoned());
    }
}
