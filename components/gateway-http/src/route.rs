//! Turns method, path, query and headers of a request into a [`Route`] or a [`Problem`].

use exesdb_sdk::steps::{Call, Response};

use crate::accept::{Representation, event_representation, require_json};
use crate::argument::stream_name;
use crate::operation::append::Append;
use crate::operation::consume::Consume;
use crate::operation::delete_snapshot::DeleteSnapshot;
use crate::operation::delete_stream::DeleteStream;
use crate::operation::follow::Follow;
use crate::operation::import::Import;
use crate::operation::latest_snapshot::LatestSnapshot;
use crate::operation::list_snapshots::ListSnapshots;
use crate::operation::list_streams::ListStreams;
use crate::operation::listen::Listen;
use crate::operation::pipeline::Items;
use crate::operation::prune_snapshots::PruneSnapshots;
use crate::operation::read_bulk::ReadBulk;
use crate::operation::read_page::ReadPage;
use crate::operation::read_snapshot::ReadSnapshot;
use crate::operation::record_snapshot::RecordSnapshot;
use crate::operation::retention::SetRetention;
use crate::operation::stream_info::StreamInfo;
use crate::operation::subscription::{OfSubscription, What};
use crate::operation::transact::Transact;
use crate::operation::{Waiting, import_states, pipeline};
use crate::problem::Problem;
use crate::query::Query;
use crate::request::Head;
use crate::response::{self, OPENAPI};
use crate::selection::{OF_STORE, OF_STORE_REPEATED, OF_STREAM, Scope};

mod resource;

pub use resource::Resource;

/// What a request does. Everything but the body was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// It has a response without the store.
    Respond(Response),
    /// It makes a call.
    Call(Waiting, Call),
    /// It makes a call that needs the body.
    Body(Waiting),
    /// It reads many pages.
    ReadBulk(ReadBulk),
    /// It follows events.
    Follow(Follow),
    /// It asks what streams have imported.
    ImportStates,
    /// It makes appends or imports one after the other.
    Pipeline(Items),
    /// It takes what a durable subscription delivers.
    Consume(Consume),
    /// It listens to a topic.
    Listen(Listen),
}

/// Determines what a request does.
///
/// # Errors
/// The problem to respond with.
pub fn route(head: &Head<'_>) -> Result<Route, Problem> {
    let (resource, stream, version) = resource::resolve(head.path)?;
    if !resource.allow().split(", ").any(|allowed| allowed == head.method) {
        return Err(resource::method_not_allowed(resource, head.method));
    }
    let method = if head.is_head() { "GET" } else { head.method };
    // Decoded only if the resource has a stream.
    let stream_name = || stream_name(stream);
    let route = match (resource, method) {
        // These negotiate their representation.
        (Resource::AllEvents, _) => {
            let query = Query::parse_repeated(head.query, &OF_STORE, &OF_STORE_REPEATED)?;
            return read(head, &query, Scope::of_store(&query)?);
        }
        (Resource::StreamEvents, "GET") => {
            let query = Query::parse(head.query, &OF_STREAM)?;
            return read(head, &query, Scope::of_stream(&query, stream_name()?)?);
        }
        (Resource::Snapshot, "GET") => return ReadSnapshot::parse(head, stream, version),
        (Resource::Appends, _) => return pipeline::parse(head),
        (Resource::Import, _) => return Import::parse(head),
        (Resource::SubscriptionEvents, _) => return Consume::parse(head, stream),
        (Resource::Topic, _) => return Listen::parse(head, stream),
        (Resource::OpenApi, _) => {
            Query::parse(head.query, &[])?;
            Route::Respond(response::json(OPENAPI))
        }
        (Resource::Transactions, _) => Transact::parse(head)?,
        (Resource::ImportStates, _) => import_states::parse(head)?,
        (Resource::StreamEvents, _) => Append::parse(head, stream_name)?,
        (Resource::Streams, _) => ListStreams::parse(head)?,
        (Resource::Stream, "DELETE") => DeleteStream::parse(head, stream_name)?,
        (Resource::Stream, _) => StreamInfo::parse(head, stream_name)?,
        (Resource::Retention, _) => SetRetention::parse(head, stream_name)?,
        (Resource::Subscriptions, _) => OfSubscription::list(head)?,
        (Resource::Subscription, method) => OfSubscription::parse(
            head,
            stream,
            match method {
                "PUT" => What::Create,
                "PATCH" => What::Update,
                "DELETE" => What::Remove,
                _ => What::Info,
            },
        )?,
        (Resource::PausedSubscription, _) => OfSubscription::parse(head, stream, What::Pause)?,
        (Resource::ResumedSubscription, _) => OfSubscription::parse(head, stream, What::Resume)?,
        (Resource::Settlements, _) => OfSubscription::parse(head, stream, What::Settle)?,
        (Resource::Parked, "DELETE") => OfSubscription::parse(head, stream, What::Truncate)?,
        (Resource::Parked, _) => OfSubscription::parse(head, stream, What::Parked)?,
        (Resource::Replay, _) => OfSubscription::parse(head, stream, What::Replay)?,
        (Resource::AllSnapshots, _) => ListSnapshots::of_store(head)?,
        (Resource::Snapshots, "DELETE") => PruneSnapshots::parse(head, stream_name()?)?,
        (Resource::Snapshots, _) => ListSnapshots::of_stream(head, stream_name()?)?,
        (Resource::LatestSnapshot, _) => LatestSnapshot::parse(head, stream_name)?,
        (Resource::Snapshot, "PUT") => RecordSnapshot::parse(head, stream, version)?,
        (Resource::Snapshot, _) => DeleteSnapshot::parse(head, stream, version)?,
    };
    require_json(head)?;
    Ok(route)
}

fn read(head: &Head<'_>, query: &Query<'_>, scope: Scope) -> Result<Route, Problem> {
    let is_bounded = query.get("count").is_some() || query.get("direction") == Some("backward");
    let representation = event_representation(head, is_bounded)?;
    if representation != Representation::EventStream && query.get("caught_up").is_some() {
        return Err(Problem::invalid("caught_up", "needs `accept: text/event-stream`"));
    }
    match representation {
        Representation::EventStream => Follow::parse(head, query, scope),
        Representation::Json => ReadPage::parse(query, scope),
        many => ReadBulk::parse(query, scope, many),
    }
}
