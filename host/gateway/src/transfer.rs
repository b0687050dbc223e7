//! `/v1/cluster/stores/{store}/transfer-leader`: has another node lead a store.

use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::body::RequestBody;
use crate::cluster::{Cluster, TransferError};
use crate::health::json;
use crate::problem::problem;
use crate::route::StoreRoute;
use crate::service::{OwnResponse, invalid};

/// Bytes of a request: the longest name of a node several times.
const REQUEST_BYTES_MAX: usize = 4 << 10;

/// Longest name of a node, in bytes: what a certificate can have.
const NODE_NAME_BYTES_MAX: usize = 253;

/// Nodes that an error names: those of a small cluster.
const NODES_NAMED_MAX: usize = 20;

/// Has the node that the request names lead the store, or one of the cluster's choice.
pub(crate) async fn transfer_leader(
    cluster: &dyn Cluster,
    store: &StoreRoute,
    request: Request<RequestBody>,
) -> OwnResponse {
    let to = match target(request).await {
        Ok(to) => to,
        Err(problem) => return problem,
    };
    match cluster.transfer_leader(&store.name, to.as_deref()).await {
        Ok(leader) => json(StatusCode::OK, serde_json::json!({ "store": store.name, "leader": leader })),
        Err(error) => not_moved(store, &error),
    }
}

/// The node that a request names, if any.
async fn target(request: Request<RequestBody>) -> Result<Option<String>, OwnResponse> {
    if !is_json(request.headers()) {
        let detail = "content-type: there is none, or one that is not read here; send application/json";
        let title = "The body has a form that is not read";
        let field = [("field", "content-type".into())];
        return Err(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            title,
            detail,
            &field,
        ));
    }
    let body = Limited::new(request.into_body(), REQUEST_BYTES_MAX).collect().await;
    match body {
        Ok(body) => parse(&body.to_bytes()).map_err(|problem| *problem),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("body: is over the limit of {REQUEST_BYTES_MAX} bytes");
            let members = [("field", "body".into()), ("limit", REQUEST_BYTES_MAX.into())];
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "A limit is exceeded", &detail, &members))
        }
        Err(_) => Err(malformed("broke off before its end, and nothing was done; send it again")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads `{ "to": NODE }`, in which `to` may be missing or null.
fn parse(body: &[u8]) -> Result<Option<String>, Box<OwnResponse>> {
    let value: serde_json::Value = serde_json::from_slice(body)
        .map_err(|error| Box::new(malformed(&format!("is not JSON: {error}"))))?;
    let Some(fields) = value.as_object() else { return Err(Box::new(malformed("is no JSON object"))) };
    if fields.keys().any(|name| name != "to") {
        let detail = "body: has an unknown field; there are to";
        return Err(Box::new(invalid("body", "A value breaks a rule", detail)));
    }
    match fields.get("to") {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(to)) if (1..=NODE_NAME_BYTES_MAX).contains(&to.len()) => {
            Ok(Some(to.clone()))
        }
        Some(_) => {
            let detail = format!("to: must be the name of a node, 1 to {NODE_NAME_BYTES_MAX} bytes, or null");
            Err(Box::new(invalid("to", "A value breaks a rule", &detail)))
        }
    }
}

fn malformed(what: &str) -> OwnResponse {
    let members = [("field", "body".into())];
    let detail = format!("body: {what}");
    problem(StatusCode::BAD_REQUEST, "malformed-body", "The body cannot be read", &detail, &members)
}

fn not_moved(store: &StoreRoute, error: &TransferError) -> OwnResponse {
    let members = [("store", store.name.as_str().into())];
    match error {
        TransferError::UnknownNode { node, known } => {
            let named = TransferError::UnknownNode {
                node: node.escape_debug().collect(),
                known: known.iter().take(NODES_NAMED_MAX).cloned().collect(),
            };
            invalid("to", "A value breaks a rule", &format!("to: {named}"))
        }
        TransferError::NotMoved { reason } => {
            let detail =
                format!("{reason}; `exesdb cluster status` shows who leads, and which nodes are behind");
            problem(StatusCode::CONFLICT, "leader-not-moved", "The leader was not moved", &detail, &members)
        }
        TransferError::NoLeader { reason } => {
            let detail = format!("{reason}; nothing was done: send the request again, to any node");
            let title = "The store has no leader";
            problem(StatusCode::SERVICE_UNAVAILABLE, "no-leader", title, &detail, &members)
        }
        TransferError::Lost { reason } => {
            let detail = format!(
                "{reason}; whether the leader was moved is not known: `exesdb cluster status` shows it"
            );
            problem(StatusCode::SERVICE_UNAVAILABLE, "restarting", "The leader is away", &detail, &members)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

    use super::{NODE_NAME_BYTES_MAX, is_json, not_moved, parse};
    use crate::cluster::TransferError;
    use crate::route::StoreRoute;

    #[test]
    fn a_request_names_a_node_or_none() {
        let parsed = |body: &str| parse(body.as_bytes()).ok();
        assert_eq!(parsed("{}"), Some(None));
        assert_eq!(parsed(r#"{"to":null}"#), Some(None));
        assert_eq!(parsed(r#"{ "to": "node-2" }"#), Some(Some("node-2".to_owned())));
        let long = format!(r#"{{"to":"{}"}}"#, "a".repeat(NODE_NAME_BYTES_MAX + 1));
        for hostile in ["", "[]", "null", "\"node-2\"", "{", r#"{"to":1}"#, r#"{"to":""}"#, r#"{"node":"a"}"#]
        {
            assert_eq!(parsed(hostile), None, "{hostile}");
        }
        assert_eq!((parsed(&long), parse(b"{\"to\":\"\xff\"}").ok()), (None, None));
    }

    #[test]
    fn only_json_is_read() {
        for (content_type, fits) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            assert_eq!(is_json(&headers), fits, "{content_type}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn a_refusal_says_whether_anything_was_done() {
        let store = StoreRoute { name: "main".into(), workers: 1 };
        let reason = || "it is away".to_owned();
        let table = [
            (
                TransferError::UnknownNode { node: "x\n".into(), known: vec!["a".into()] },
                400,
                "there is no node",
            ),
            (TransferError::NotMoved { reason: reason() }, 409, "leader-not-moved"),
            (TransferError::NoLeader { reason: reason() }, 503, "nothing was done"),
            (TransferError::Lost { reason: reason() }, 503, "is not known"),
        ];
        for (error, status, expected) in table {
            let response = not_moved(&store, &error);
            assert_eq!(response.status().as_u16(), status, "{error:?}");
            let text = format!("{response:?}");
            assert!(text.contains(expected), "{text}");
        }
    }
}
