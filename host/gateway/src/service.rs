//! From a request to its response: the gateway component's, or the host's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use exesdb_plugin::{GatewayBody, GatewayError, GatewayWorker};
use exesdb_supervisor::Registry;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;

use crate::body::RequestBody;
use crate::cluster::{Cluster, RelayedBody, RelayedBodyError};
use crate::health::{self, Readiness, StoreReadiness};
use crate::problem::problem;
use crate::route::{Route, StoreRoute, route};
use crate::stores;
use crate::transfer;
use crate::web::{self, OriginCheck, WebAccess};

/// Bytes of a client's text that an error quotes: enough to recognise it.
const QUOTED_BYTES_MAX: usize = 100;

/// Stores that an error lists.
const STORES_NAMED_MAX: usize = 20;

/// The body of a response: a component's, or the host's own.
pub(crate) type ResponseBody = Either<GatewayBody, Either<Full<Bytes>, RelayedBody>>;

/// A response of the host's own.
pub(crate) type OwnResponse = Response<Full<Bytes>>;

/// What a listener serves.
pub struct ServiceConfig {
    /// Finds the gateway workers.
    pub registry: Registry,
    /// The stores, in the order of the configuration.
    pub stores: Vec<StoreRoute>,
    /// The state of the stores.
    pub readiness: Readiness,
    /// Which web pages may send requests.
    pub web: WebAccess,
    /// The cluster that this node is a member of, if it is one.
    pub cluster: Option<Arc<dyn Cluster>>,
}

/// Responds to requests.
pub(crate) struct Service {
    config: ServiceConfig,
    /// Requests to gateway workers so far: the workers take turns.
    turn: AtomicUsize,
}

impl Service {
    pub(crate) fn new(config: ServiceConfig) -> Self {
        Self { config, turn: AtomicUsize::new(0) }
    }

    pub(crate) async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        let check = self.config.web.check(request.method(), request.uri(), request.headers());
        let own = match check {
            OriginCheck::Own => return self.route(request.map(RequestBody::new)).await,
            OriginCheck::Allowed(origin) => {
                let mut response = self.route(request.map(RequestBody::new)).await;
                web::allow(response.headers_mut(), origin);
                return response;
            }
            OriginCheck::Preflight(origin) => {
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::NO_CONTENT;
                *response.headers_mut() = web::preflight(request.headers(), origin);
                response
            }
            OriginCheck::ForeignOrigin(origin) => foreign_origin(&origin),
            OriginCheck::ForeignHost(host) => foreign_host(&host),
            OriginCheck::BadHost => bad_host(),
        };
        own_response(own)
    }

    pub(crate) async fn route(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let path = request.uri().path().to_owned();
        let route = route(&self.config.stores, &path);
        let own = match &route {
            Route::UnknownStore(name) => unknown_store(name, &self.config.stores),
            Route::Store(store) => {
                let served = match &self.config.cluster {
                    None => self.forward(store, request).await,
                    Some(cluster) => self.serve_or_relay(&**cluster, store, request).await,
                };
                return served.unwrap_or_else(own_response);
            }
            Route::Cluster => match (unsupported(&request, &path, READ), &self.config.cluster) {
                (Some(problem), _) => problem,
                (None, Some(cluster)) => health::json(StatusCode::OK, cluster.status().await),
                (None, None) => no_cluster(),
            },
            Route::TransferLeader(store) => {
                match (unsupported(&request, &path, POST), &self.config.cluster) {
                    (Some(problem), _) => problem,
                    (None, Some(cluster)) => transfer::transfer_leader(&**cluster, store, request).await,
                    (None, None) => no_cluster(),
                }
            }
            own => unsupported(&request, &path, READ).unwrap_or_else(|| self.own(own)),
        };
        own_response(own)
    }

    /// The host's own response.
    fn own(&self, route: &Route<'_>) -> Response<Full<Bytes>> {
        let readiness = || (self.config.readiness)();
        match route {
            Route::Ready => health::ready(&readiness()),
            Route::Stores => stores::list(&readiness()),
            Route::StoreInfo(route) => match readiness().iter().find(|store| store.store == route.name) {
                Some(store) => stores::info(store),
                None => unknown_store(&route.name, &self.config.stores),
            },
            Route::Live
            | Route::Cluster
            | Route::TransferLeader(_)
            | Route::Store(_)
            | Route::UnknownStore(_) => health::live(),
        }
    }

    /// Forwards a request to a gateway worker of the store.
    pub(crate) async fn forward(
        &self,
        store: &StoreRoute,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, OwnResponse> {
        // HTTP/1.0 has no host, and HTTP/2 has it elsewhere; the WIT interface needs the header.
        if request.headers().get(header::HOST).is_none() && request.uri().authority().is_none() {
            request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("localhost"));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let worker = GatewayWorker::pick(&self.config.registry, &store.name, store.workers, turn)
            .ok_or_else(|| not_served(store, &(self.config.readiness)()))?;
        let response = worker.handle(request).await.map_err(|error| gateway_problem(store, &error))?;
        Ok(response.map(Either::Left))
    }
}

/// A response of the host's own as one of all kinds.
pub(crate) fn own_response(own: OwnResponse) -> Response<ResponseBody> {
    own.map(|body| Either::Right(Either::Left(body)))
}

/// The body of any response as one for another node.
pub(crate) fn relayed_body(body: ResponseBody) -> RelayedBody {
    body.map_err(|error| RelayedBodyError(error.to_string())).boxed_unsync()
}

fn no_cluster() -> OwnResponse {
    let detail = "this node is a member of no cluster; `exesdb cluster init` makes it the first one";
    problem(StatusCode::NOT_FOUND, "no-cluster", "No cluster", detail, &[])
}

/// The methods of a resource of the host's own that is read, as the header `allow` has them.
const READ: &str = "GET, HEAD";
/// The method of one that does something.
const POST: &str = "POST";

/// The problem of a request for one of the host's own resources that uses another method than it has, or has parameters.
fn unsupported<B>(request: &Request<B>, path: &str, allow: &'static str) -> Option<Response<Full<Bytes>>> {
    if !allow.split(", ").any(|method| method == request.method().as_str()) {
        let detail = format!("{path} has {allow}, not `{}`", request.method());
        let title = "The path does not have this method";
        let mut problem = problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", title, &detail, &[]);
        problem.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
        return Some(problem);
    }
    let query = request.uri().query().filter(|query| !query.is_empty())?;
    let name = query.split(['=', '&']).next().unwrap_or(query);
    let detail = format!("{name} is not a parameter of {path}; this route has none");
    Some(invalid(name, "A value breaks a rule", &detail))
}

pub(crate) fn invalid(field: &str, title: &str, detail: &str) -> Response<Full<Bytes>> {
    problem(StatusCode::BAD_REQUEST, "invalid-argument", title, detail, &[("field", field.into())])
}

fn bad_host() -> Response<Full<Bytes>> {
    let detail = "host is not one name or address with or without a port, in visible ASCII; \
                  send the name or address that you connect to, once";
    invalid("host", "A header is wrong", detail)
}

fn foreign_origin(origin: &str) -> Response<Full<Bytes>> {
    let shown = quoted(origin);
    let detail = format!(
        "the request comes from a web page of the origin `{shown}`, which this host does not know; if its pages may \
         read and write all stores, add it to `allowed_origins` in the configuration file"
    );
    let title = "A web page of another origin may not do this";
    problem(StatusCode::FORBIDDEN, "foreign-origin", title, &detail, &[("origin", shown.into())])
}

fn foreign_host(host: &str) -> Response<Full<Bytes>> {
    let shown = quoted(host);
    let detail = format!(
        "the request is sent to the name `{shown}`, which is not this host's; use `localhost` or the address that the \
         host listens on, or add the name to `allowed_hosts` in the configuration file"
    );
    let title = "The host does not have this name";
    problem(StatusCode::MISDIRECTED_REQUEST, "foreign-host", title, &detail, &[("host", shown.into())])
}

/// The part of a client's text that an error quotes.
fn quoted(text: &str) -> &str {
    text.get(..text.floor_char_boundary(QUOTED_BYTES_MAX)).unwrap_or(text)
}

/// The problem of a store that does not serve, with the cause: a parked store does not restart by itself.
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
        quoted(name),
        named.join(", "),
    );
    let members =
        [("store", quoted(name).into()), ("stores", there_are.into_iter().take(STORES_NAMED_MAX).collect())];
    problem(StatusCode::NOT_FOUND, "store-not-found", "No such store", &detail, &members)
}

fn gateway_problem(store: &StoreRoute, error: &GatewayError) -> Response<Full<Bytes>> {
    let store = [("store", serde_json::Value::from(store.name.as_str()))];
    let detail = error.to_string();
    match error {
        GatewayError::Overloaded
        | GatewayError::TooManyLong(_)
        | GatewayError::TooManyRequests(_)
        | GatewayError::NoRoom => problem(
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
        GatewayError::BodyLost { .. } => {
            let field = [("field", "body".into())];
            problem(StatusCode::BAD_REQUEST, "malformed-body", "The body cannot be read", &detail, &field)
        }
        GatewayError::BodyTooLarge(limit) => {
            let members = [("field", "body".into()), ("limit", (*limit).into())];
            problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "A limit is exceeded", &detail, &members)
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
