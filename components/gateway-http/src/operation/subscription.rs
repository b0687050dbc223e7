//! Durable subscriptions: created, changed, described, and what is parked. Each request is a named call of the host, whose payload
//! is the request's JSON with the name of the subscription.

use std::collections::BTreeMap;

use exesdb_sdk::steps::{Answer, Call, NamedCall, Reply, Response};
use exesdb_sdk::types::Error;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{OneCall, Waiting, WithBody};
use crate::argument::{count, json_body};
use crate::event_id::EventIds;
use crate::problem::{Kind, Problem};
use crate::query::{Query, percent_decode};
use crate::request::Head;
use crate::route::Route;
use crate::store_error::{Subject, problem};
use crate::{answer, response};

/// A request about subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfSubscription {
    /// None for a list.
    name: Option<String>,
    what: What,
}

/// What is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The subscriptions.
    List,
    /// A description.
    Info,
    /// A new subscription.
    Create,
    /// Other settings.
    Update,
    /// Nothing more is delivered.
    Pause,
    /// Events are delivered again.
    Resume,
    /// Removal.
    Remove,
    /// What is parked.
    Parked,
    /// Parked events are delivered once more.
    Replay,
    /// Parked events are forgotten.
    Truncate,
    /// A consumer's word about events.
    Settle,
}

/// The members of a payload.
type Members = BTreeMap<String, Box<RawValue>>;

impl OfSubscription {
    /// Reads the head of a list.
    pub(crate) fn list(head: &Head<'_>) -> Result<Route, Problem> {
        let query = Query::parse(head.query, &["after", "count", "prefix"])?;
        let mut members = Members::new();
        insert(&mut members, "prefix", &query.get("prefix").unwrap_or_default())?;
        insert(&mut members, "count", &count(&query)?)?;
        if let Some(after) = query.get("after") {
            insert(&mut members, "after", &after)?;
        }
        let of = Self { name: None, what: What::List };
        let call = of.call_with(members)?;
        Ok(Route::Call(Waiting::Subscription(of), call))
    }

    /// Reads the head of a request about one subscription.
    pub(crate) fn parse(head: &Head<'_>, name: &str, what: What) -> Result<Route, Problem> {
        let of = Self { name: Some(subscription_name(name)?), what };
        let known: &[&str] = match what {
            What::Parked => &["count", "from"],
            What::Truncate | What::Replay => &["from", "up_to"],
            _ => &[],
        };
        let query = Query::parse(head.query, known)?;
        if matches!(what, What::Create | What::Update | What::Settle) {
            json_body(head)?;
            return Ok(Route::Body(Waiting::Subscription(of)));
        }
        let mut members = Members::new();
        for number in known.iter().filter(|known| **known != "count") {
            if let Some(place) = query.number(number, 0, u64::MAX)? {
                insert(&mut members, number, &place)?;
            }
        }
        if what == What::Parked {
            insert(&mut members, "count", &count(&query)?)?;
        }
        let call = of.call_with(members)?;
        Ok(Route::Call(Waiting::Subscription(of), call))
    }

    /// The call with these members and the subscription's name.
    fn call_with(&self, mut members: Members) -> Result<Call, Problem> {
        if let Some(name) = &self.name {
            insert(&mut members, "name", name)?;
        }
        let name = match self.what {
            What::List => "list",
            What::Info => "info",
            What::Create => "create",
            What::Update => "update",
            What::Pause => "pause",
            What::Resume => "resume",
            What::Remove => "remove",
            What::Parked => "parked",
            What::Replay => "replay",
            What::Truncate => "truncate",
            What::Settle => "settle",
        };
        let payload = serde_json::to_vec(&members).map_err(internal)?;
        Ok(Call::Named(NamedCall { name: format!("subscriptions/{name}"), payload }))
    }
}

impl WithBody for OfSubscription {
    fn call(&mut self, body: &[u8], _: &mut EventIds) -> Result<Call, Problem> {
        let mut members: Members = if body.trim_ascii().is_empty() && self.what == What::Create {
            Members::new()
        } else {
            serde_json::from_slice(body).map_err(|error| {
                Problem::of_field(Kind::MalformedBody, "body", format!("is not a JSON object: {error}"))
            })?
        };
        if self.what == What::Update {
            let settings = members.into_iter().collect::<BTreeMap<_, _>>();
            members = Members::new();
            insert(&mut members, "settings", &settings)?;
        }
        if members.contains_key("name") {
            return Err(Problem::invalid("name", "stands in the path"));
        }
        self.call_with(members)
    }
}

impl OneCall for OfSubscription {
    fn respond(self, answer: Answer) -> Result<Response, Problem> {
        let reply = match answer.reply {
            Reply::Named(reply) => reply,
            other => return Err(answer::unexpected(&other)),
        };
        match self.what {
            What::Create => {
                let created: Created = serde_json::from_slice(&reply).map_err(internal)?;
                Ok(Response {
                    head: status(if created.created { 201 } else { 200 }),
                    ..response::json(reply)
                })
            }
            What::Update | What::Pause | What::Resume | What::Remove => Ok(response::no_content()),
            _ => Ok(response::json(reply)),
        }
    }

    fn refuse(&self, error: Error) -> Problem {
        match &self.name {
            Some(name) => problem(of_payload(error), Subject::Subscription(name)),
            None => problem(of_payload(error), Subject::Store),
        }
    }
}

/// Whether a subscription was created.
#[derive(Deserialize)]
struct Created {
    created: bool,
}

fn status(status: u16) -> exesdb_sdk::steps::ResponseHead {
    exesdb_sdk::steps::ResponseHead::new(status).header("content-type", "application/json")
}

/// The payload of a call is the body of the request.
fn of_payload(error: Error) -> Error {
    match error {
        Error::Invalid(mut invalid) if invalid.argument == "payload" => {
            invalid.argument = "body".to_owned();
            Error::Invalid(invalid)
        }
        error => error,
    }
}

/// The name of a subscription in a path.
pub(crate) fn subscription_name(segment: &str) -> Result<String, Problem> {
    let name = percent_decode(segment).map_err(|bad| Problem::invalid("subscription", bad))?;
    Ok(name.into_owned())
}

fn insert(members: &mut Members, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Problem> {
    members.insert(name.to_owned(), to_raw_value(value).map_err(internal)?);
    Ok(())
}

fn internal(error: serde_json::Error) -> Problem {
    Problem::new(Kind::Internal, error.to_string())
}
