//! A connection that another node has made: its hello, and what it asks after that.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::{Known, raft};
use crate::body::{Body, json, read_json, refusing};
use crate::credentials::check_name;
use crate::dial::explain;
use crate::hello::{Hello, Kind, Refusal};
use crate::identity::Remote;
use crate::limits::{
    ADMISSION_EVERY, CONNECTION_WINDOW, HEADERS_BYTES_MAX, HELLO_BYTES_MAX, HELLO_WAIT, JOIN_WAIT,
    KEEP_ALIVE, STRANGER_WINDOW, STREAM_WINDOW, STREAMS_MAX,
};
use crate::node::Node;
use crate::{control, join, relay, snapshot};

pub(crate) struct Connection {
    node: Arc<Node>,
    /// What the other side showed.
    certificate: Option<CertificateDer<'static>>,
    /// Who it is and what for, once its hello was accepted.
    accepted: watch::Sender<Option<(Remote, Kind)>>,
    /// Its stream of frames was opened. There is one.
    has_frames: AtomicBool,
}

impl Connection {
    /// Serves a connection. Returns why it ended.
    pub(super) async fn serve(
        tls: TlsStream<TcpStream>,
        node: Arc<Node>,
        known: Arc<Known>,
        stranger: OwnedSemaphorePermit,
    ) -> String {
        let certificate = tls.get_ref().1.peer_certificates().and_then(|shown| shown.first());
        let certificate = certificate.map(|shown| shown.clone().into_owned());
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_header_list_size(HEADERS_BYTES_MAX)
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        match certificate {
            Some(_) => builder
                .max_concurrent_streams(STREAMS_MAX)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW),
            None => builder
                .max_concurrent_streams(1)
                .initial_stream_window_size(STRANGER_WINDOW)
                .initial_connection_window_size(STRANGER_WINDOW),
        };
        let accepted = watch::Sender::new(None);
        let connection = Arc::new(Self { node, certificate, accepted, has_frames: AtomicBool::new(false) });
        let answering = Arc::clone(&connection);
        let service = service_fn(move |request| {
            let connection = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        });
        tokio::select! {
            served = builder.serve_connection(TokioIo::new(tls), service) => match served {
                Ok(()) => "it was closed".to_owned(),
                Err(error) => explain(&error),
            },
            reason = connection.watch_over(&known, stranger) => reason,
        }
    }

    /// Waits for a reason to end the connection: no hello in time, a later connection, or the registry.
    async fn watch_over(&self, known: &Known, stranger: OwnedSemaphorePermit) -> String {
        let wait = if self.certificate.is_some() { HELLO_WAIT } else { JOIN_WAIT };
        let mut accepted = self.accepted.subscribe();
        let said = timeout(wait, accepted.wait_for(Option::is_some)).await;
        let Ok(Some((remote, kind))) = said.map(|said| said.ok().and_then(|said| said.clone())) else {
            return "it said no hello in time".to_owned();
        };
        drop(stranger);
        let mut replaced = known.replace(&remote.name, kind);
        loop {
            tokio::select! {
                _ = &mut replaced => return "a later one took its place".to_owned(),
                () = sleep(ADMISSION_EVERY) => {}
            }
            if let Err(refusal) = self.node.check_again(&remote) {
                self.node.note_refused(&remote.name, &refusal);
                return refusal.to_string();
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let is_post = request.method() == Method::POST;
        if self.certificate.is_none() {
            return match path {
                "/join" if is_post => join::receive(&self.node, request.into_body()).await,
                _ => refusing(&Refusal::NoCertificate),
            };
        }
        if path == "/hello" && is_post {
            return self.hello(request.into_body()).await.unwrap_or_else(|refusal| refusing(&refusal));
        }
        let accepted = self.accepted.borrow().clone();
        let Some((remote, kind)) = accepted else { return refusing(&Refusal::NoHello) };
        let answer = match (kind, path) {
            (Kind::Raft, "/raft") if is_post && !self.has_frames.swap(true, Ordering::AcqRel) => {
                return raft::receive(Arc::clone(&self.node), remote, request.into_body());
            }
            (Kind::Bulk, "/snapshot") if is_post => {
                return snapshot::receive(&self.node, remote, request.into_body()).await;
            }
            (Kind::Client, "/control") if is_post => {
                control::receive(&self.node, remote, request.into_body()).await
            }
            (Kind::Client, _) => relay::receive(&self.node, remote, request).await,
            _ => Err(Refusal::NotThere { path: path.chars().take(64).collect() }),
        };
        answer.unwrap_or_else(|refusal| refusing(&refusal))
    }

    async fn hello(&self, body: Incoming) -> Result<Response<Body>, Refusal> {
        let hello: Hello = read_json(body, HELLO_BYTES_MAX).await.map_err(|mut reason| {
            reason.truncate(reason.floor_char_boundary(256));
            Refusal::Malformed { reason }
        })?;
        let certificate = self.certificate.as_ref().ok_or(Refusal::NoCertificate)?;
        let is_certified = check_name(certificate, &hello.from.name).is_ok();
        if let Err(refusal) = self.node.check(&hello, is_certified) {
            let name: String = hello.from.name.chars().take(64).collect();
            self.node.note_refused(&name, &refusal);
            return Err(refusal);
        }
        self.node.note_accepted(&hello.from.name);
        let answer = self.node.hello(hello.from.node, hello.kind);
        // A connection keeps who it is.
        self.accepted.send_if_modified(|accepted| {
            let is_first = accepted.is_none();
            if is_first {
                *accepted = Some((hello.from, hello.kind));
            }
            is_first
        });
        Ok(json(StatusCode::OK, &answer))
    }
}
