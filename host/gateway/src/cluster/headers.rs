//! What requests and responses say about the cluster, in headers.

use http::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};

use super::ReadLevel;

/// What a read sees: `linearizable` (the default), `at-least=TOKEN`, or `local`.
const READ: HeaderName = HeaderName::from_static("exesdb-read");

/// `1`: the request is not to be relayed; the response says who leads instead.
const NO_RELAY: HeaderName = HeaderName::from_static("exesdb-no-relay");

/// Of a response: how much the node has of the store, for `at-least`.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("exesdb-token");

/// Of a response: where the store's leader serves clients.
pub(crate) const LEADER: HeaderName = HeaderName::from_static("exesdb-leader");

/// Of a response to a relayed request: nothing was done, for this node does not lead.
pub(crate) const MISDIRECTED: HeaderName = HeaderName::from_static("exesdb-misdirected");

/// Of a relayed request, between nodes: who has relayed it. From a client it means nothing.
pub(crate) const RELAYED: HeaderName = HeaderName::from_static("exesdb-relayed");

/// Longest token: a number of 64 bits.
const TOKEN_DIGITS_MAX: usize = 20;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// It may change the store.
    pub(crate) is_change: bool,
    /// What it sees if it is a read.
    pub(crate) level: ReadLevel,
    /// The client does not want it relayed.
    pub(crate) no_relay: bool,
    /// Another node has relayed it.
    pub(crate) is_relayed: bool,
}

impl Asked {
    pub(crate) fn may_be_relayed(&self) -> bool {
        !self.no_relay && !self.is_relayed
    }
}

/// A header whose value is none of those that there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadHeader {
    pub(crate) name: &'static str,
    pub(crate) detail: &'static str,
}

/// That another node has relayed the request: set by this node for requests from its peers, and by nobody else.
#[derive(Clone, Copy, Debug)]
struct Relayed;

/// Marks a request as relayed by another node.
pub(crate) fn mark_relayed<B>(request: &mut Request<B>) {
    request.extensions_mut().insert(Relayed);
}

/// What a request asks for.
///
/// # Errors
///
/// [`BadHeader`].
pub(crate) fn asked<B>(request: &Request<B>) -> Result<Asked, BadHeader> {
    let headers = request.headers();
    let level = match one(headers, &READ)? {
        Some(value) => level(value)?,
        // A follower gets everything in the end, so it need not wait for the newest.
        None if accepts_events(headers) => ReadLevel::Local,
        None => ReadLevel::Linearizable,
    };
    let no_relay = match one(headers, &NO_RELAY)? {
        None => false,
        Some(value) if value == "1" => true,
        Some(_) => {
            return Err(BadHeader {
                name: "exesdb-no-relay",
                detail: "exesdb-no-relay can be 1, or left out",
            });
        }
    };
    let is_change = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let is_relayed = request.extensions().get::<Relayed>().is_some();
    Ok(Asked { is_change, level, no_relay, is_relayed })
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, BadHeader> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ if *name == READ => {
            Err(BadHeader { name: "exesdb-read", detail: "exesdb-read is there more than once" })
        }
        _ => Err(BadHeader { name: "exesdb-no-relay", detail: "exesdb-no-relay is there more than once" }),
    }
}

fn level(value: &HeaderValue) -> Result<ReadLevel, BadHeader> {
    let bad = BadHeader {
        name: "exesdb-read",
        detail: "exesdb-read can be `linearizable` (the default), `at-least=TOKEN` with the exesdb-token of an earlier response, or `local`",
    };
    match value.as_bytes() {
        b"linearizable" => Ok(ReadLevel::Linearizable),
        b"local" => Ok(ReadLevel::Local),
        _ => {
            let token = value.to_str().ok().and_then(|value| value.strip_prefix("at-least="));
            let is_number = |token: &&str| {
                token.len() <= TOKEN_DIGITS_MAX && token.bytes().all(|byte| byte.is_ascii_digit())
            };
            let token = token.filter(is_number).and_then(|token| token.parse().ok());
            token.map(ReadLevel::AtLeast).ok_or(bad)
        }
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Asked, asked, mark_relayed};
    use crate::cluster::ReadLevel;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().method(method).uri("/v1/stores/main/events");
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    #[test]
    fn headers_say_what_a_request_asks_for() {
        let read =
            Asked { is_change: false, level: ReadLevel::Linearizable, no_relay: false, is_relayed: false };
        type Case = (&'static str, &'static [(&'static str, &'static str)], Asked);
        let table: [Case; 8] = [
            ("GET", &[], read),
            ("HEAD", &[("exesdb-read", "linearizable")], read),
            ("GET", &[("exesdb-read", "local")], Asked { level: ReadLevel::Local, ..read }),
            ("GET", &[("exesdb-read", "at-least=17")], Asked { level: ReadLevel::AtLeast(17), ..read }),
            ("GET", &[("accept", "text/event-stream")], Asked { level: ReadLevel::Local, ..read }),
            ("GET", &[("accept", "text/event-stream"), ("exesdb-read", "linearizable")], read),
            ("POST", &[], Asked { is_change: true, ..read }),
            ("DELETE", &[("exesdb-no-relay", "1")], Asked { is_change: true, no_relay: true, ..read }),
        ];
        for (method, headers, expected) in table {
            assert_eq!(asked(&request(method, headers)), Ok(expected), "{method} {headers:?}");
        }
        let mut relayed = request("POST", &[]);
        mark_relayed(&mut relayed);
        assert!(asked(&relayed).unwrap().is_relayed);
    }

    #[test]
    fn values_that_mean_nothing_are_refused_by_the_name_of_the_header() {
        let hostile = [
            ("exesdb-read", "eventual"),
            ("exesdb-read", ""),
            ("exesdb-read", "at-least="),
            ("exesdb-read", "at-least=-1"),
            ("exesdb-read", "at-least=+1"),
            ("exesdb-read", "at-least=18446744073709551616"),
            ("exesdb-read", "at-least=000000000000000000000000000000001"),
            ("exesdb-read", "at-least=\u{e9}"),
            ("exesdb-no-relay", "0"),
            ("exesdb-no-relay", "true"),
        ];
        for (name, value) in hostile {
            assert_eq!(asked(&request("GET", &[(name, value)])).unwrap_err().name, name, "{value}");
        }
        let twice = [("exesdb-read", "local"), ("exesdb-read", "local")];
        assert_eq!(asked(&request("GET", &twice)).unwrap_err().name, "exesdb-read");
        // What another node sets, a client cannot.
        assert!(!asked(&request("POST", &[("exesdb-relayed", "1")])).unwrap().is_relayed);
    }
}
