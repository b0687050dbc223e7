//! The streams component: the exports of `exesdb:store/streams`, and who may call them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, ComponentType, Instance, Lift, Lower, TypedFunc};

use super::ask::{Ask, Reply};
use super::kind::{Call, Function, Kind, exports};
use super::maintenance::{self, Maintained};
use super::pool::{Caller, Partition, StreamsPool};
use crate::access::StoreAccess;
use crate::bindings::streams::{
    AppendRequest, AppendResult, Deletion, EventFilter, EventPage, ImportMark, ImportResult, ImportState,
    ImportedEvent, Retention, StreamInfo, StreamPage, Transaction,
};
use crate::bindings::types::{Direction, Error, EventData, ExpectedVersion, StreamLife};
use crate::names;
use crate::state::State;

/// A function that answers one result for each request, in order.
type Batched<R, A> = TypedFunc<(Vec<Arc<R>>,), (Vec<Result<A, Error>>,)>;

exports! {
    "exesdb:store/streams@0.1.0";
    append: Batched<AppendRequest, AppendResult> = "append",
    transact: Batched<Transaction, Vec<AppendResult>> = "transact",
    import_events: Function<(Arc<[ImportedEvent]>, Arc<[ImportMark]>), ImportResult> = "import-events",
    import_states: Function<(String, Vec<String>), Vec<ImportState>> = "get-import-states",
    delete_stream: Function<(String, ExpectedVersion, Deletion), ()> = "delete-stream",
    set_retention: Function<(String, Retention), ()> = "set-retention",
    read_stream: Function<(String, Option<u64>, u32, Direction), EventPage> = "read-stream",
    read_all: Function<(Option<u64>, u32, Direction), EventPage> = "read-all",
    read_filtered: Function<(EventFilter, Option<u64>, u32, Direction), EventPage> = "read-filtered",
    list_streams: Function<(String, Option<String>, u32, bool), StreamPage> = "list-streams",
    stream_info: Function<(String,), StreamInfo> = "get-stream-info",
    stream_lives: Function<(Vec<String>,), Vec<Option<StreamLife>>> = "get-stream-lives",
}

/// The exports of a streams component in one instance.
pub struct StreamsExports {
    streams: Exports,
    maintenance: maintenance::Exports,
}

impl Maintained for StreamsExports {
    fn maintenance(&self) -> &maintenance::Exports {
        &self.maintenance
    }
}

/// A request with others of its kind in one call. Shared with the guest's call, so that it is still there when the
/// instance ends with it.
pub struct Post<R, A> {
    request: Arc<R>,
    reply: Reply<A>,
}

/// A call to the streams component.
pub enum StreamsCall {
    /// Shares a call with other appends.
    Append(Post<AppendRequest, AppendResult>),
    /// Shares a call with other transactions.
    Transact(Post<Transaction, Vec<AppendResult>>),
    /// Any other function.
    Ask(Box<dyn Ask<StreamsExports>>),
}

impl From<Box<dyn Ask<StreamsExports>>> for StreamsCall {
    fn from(ask: Box<dyn Ask<StreamsExports>>) -> Self {
        Self::Ask(ask)
    }
}

impl Call for StreamsCall {
    fn fail(self, error: Error) {
        // Where nobody waits any more there is nobody to tell.
        match self {
            Self::Append(post) => drop(post.reply.send(Err(error))),
            Self::Transact(post) => drop(post.reply.send(Err(error))),
            Self::Ask(ask) => Call::fail(ask, error),
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Append(post) => ("append", &post.request).hash(&mut hasher),
            Self::Transact(post) => ("transact", &post.request).hash(&mut hasher),
            Self::Ask(ask) => return Call::fingerprint(ask),
        }
        hasher.finish()
    }

    fn is_abandoned(&self) -> bool {
        match self {
            Self::Append(post) => post.reply.is_closed(),
            Self::Transact(post) => post.reply.is_closed(),
            Self::Ask(ask) => Call::is_abandoned(ask),
        }
    }

    fn shareable(&self) -> Option<(u8, usize)> {
        match self {
            Self::Append(post) => Some((0, append_bytes(&post.request))),
            Self::Transact(post) => Some((1, post.request.appends.iter().map(append_bytes).sum())),
            Self::Ask(_) => None,
        }
    }

    fn makes_room(&self) -> bool {
        matches!(self, Self::Ask(ask) if Call::makes_room(ask))
    }
}

/// Bytes of an append in the guest's memory: what its events consist of, and the pointers to that.
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

/// The kind of component that keeps the streams.
pub struct StreamsKind;

impl Kind for StreamsKind {
    type Call = StreamsCall;
    type Indices = (Indices, maintenance::Indices);
    type Exports = StreamsExports;

    fn indices(component: &Component) -> Result<Self::Indices, String> {
        Ok((Indices::of(component)?, maintenance::Indices::of(component)?))
    }

    fn exports(
        (streams, maintenance): &Self::Indices,
        instance: &Instance,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        Ok(StreamsExports {
            streams: streams.load(instance, store)?,
            maintenance: maintenance.load(instance, store)?,
        })
    }

    async fn serve(
        exports: &Self::Exports,
        store: &mut Store<State>,
        calls: &mut Vec<Self::Call>,
    ) -> wasmtime::Result<()> {
        match calls.first_mut() {
            None => Ok(()),
            Some(StreamsCall::Ask(ask)) => {
                ask.serve(exports, store).await?;
                calls.clear();
                Ok(())
            }
            Some(StreamsCall::Append(_)) => {
                let post = |call: &StreamsCall| match call {
                    StreamsCall::Append(post) => Some(post.request.clone()),
                    _ => None,
                };
                let requests = calls.iter().filter_map(post).collect();
                let results = together(&exports.streams.append, store, requests).await?;
                let publisher = Publisher::of(store.data());
                for (call, result) in calls.drain(..).zip(results) {
                    let StreamsCall::Append(Post { request, reply }) = call else { continue };
                    publisher.publish(&request, result.as_ref().ok());
                    // As in `fail`.
                    drop(reply.send(result));
                }
                Ok(())
            }
            Some(StreamsCall::Transact(_)) => {
                let post = |call: &StreamsCall| match call {
                    StreamsCall::Transact(post) => Some(post.request.clone()),
                    _ => None,
                };
                let requests = calls.iter().filter_map(post).collect();
                let results = together(&exports.streams.transact, store, requests).await?;
                let publisher = Publisher::of(store.data());
                for (call, result) in calls.drain(..).zip(results) {
                    let StreamsCall::Transact(Post { request, reply }) = call else { continue };
                    for (append, result) in request.appends.iter().zip(result.iter().flatten()) {
                        publisher.publish(append, Some(result));
                    }
                    // As in `fail`.
                    drop(reply.send(result));
                }
                Ok(())
            }
        }
    }
}

/// Calls a function with many requests, which all must be answered.
async fn together<R, A>(
    function: &Batched<R, A>,
    store: &mut Store<State>,
    requests: Vec<Arc<R>>,
) -> wasmtime::Result<Vec<Result<A, Error>>>
where
    R: ComponentType + Lower + Send + Sync + 'static,
    A: Send + Sync + 'static,
    Vec<Result<A, Error>>: Lift,
{
    let count = requests.len();
    let (results,) = function.call_async(store, (requests,)).await?;
    if results.len() != count {
        let answered = results.len();
        return Err(wasmtime::Error::msg(format!(
            "the component answered {answered} results to {count} requests"
        )));
    }
    Ok(results)
}

/// Wakes those who follow the streams. After the component's answer, so everything told of is durable.
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

    fn publish(&self, request: &AppendRequest, result: Option<&AppendResult>) {
        if let (Some(bus), Some(AppendResult { position, .. })) = (&self.bus, result)
            && *position < self.durable
        {
            bus.publish(&request.stream_id, *position);
        }
    }
}

/// The functions of the interface. What changes a stream goes to the one writer of its partition; any reader serves a
/// read.
impl StreamsPool {
    pub(crate) async fn append(&self, caller: Caller, request: AppendRequest) -> Result<AppendResult, Error> {
        let partition = self.partition(&request.stream_id);
        let request = Arc::new(request);
        self.send(partition, caller, |reply| StreamsCall::Append(Post { request, reply })).await
    }

    /// To the writer of its first stream. Guards keep it right against the writers of the others.
    pub(crate) async fn transact(
        &self,
        caller: Caller,
        transaction: Transaction,
    ) -> Result<Vec<AppendResult>, Error> {
        let first = transaction.appends.first();
        let partition = first.map_or(Partition::Any, |append| self.partition(&append.stream_id));
        let request = Arc::new(transaction);
        self.send(partition, caller, |reply| StreamsCall::Transact(Post { request, reply })).await
    }

    /// Puts events where they were in another store, and notes how many rows of their sources streams have had.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn import_events(
        &self,
        caller: Caller,
        events: Vec<ImportedEvent>,
        marks: Vec<ImportMark>,
    ) -> Result<ImportResult, Error> {
        let first = events.first().map(|event| &event.stream_id);
        let first = first.or(marks.first().map(|mark| &mark.stream_id));
        let partition = first.map_or(Partition::Any, |stream_id| self.partition(stream_id));
        let params = (Arc::from(events), Arc::from(marks));
        self.ask(partition, caller, "import-events", |exports| &exports.streams.import_events, params).await
    }

    /// For each of these streams, how many rows of a source were imported into it, and what is known of it.
    pub(crate) async fn import_states(
        &self,
        caller: Caller,
        source: String,
        stream_ids: Vec<String>,
    ) -> Result<Vec<ImportState>, Error> {
        let asked = stream_ids.len();
        let params = (source, stream_ids);
        let states = self
            .ask(Partition::Any, caller, "import-states", |exports| &exports.streams.import_states, params)
            .await?;
        // A component's word is checked before others rely on it.
        if states.len() != asked {
            let answered = states.len();
            return Err(Error::Other(format!(
                "the streams component told the imports of {answered} streams where {asked} were asked about"
            )));
        }
        Ok(states)
    }

    /// Deletes a stream.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn delete_stream(
        &self,
        caller: Caller,
        stream_id: String,
        expected: ExpectedVersion,
        deletion: Deletion,
    ) -> Result<(), Error> {
        let partition = self.partition(&stream_id);
        let params = (stream_id, expected, deletion);
        self.ask(partition, caller, "delete-stream", |exports| &exports.streams.delete_stream, params).await
    }

    /// Says how long a stream's events are kept.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn set_retention(
        &self,
        caller: Caller,
        stream_id: String,
        retention: Retention,
    ) -> Result<(), Error> {
        let partition = self.partition(&stream_id);
        let params = (stream_id, retention);
        self.ask(partition, caller, "set-retention", |exports| &exports.streams.set_retention, params).await
    }

    pub(crate) async fn read_stream(
        &self,
        caller: Caller,
        stream_id: String,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let params = (stream_id, from, count, direction);
        self.ask(Partition::Any, caller, "read-stream", |exports| &exports.streams.read_stream, params).await
    }

    /// Events of the whole store.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn read_all(
        &self,
        caller: Caller,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let params = (from, count, direction);
        self.ask(Partition::Any, caller, "read-all", |exports| &exports.streams.read_all, params).await
    }

    pub(crate) async fn read_filtered(
        &self,
        caller: Caller,
        filter: EventFilter,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let params = (filter, from, count, direction);
        self.ask(Partition::Any, caller, "read-filtered", |exports| &exports.streams.read_filtered, params)
            .await
    }

    /// Ids of streams, of deleted ones too if `deleted`.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn list_streams(
        &self,
        caller: Caller,
        prefix: String,
        after: Option<String>,
        count: u32,
        deleted: bool,
    ) -> Result<StreamPage, Error> {
        let params = (prefix, after, count, deleted);
        self.ask(Partition::Any, caller, "list-streams", |exports| &exports.streams.list_streams, params)
            .await
    }

    /// What is known of a stream.
    ///
    /// # Errors
    ///
    /// The component's.
    pub async fn stream_info(&self, caller: Caller, stream_id: String) -> Result<StreamInfo, Error> {
        let params = (stream_id,);
        self.ask(Partition::Any, caller, "stream-info", |exports| &exports.streams.stream_info, params).await
    }

    /// The present lives of streams, one for each; none for one that is not live.
    ///
    /// # Errors
    ///
    /// The component's, and [`Error::Other`] if it answers of another number of streams.
    pub async fn stream_lives(
        &self,
        caller: Caller,
        stream_ids: Vec<String>,
    ) -> Result<Vec<Option<StreamLife>>, Error> {
        let asked = stream_ids.len();
        let params = (stream_ids,);
        let lives = self
            .ask(Partition::Any, caller, "stream-lives", |exports| &exports.streams.stream_lives, params)
            .await?;
        // A component's word is checked before others rely on it.
        if lives.len() != asked {
            let answered = lives.len();
            return Err(Error::Other(format!(
                "the streams component told the lives of {answered} streams where {asked} were asked about"
            )));
        }
        Ok(lives)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::{Post, StreamsCall};
    use crate::bindings::streams::{AppendRequest, Transaction};
    use crate::bindings::types::{EventData, ExpectedVersion};
    use crate::persistence::kind::Call;

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
        StreamsCall::Append(Post { request: Arc::new(request), reply: oneshot::channel().0 })
    }

    #[test]
    fn every_part_of_a_request_is_in_its_fingerprint() {
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
    fn a_request_weighs_what_it_takes_in_the_guest() {
        let bytes =
            |change: fn(&mut AppendRequest)| call(change).shareable().expect("appends share a call").1;
        let plain = bytes(|_| ());
        assert_eq!(bytes(|request| request.events[0].event_type = "t".repeat(257)), plain + 256);
        assert_eq!(bytes(|request| request.events[0].tags[0] = "t".repeat(259)), plain + 256);
        assert!(bytes(|request| request.events = vec![request.events[0].clone(); 1_000]) > 100 * plain);
    }

    #[test]
    fn a_transaction_shares_with_its_like_only() {
        let transaction =
            Transaction { appends: vec![request(), request()], checks: Vec::new(), conditions: Vec::new() };
        let call_of_two =
            StreamsCall::Transact(Post { request: Arc::new(transaction), reply: oneshot::channel().0 });
        let (append, transact) = (call(|_| ()).shareable().unwrap(), call_of_two.shareable().unwrap());
        assert_ne!(append.0, transact.0);
        assert_eq!(transact.1, 2 * append.1);
    }

    #[test]
    fn a_call_without_a_listener_is_abandoned() {
        assert!(call(|_| ()).is_abandoned());
    }
}
