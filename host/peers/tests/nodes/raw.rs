//! The two sides of a connection, without the crate: they can say anything.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{CLUSTER, Cluster, name};

pub type RawBody = UnsyncBoxBody<Bytes, Infallible>;
pub type Requests = SendRequest<RawBody>;

fn roots(ca: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    roots
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A client that trusts an authority, and shows a certificate.
pub fn client(ca: &Path, shown: Option<(&Path, &Path)>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots(ca));
    let mut config = match shown {
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_slice(&fs::read(key).unwrap()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A server with a certificate, which asks for one.
pub fn server(ca: &Path, certificate: &Path, key: &Path) -> Arc<ServerConfig> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)), provider()).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(&fs::read(key).unwrap()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Connects to a node as another node, whose certificate is made.
pub async fn connect_as(cluster: &Cluster, as_name: &str, address: &str, to: &str) -> Requests {
    let (certificate, key) = cluster.certificate(as_name);
    let config = client(&cluster.ca(), Some((&certificate, &key)));
    connect(config, address, to).await.unwrap()
}

pub async fn connect(config: Arc<ClientConfig>, address: &str, to: &str) -> Result<Requests, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let tcp = TcpStream::connect(address).await.map_err(|error| text(&error))?;
    let name = ServerName::try_from(to.to_owned()).unwrap();
    let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| text(&error))?;
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await;
    let (requests, connection) = handshake.map_err(|error| text(&error))?;
    tokio::spawn(connection);
    Ok(requests)
}

pub async fn post(
    requests: &mut Requests,
    path: &str,
    content: impl Into<Bytes>,
) -> Result<(StatusCode, Value), String> {
    let request = Request::post(format!("https://node{path}"));
    let request = request.body(Full::new(content.into()).boxed_unsync()).unwrap();
    requests.ready().await.map_err(|error| error.to_string())?;
    let response = requests.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let bytes = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
}

/// A hello that fits, from one node to another.
pub fn hello(from: u64, to: u64, kind: &str) -> Value {
    json!({
        "cluster": format!("{CLUSTER:032x}"),
        "from": { "node": from, "name": name(from), "incarnation": 1_000 + from },
        "to": to,
        "kind": kind,
        "protocols": [1, 1],
        "feature_level": 1,
        "clock": super::now_us(),
    })
}

pub async fn say_hello(requests: &mut Requests, hello: &Value) -> (StatusCode, Value) {
    post(requests, "/hello", hello.to_string()).await.unwrap()
}

/// Stands in for a node: it says hello, and answers everything else as it is told.
pub async fn stand_in(
    cluster: &Cluster,
    number: u64,
    answer: impl Fn(Request<Incoming>) -> Response<RawBody> + Send + Sync + 'static,
) -> (String, JoinHandle<()>) {
    let (certificate, key) = cluster.certificate(&name(number));
    let acceptor = TlsAcceptor::from(server(&cluster.ca(), &certificate, &key));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = Arc::new(answer);
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    if request.uri().path() != "/hello" {
                        return Ok::<_, Infallible>(answer(request));
                    }
                    let content = request.into_body().collect().await.unwrap().to_bytes();
                    let said: Value = serde_json::from_slice(&content).unwrap();
                    let to = said["from"]["node"].as_u64().unwrap();
                    let hello = hello(number, to, said["kind"].as_str().unwrap());
                    Ok(Response::new(Full::from(hello.to_string()).boxed_unsync()))
                }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            connections.spawn(server.serve_connection(TokioIo::new(tls), service));
        }
    });
    (address, serving)
}

/// A frame as bytes.
pub fn frame(kind: u8, id: u64, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(9 + content.len()).unwrap();
    [&length.to_be_bytes()[..], &[kind], &id.to_be_bytes(), content].concat()
}

/// A message of a group: a question for the read index, from one replica to another.
pub fn message(group: u64, from: u64, to: u64) -> Vec<u8> {
    [&[1, 5][..], &group.to_be_bytes(), &from.to_be_bytes(), &to.to_be_bytes()].concat()
}
