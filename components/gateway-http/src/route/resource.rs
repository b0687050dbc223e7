//! The resources of the API: their paths and methods.

use crate::problem::{Kind, Problem, quoted};

/// Segments of the longest known path.
const SEGMENTS_MAX: usize = 7;

/// A resource. Each has one path template in the OpenAPI document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The OpenAPI document.
    OpenApi,
    /// The events of the whole store.
    AllEvents,
    /// Appends one after the other.
    Appends,
    /// Appends to several streams at once.
    Transactions,
    /// Imports from another store.
    Import,
    /// What streams have imported so far.
    ImportStates,
    /// The snapshots of the whole store.
    AllSnapshots,
    /// The names of streams.
    Streams,
    /// One stream.
    Stream,
    /// The events of one stream.
    StreamEvents,
    /// The retention of one stream.
    Retention,
    /// The snapshots of one stream.
    Snapshots,
    /// A stream's snapshot of the highest version.
    LatestSnapshot,
    /// A stream's snapshot at one version.
    Snapshot,
    /// The durable subscriptions.
    Subscriptions,
    /// One durable subscription.
    Subscription,
    /// What a durable subscription delivers.
    SubscriptionEvents,
    /// A consumer's words about events.
    Settlements,
    /// A pause of a durable subscription.
    PausedSubscription,
    /// The end of a pause.
    ResumedSubscription,
    /// The parked events of a durable subscription.
    Parked,
    /// Another delivery of parked events.
    Replay,
    /// A topic.
    Topic,
}

impl Resource {
    /// All resources.
    pub const ALL: [Self; 23] = [
        Self::OpenApi,
        Self::AllEvents,
        Self::Appends,
        Self::Transactions,
        Self::Import,
        Self::ImportStates,
        Self::AllSnapshots,
        Self::Streams,
        Self::Stream,
        Self::StreamEvents,
        Self::Retention,
        Self::Snapshots,
        Self::LatestSnapshot,
        Self::Snapshot,
        Self::Subscriptions,
        Self::Subscription,
        Self::SubscriptionEvents,
        Self::Settlements,
        Self::PausedSubscription,
        Self::ResumedSubscription,
        Self::Parked,
        Self::Replay,
        Self::Topic,
    ];

    /// The path template, with parameters in braces.
    pub fn template(self) -> &'static str {
        match self {
            Self::OpenApi => "/openapi.json",
            Self::AllEvents => "/v1/stores/{store}/events",
            Self::Appends => "/v1/stores/{store}/append",
            Self::Transactions => "/v1/stores/{store}/transactions",
            Self::Import => "/v1/stores/{store}/import",
            Self::ImportStates => "/v1/stores/{store}/import/states",
            Self::AllSnapshots => "/v1/stores/{store}/snapshots",
            Self::Streams => "/v1/stores/{store}/streams",
            Self::Stream => "/v1/stores/{store}/streams/{stream}",
            Self::StreamEvents => "/v1/stores/{store}/streams/{stream}/events",
            Self::Retention => "/v1/stores/{store}/streams/{stream}/retention",
            Self::Snapshots => "/v1/stores/{store}/streams/{stream}/snapshots",
            Self::LatestSnapshot => "/v1/stores/{store}/streams/{stream}/snapshots/latest",
            Self::Snapshot => "/v1/stores/{store}/streams/{stream}/snapshots/{version}",
            Self::Subscriptions => "/v1/stores/{store}/subscriptions",
            Self::Subscription => "/v1/stores/{store}/subscriptions/{subscription}",
            Self::SubscriptionEvents => "/v1/stores/{store}/subscriptions/{subscription}/events",
            Self::Settlements => "/v1/stores/{store}/subscriptions/{subscription}/settlements",
            Self::PausedSubscription => "/v1/stores/{store}/subscriptions/{subscription}/pause",
            Self::ResumedSubscription => "/v1/stores/{store}/subscriptions/{subscription}/resume",
            Self::Parked => "/v1/stores/{store}/subscriptions/{subscription}/parked",
            Self::Replay => "/v1/stores/{store}/subscriptions/{subscription}/parked/replay",
            Self::Topic => "/v1/stores/{store}/topics/{topic}",
        }
    }

    /// The supported methods, as the header `allow` lists them.
    pub fn allow(self) -> &'static str {
        match self {
            Self::Appends | Self::Transactions | Self::Import | Self::ImportStates => "POST",
            Self::Stream | Self::Snapshots => "GET, HEAD, DELETE",
            Self::StreamEvents => "GET, HEAD, POST",
            Self::Subscription => "GET, HEAD, PUT, PATCH, DELETE",
            Self::SubscriptionEvents | Self::Topic => "GET",
            Self::Parked => "GET, HEAD, DELETE",
            Self::Settlements | Self::PausedSubscription | Self::ResumedSubscription | Self::Replay => "POST",
            Self::Retention => "PUT",
            Self::Snapshot => "GET, HEAD, PUT, DELETE",
            _ => "GET, HEAD",
        }
    }
}

/// The resource of a path, with the encoded segments of the stream (or subscription, or topic) and the version.
pub(super) fn resolve(path: &str) -> Result<(Resource, &str, &str), Problem> {
    let unknown = || {
        let mut detail = format!("no route has the path {}; GET /openapi.json lists them", quoted(path));
        if has_segments_below_stream(path) {
            detail.push_str("; a slash in a stream's name is written %2F");
        }
        Problem::new(Kind::PathNotFound, detail)
    };
    let mut segments = [""; SEGMENTS_MAX];
    let mut rest = path.strip_prefix('/').ok_or_else(unknown)?.split('/');
    let mut length = 0;
    for (slot, segment) in segments.iter_mut().zip(rest.by_ref()) {
        *slot = segment;
        length += 1;
    }
    if rest.next().is_some() {
        return Err(unknown());
    }
    Ok(match segments.get(..length).unwrap_or_default() {
        ["openapi.json"] => (Resource::OpenApi, "", ""),
        ["v1", "stores", _, "events"] => (Resource::AllEvents, "", ""),
        ["v1", "stores", _, "append"] => (Resource::Appends, "", ""),
        ["v1", "stores", _, "transactions"] => (Resource::Transactions, "", ""),
        ["v1", "stores", _, "import"] => (Resource::Import, "", ""),
        ["v1", "stores", _, "import", "states"] => (Resource::ImportStates, "", ""),
        ["v1", "stores", _, "snapshots"] => (Resource::AllSnapshots, "", ""),
        ["v1", "stores", _, "streams"] => (Resource::Streams, "", ""),
        ["v1", "stores", _, "streams", stream] => (Resource::Stream, stream, ""),
        ["v1", "stores", _, "streams", stream, "events"] => (Resource::StreamEvents, stream, ""),
        ["v1", "stores", _, "streams", stream, "retention"] => (Resource::Retention, stream, ""),
        ["v1", "stores", _, "streams", stream, "snapshots"] => (Resource::Snapshots, stream, ""),
        ["v1", "stores", _, "streams", stream, "snapshots", "latest"] => {
            (Resource::LatestSnapshot, stream, "")
        }
        ["v1", "stores", _, "streams", stream, "snapshots", version] => (Resource::Snapshot, stream, version),
        ["v1", "stores", _, "subscriptions"] => (Resource::Subscriptions, "", ""),
        ["v1", "stores", _, "subscriptions", name] => (Resource::Subscription, name, ""),
        ["v1", "stores", _, "subscriptions", name, "events"] => (Resource::SubscriptionEvents, name, ""),
        ["v1", "stores", _, "subscriptions", name, "settlements"] => (Resource::Settlements, name, ""),
        ["v1", "stores", _, "subscriptions", name, "pause"] => (Resource::PausedSubscription, name, ""),
        ["v1", "stores", _, "subscriptions", name, "resume"] => (Resource::ResumedSubscription, name, ""),
        ["v1", "stores", _, "subscriptions", name, "parked"] => (Resource::Parked, name, ""),
        ["v1", "stores", _, "subscriptions", name, "parked", "replay"] => (Resource::Replay, name, ""),
        ["v1", "stores", _, "topics", topic] => (Resource::Topic, topic, ""),
        _ => return Err(unknown()),
    })
}

/// Whether a path has segments after a stream's name, as it does if the name contains a slash.
fn has_segments_below_stream(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let [api, stores, _, streams, _] = std::array::from_fn(|_| segments.next());
    (api, stores, streams) == (Some("v1"), Some("stores"), Some("streams")) && segments.next().is_some()
}

pub(super) fn method_not_allowed(resource: Resource, method: &str) -> Problem {
    let allow = resource.allow();
    let detail = format!("{} has {allow}, not {}", resource.template(), quoted(method));
    let mut problem = Problem::new(Kind::MethodNotAllowed, detail);
    problem.allow = Some(allow);
    problem
}
