//! From a request to an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use exesdb_plugin::{GatewayBody, GatewayError, GatewayWorker};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::body::RequestBody;
use crate::health::{self, StoreReadiness};
use crate::listener::Served;
use crate::problem::problem;
use crate::route::{Route, StoreRoute, route};
use crate::stores;
use crate::web::{self, Verdict};

/// Bytes of a client's text that an error repeats: enough to recognise it.
const REPEATED_BYTES_MAX: usize = 100;

/// Names of stores that an error lists.
const STORES_NAMED_MAX: usize = 20;

/// The body of an answer: a component's, or the host's own.
pub(crate) type AnswerBody = Either<GatewayBody, Full<Bytes>>;

/// What answers need.
pub(crate) struct Answers {
    pub(crate) served: Served,
    pub(crate) turn: AtomicUsize,
}

impl Answers {
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let verdict = self.served.web.judge(request.method(), request.uri(), request.headers());
        let own = match verdict {
            Verdict::Own => return self.route(request).await,
            Verdict::Allowed(origin) => {
                let mut response = self.route(request).await;
                web::allow(response.headers_mut(), origin);
                return response;
            }
            Verdict::Preflight(origin) => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.headers_mut() = web::preflight(request.headers(), origin);
                response
            }
            Verdict::ForeignOrigin(origin) => foreign_origin(&origin),
            Verdict::ForeignHost(host) => foreign_host(&host),
            Verdict::BadHost => bad_host(),
        };
        own.map(Either::Right)
    }

    async fn route(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let path = request.uri().path().to_owned();
        let route = route(&self.served.stores, &path);
        let own = match &route {
            Route::UnknownStore(name) => unknown_store(name, &self.served.stores),
            Route::Store(store) => match self.ask(store, request).await {
                Ok(response) => return response.map(Either::Left),
                Err(problem) => problem,
            },
            own => misread(&request, &path).unwrap_or_else(|| self.own(own)),
        };
        own.map(Either::Right)
    }

    /// What the host knows itself.
    fn own(&self, route: &Route<'_>) -> Response<Full<Bytes>> {
        let readiness = || (self.served.readiness)();
        match route {
            Route::Ready => health::ready(&readiness()),
            Route::Stores => stores::list(&readiness()),
            Route::StoreInfo(route) => match readiness().iter().find(|store| store.store == route.name) {
                Some(store) => stores::info(store),
                None => unknown_store(&route.name, &self.served.stores),
            },
            Route::Live | Route::Store(_) | Route::UnknownStore(_) => health::live(),
        }
    }

    async fn ask(
        &self,
        store: &StoreRoute,
        mut request: Request<Incoming>,
    ) -> Result<Response<GatewayBody>, Response<Full<Bytes>>> {
        // HTTP/1.0 has none, and HTTP/2 another; the interface wants one.
        if request.headers().get(header::HOST).is_none() && request.uri().authority().is_none() {
            request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let worker = GatewayWorker::pick(&self.served.registry, &store.name, store.workers, turn)
            .ok_or_else(|| not_served(store, &(self.served.readiness)()))?;
        worker.handle(request.map(RequestBody::new)).await.map_err(|refusal| refused(store, &refusal))
    }
}

/// The refusal of a request to the host itself that does more than ask, or has parameters.
fn misread(request: &Request<Incoming>, path: &str) -> Option<Response<Full<Bytes>>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let detail = format!("{path} has GET, HEAD, not `{}`", request.method());
        let title = "The path does not have this method";
        let mut problem = problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title, &detail, &[]);
        problem.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return Some(problem);
    }
    let query = request.uri().query().filter(|query| !query.is_empty())?;
    let name = query.split(['=', '&']).next().unwrap_or(query);
    let detail = format!("{name} is not a parameter of {path}; this route has none");
    Some(invalid(name, "A value breaks a rule", &detail))
}

fn invalid(field: &str, title: &str, detail: &str) -> Response<Full<Bytes>> {
    problem(StatusCode::BAD_REQUEST, "invalid-argument", title, detail, &[("field", field.into())])
}

fn bad_host() -> Response<Full<Bytes>> {
    let detail = "host is not one name or address with or without a port, in visible ASCII; \
                  send the name or address that you connect to, once";
    invalid("host", "A header is wrong", detail)
}

fn foreign_origin(origin: &str) -> Response<Full<Bytes>> {
    let shown = clipped(origin);
    let detail = format!(
        "the request comes from a web page of the origin `{shown}`, which this host does not know; if its pages may \
         read and write all stores, add it to `allowed_origins` in the configuration file"
    );
    let title = "A web page of another origin may not do this";
    problem(StatusCode::FORBIDDEN, "foreign-origin", title, &detail, &[("origin", shown.into())])
}

fn foreign_host(host: &str) -> Response<Full<Bytes>> {
    let shown = clipped(host);
    let detail = format!(
        "the request is sent to the name `{shown}`, which is not this host's; use `localhost` or the address that the \
         host listens on, or add the name to `allowed_hosts` in the configuration file"
    );
    let title = "The host does not have this name";
    problem(StatusCode::MISDIRECTED_REQUEST, "foreign-host", title, &detail, &[("host", shown.into())])
}

/// As much of a client's text as an error repeats.
fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(REPEATED_BYTES_MAX)).unwrap_or(text)
}

/// Says why, so that nobody has to look for it elsewhere: a store that is parked does not come back by itself.
fn not_served(store: &StoreRoute, readiness: &[StoreReadiness]) -> Response<Full<Bytes>> {
    let readiness = readiness.iter().find(|readiness| readiness.store == store.name);
    let trouble = readiness.and_then(|readiness| readiness.trouble.as_deref());
    let trouble = trouble.unwrap_or("its gateway is being restarted; try again");
    let detail = format!("store `{}` does not serve: {trouble}", store.name);
    let members = [("store", store.name.as_str().into())];
    problem(StatusCode::SERVICE_UNAVAILABLE, "restarting", "The store does not serve", &detail, &members)
}

fn unknown_store(name: &str, stores: &[StoreRoute]) -> Response<Full<Bytes>> {
    let there_are: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
    let named: Vec<String> =
        there_are.iter().take(STORES_NAMED_MAX).map(|store| format!("`{store}`")).collect();
    let more = if there_are.len() > named.len() { ", and more: see GET /v1/stores" } else { "" };
    let detail = format!(
        "there is no store `{}` here; there are {}{more}; a store's name is the path's third part, /v1/stores/NAME/...",
        clipped(name),
        named.join(", "),
    );
    let members =
        [("store", clipped(name).into()), ("stores", there_are.into_iter().take(STORES_NAMED_MAX).collect())];
    problem(StatusCode::NOT_FOUND, "store-not-found", "No such store", &detail, &members)
}

fn refused(store: &StoreRoute, refusal: &GatewayError) -> Response<Full<Bytes>> {
    let store = [("store", serde_json::Value::from(store.name.as_str()))];
    let detail = refusal.to_string();
    match refusal {
        GatewayError::Overloaded | GatewayError::TooManyLong(_) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Too many requests at a time",
            &detail,
            &store,
        ),
        GatewayError::Restarting => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "restarting",
            "The gateway is being restarted",
            &detail,
            &store,
        ),
        GatewayError::Unavailable => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The gateway does not start",
            &detail,
            &store,
        ),
        GatewayError::Crashed { crash } => {
            let [store] = store;
            let members = [store, ("incident", crash.incident.as_str().into())];
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The gateway failed", &detail, &members)
        }
        GatewayError::NoResponse => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The gateway gave no answer",
            &detail,
            &store,
        ),
    }
}
