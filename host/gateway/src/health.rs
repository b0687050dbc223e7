//! `/health/live` and `/health/ready` (also `/health`). They need no component.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;

/// The state of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreReadiness {
    /// The store's name.
    pub store: String,
    /// Why it cannot serve, if so.
    pub trouble: Option<String>,
    /// What is missing although it serves, if anything.
    pub degraded: Option<String>,
    /// The SHA-256 of each component that it runs, by role.
    pub components: Vec<(String, String)>,
    /// The next position of its log; none while it is not open.
    pub next_position: Option<u64>,
    /// The history that its positions belong to, as 16 hexadecimal digits; none while it is not open.
    pub history: Option<String>,
}

/// Reads the state of each store; called for every `/health/ready` and `/v1/stores`.
pub type Readiness = Arc<dyn Fn() -> Vec<StoreReadiness> + Send + Sync>;

pub(crate) fn live() -> Response<Full<Bytes>> {
    json(StatusCode::OK, serde_json::json!({ "status": "live" }))
}

pub(crate) fn ready(stores: &[StoreReadiness]) -> Response<Full<Bytes>> {
    let ready = stores.iter().all(|store| store.trouble.is_none());
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let each: serde_json::Map<String, serde_json::Value> =
        stores.iter().map(|store| (store.store.clone(), shown(store).into())).collect();
    let components: serde_json::Map<String, serde_json::Value> =
        stores.iter().map(|store| (store.store.clone(), digests(store))).collect();
    let status_text = if ready { "ready" } else { "not ready" };
    json(status, serde_json::json!({ "status": status_text, "stores": each, "components": components }))
}

/// The digests of a store's components: `{"gateway": "...", ...}`.
fn digests(store: &StoreReadiness) -> serde_json::Value {
    let digest = |(role, digest): &(String, String)| (role.clone(), digest.clone().into());
    serde_json::Value::Object(store.components.iter().map(digest).collect())
}

fn shown(store: &StoreReadiness) -> String {
    match (&store.trouble, &store.degraded) {
        (Some(trouble), _) => trouble.clone(),
        (None, Some(degraded)) => format!("ready, but {degraded}"),
        (None, None) => "ready".to_owned(),
    }
}

pub(crate) fn json(status: StatusCode, document: serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(document.to_string())));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::{StoreReadiness, ready, shown};
    use http::StatusCode;

    #[test]
    fn one_store_that_does_not_serve_makes_the_host_not_ready() {
        let store = |name: &str, trouble: Option<&str>| StoreReadiness {
            store: name.into(),
            trouble: trouble.map(str::to_owned),
            degraded: None,
            components: vec![("gateway".to_owned(), "00ff".to_owned())],
            next_position: None,
            history: None,
        };
        assert_eq!(ready(&[store("a", None)]).status(), StatusCode::OK);
        let degraded =
            StoreReadiness { degraded: Some("snapshots are unavailable".into()), ..store("a", None) };
        assert_eq!(
            ready(std::slice::from_ref(&degraded)).status(),
            StatusCode::OK,
            "it serves everything else"
        );
        assert_eq!(shown(&degraded), "ready, but snapshots are unavailable");
        let stores = [store("a", None), store("b", Some("parked"))];
        assert_eq!(ready(&stores).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
