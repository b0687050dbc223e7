//! From a request to an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use exesdb_plugin::{GatewayBody, GatewayWorker, Refusal};
use exesdb_supervisor::Registry;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::body::RequestBody;
use crate::health::{self, Readiness};
use crate::problem::problem;
use crate::route::{Route, StoreRoute, route};

/// The body of an answer: a component's, or the host's own.
pub(crate) type AnswerBody = Either<GatewayBody, Full<Bytes>>;

/// What answers need.
pub(crate) struct Answers {
    pub(crate) registry: Registry,
    pub(crate) stores: Vec<StoreRoute>,
    pub(crate) readiness: Readiness,
    pub(crate) turn: AtomicUsize,
}

impl Answers {
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let path = request.uri().path().to_owned();
        let own = match route(&self.stores, &path) {
            Route::Live => health::live(),
            Route::Ready => health::ready(&(self.readiness)()),
            Route::UnknownStore(name) => unknown_store(name),
            Route::Store(store) => match self.ask(store, request).await {
                Ok(response) => return response.map(Either::Left),
                Err(problem) => problem,
            },
        };
        own.map(Either::Right)
    }

    async fn ask(
        &self,
        store: &StoreRoute,
        mut request: Request<Incoming>,
    ) -> Result<Response<GatewayBody>, Response<Full<Bytes>>> {
        match request.headers().get(header::HOST).map(header::HeaderValue::to_str) {
            // HTTP/1.0 has none, and HTTP/2 another; the interface wants one.
            None if request.uri().authority().is_none() => {
                request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
            }
            Some(Err(_)) => return Err(bad_host()),
            None | Some(Ok(_)) => {}
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let worker = GatewayWorker::pick(&self.registry, &store.name, store.workers, turn)
            .ok_or_else(|| not_served(store))?;
        worker.handle(request.map(RequestBody::new)).await.map_err(|refusal| refused(store, &refusal))
    }
}

fn bad_host() -> Response<Full<Bytes>> {
    let detail = "the header `host` is not visible ASCII; send the name or address that you connect to";
    problem(StatusCode::BAD_REQUEST, "invalid-argument", "A header is wrong", detail, &[("field", "host")])
}

fn not_served(store: &StoreRoute) -> Response<Full<Bytes>> {
    let detail = format!(
        "no gateway worker of store `{}` runs: it is being restarted, or it gave up; `exesdb tree` and /health/ready tell which",
        store.name
    );
    let members = [("store", store.name.as_str())];
    problem(StatusCode::SERVICE_UNAVAILABLE, "restarting", "The store does not serve", &detail, &members)
}

fn unknown_store(name: &str) -> Response<Full<Bytes>> {
    let detail =
        format!("there is no store `{name}` here; its name is the path's third part, /v1/stores/NAME/...");
    problem(StatusCode::NOT_FOUND, "store-not-found", "No such store", &detail, &[])
}

fn refused(store: &StoreRoute, refusal: &Refusal) -> Response<Full<Bytes>> {
    let store = [("store", store.name.as_str())];
    let detail = refusal.to_string();
    match refusal {
        Refusal::Overloaded(_) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests at a time",
            &detail,
            &store,
        ),
        Refusal::Restarting => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "restarting",
            "The gateway is being restarted",
            &detail,
            &store,
        ),
        Refusal::Unavailable(_) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The gateway does not start",
            &detail,
            &store,
        ),
        Refusal::Crashed { crash } => {
            let members = [store[0], ("incident", crash.incident.as_str())];
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The gateway failed", &detail, &members)
        }
        Refusal::NoAnswer(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The gateway gave no answer",
            &detail,
            &store,
        ),
    }
}
