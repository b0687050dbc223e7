//! The streams component: calls, and the exports of `exesdb:store/streams`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Component, ComponentExportIndex, Instance, TypedFunc};

use super::kind::{Call, Function, Kind, index};
use crate::bindings::streams::{AppendRequest, AppendResult, EventPage, StreamInfo, StreamPage};
use crate::bindings::types::{Direction, Error, ExpectedVersion};
use crate::state::State;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// One result for each request.
type Appended = Vec<Result<AppendResult, Error>>;

/// A call to the streams component.
pub enum StreamsCall {
    Append {
        request: AppendRequest,
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
            Self::Append { request, .. } => {
                request.stream_id.hash(&mut hasher);
                match request.expected {
                    ExpectedVersion::Any => 0,
                    ExpectedVersion::NoStream => 1,
                    ExpectedVersion::StreamExists => 2,
                    ExpectedVersion::Exact(_) => 3,
                }
                .hash(&mut hasher);
                for event in &request.events {
                    (&event.id, &event.event_type, &event.data).hash(&mut hasher);
                }
            }
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

    fn shareable(&self) -> Option<usize> {
        match self {
            Self::Append { request, .. } => {
                Some(request.events.iter().map(|event| event.data.len() + event.metadata.len()).sum())
            }
            _ => None,
        }
    }
}

/// The exports of a streams component in one instance.
pub struct Exports {
    append: TypedFunc<(Arc<Vec<AppendRequest>>,), (Appended,)>,
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
    let mut requests = Vec::with_capacity(calls.len());
    let mut replies = Vec::with_capacity(calls.len());
    for call in calls.drain(..) {
        if let StreamsCall::Append { request, reply } = call {
            requests.push(request);
            replies.push(reply);
        }
    }
    // Shared with the call, so that the requests are still there when the instance ends with them.
    let requests = Arc::new(requests);
    let outcome = exports.append.call_async(&mut *store, (requests.clone(),)).await;
    let results = match outcome {
        Ok((results,)) if results.len() == replies.len() => Ok(results),
        Ok((results,)) => Err(wasmtime::Error::msg(format!(
            "append answered {} results to {} requests",
            results.len(),
            replies.len()
        ))),
        Err(error) => Err(error),
    };
    match results {
        Ok(results) => {
            publish(store.data(), &requests, &results);
            for (reply, result) in replies.into_iter().zip(results) {
                // As in `answer`.
                drop(reply.send(result));
            }
            Ok(())
        }
        Err(error) => {
            let requests = Arc::unwrap_or_clone(requests);
            let back = requests.into_iter().zip(replies);
            calls.extend(back.map(|(request, reply)| StreamsCall::Append { request, reply }));
            Err(error)
        }
    }
}

/// Wakes those who follow the streams. After the answer of `append`, so everything told of is durable.
fn publish(state: &State, requests: &[AppendRequest], results: &[Result<AppendResult, Error>]) {
    let name = crate::names::pubsub(&state.tenancy.store);
    let Some(bus) = state.tenancy.registry.get::<exesdb_pubsub::Bus>(&name) else { return };
    for (request, result) in requests.iter().zip(results) {
        if let Ok(result) = result {
            bus.publish(&request.stream_id, result.position);
        }
    }
}
