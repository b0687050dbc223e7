//! Joining: a node without a certificate asks one that made its token.

use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::verify_tls13_signature;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::check_address;
use crate::body::{Body, json, read_json};
use crate::credentials::{ALPN, algorithms, check_chain, check_name, fingerprint_of, provider, roots_of};
use crate::dial::{connect, explain, post};
use crate::hello::PROTOCOLS;
use crate::identity::{Identity, hex};
use crate::invitations::InvitationError;
use crate::limits::{
    CALL_BYTES_MAX, HEADERS_BYTES_MAX, HELLO_BYTES_MAX, HELLO_WAIT, JOIN_WAIT, STRANGER_WINDOW, TLS_WAIT,
};
use crate::name::check_node_name;
use crate::node::Node;
use crate::task::Task;
use crate::token::{Secret, Token};

/// What a node says of itself when it joins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JoinRequest {
    /// Its name, which its certificate will have.
    pub name: String,
    /// Random number that its log was made with.
    pub incarnation: u64,
    /// Where it can be reached.
    pub addresses: Vec<String>,
    /// A request for a certificate of its key, as PEM.
    pub certificate_request: String,
    /// What else it says to the host.
    #[serde(default)]
    pub content: Value,
}

/// What a node that joins gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JoinResponse {
    /// Its certificate, as PEM.
    pub certificate: String,
    /// The certificate of the authority, as PEM.
    pub authority: String,
    /// What else the host says: its id, other nodes and their addresses.
    #[serde(default)]
    pub content: Value,
}

/// Why a node may not join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refused", rename_all = "kebab-case")]
pub enum JoinRefusal {
    /// The token is of another cluster.
    #[error("the token is for cluster {theirs:032x}, and this node is of {ours:032x}")]
    OtherCluster {
        /// That of the node that refuses.
        #[serde(with = "hex")]
        ours: u128,
        /// That of the token.
        #[serde(with = "hex")]
        theirs: u128,
    },
    /// The versions are too far from each other.
    #[error(
        "protocols {theirs:?} of the node that joins and {ours:?} of this one have none in common: upgrade the older one"
    )]
    Protocols {
        /// Lowest and highest of the node that refuses.
        ours: (u32, u32),
        /// Lowest and highest of the other one.
        theirs: (u32, u32),
    },
    /// The request makes no sense.
    #[error("the request to join is malformed: {reason:?}")]
    Malformed {
        /// Why.
        reason: String,
    },
    /// The token is not good.
    #[error("{reason}")]
    Token {
        /// Why.
        reason: String,
    },
    /// Another node has the name.
    #[error("another node is called {name:?}: give this one another name")]
    Taken {
        /// The name.
        name: String,
    },
    /// It cannot be done now.
    #[error("not now: {reason:?}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

impl From<InvitationError> for JoinRefusal {
    fn from(error: InvitationError) -> Self {
        Self::Token { reason: error.to_string() }
    }
}

/// Why a node did not join.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No address of the token answers as a node of the cluster. Nothing was asked, or there was no answer: try again.
    #[error("no node of the token can be reached: {}", reasons.join("; "))]
    Unreachable {
        /// Why, for each address.
        reasons: Vec<String>,
    },
    /// The cluster refused.
    #[error("{address}: {refusal}")]
    Refused {
        /// The node that did.
        address: String,
        /// Why.
        refusal: JoinRefusal,
    },
    /// What the node answered cannot be used.
    #[error("{address}: the certificate in the answer cannot be used: {reason}")]
    Certificate {
        /// The node.
        address: String,
        /// Why.
        reason: String,
    },
}

/// What is sent.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Message {
    #[serde(with = "hex")]
    cluster: u128,
    protocols: (u32, u32),
    secret: String,
    request: JoinRequest,
}

/// Asks a cluster to let a node join. It is safe to ask again with the same token, as the same node.
///
/// The node that answers is known by the fingerprint in the token, and the certificate that it gives is checked.
///
/// # Errors
///
/// [`JoinError`].
pub async fn join(token: &Token, request: &JoinRequest) -> Result<JoinResponse, JoinError> {
    let mut reasons = Vec::new();
    for address in &token.addresses {
        match timeout(JOIN_WAIT, ask(address, token, request)).await {
            Ok(Ok(Ok(response))) => {
                let checked = check_response(token, request, &response);
                let unusable = |reason| JoinError::Certificate { address: address.clone(), reason };
                return checked.map(|()| response).map_err(unusable);
            }
            Ok(Ok(Err(refusal))) => return Err(JoinError::Refused { address: address.clone(), refusal }),
            Ok(Err(reason)) => reasons.push(format!("{address}: {reason}")),
            Err(_) => reasons.push(format!("{address}: no answer in time")),
        }
    }
    Err(JoinError::Unreachable { reasons })
}

async fn ask(
    address: &str,
    token: &Token,
    request: &JoinRequest,
) -> Result<Result<JoinResponse, JoinRefusal>, String> {
    let tcp = connect(address).await.map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(client_config(token.fingerprint)?));
    // The name is not known: the fingerprint says who it is.
    let any = ServerName::try_from("node").expect("it is a DNS name");
    let tls = timeout(TLS_WAIT, connector.connect(any, tcp)).await;
    let tls = tls.map_err(|_| "the handshake took too long")?.map_err(|error| format!("TLS: {error}"))?;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_header_list_size(HEADERS_BYTES_MAX);
    builder.initial_stream_window_size(STRANGER_WINDOW).initial_connection_window_size(STRANGER_WINDOW);
    let (mut requests, connection) =
        builder.handshake(TokioIo::new(tls)).await.map_err(|error| explain(&error))?;
    let _driver = Task::spawn(async move { drop(connection.await) });
    let message = Message {
        cluster: token.cluster,
        protocols: PROTOCOLS,
        secret: token.secret.text(),
        request: request.clone(),
    };
    let content = serde_json::to_vec(&message).map_err(|error| error.to_string())?;
    let (status, bytes) = post(&mut requests, "node", "/join", content.into(), CALL_BYTES_MAX).await?;
    match status {
        StatusCode::OK => serde_json::from_slice(&bytes).map(Ok),
        _ => serde_json::from_slice(&bytes).map(Err),
    }
    .map_err(|error| format!("the answer ({status}): {error}"))
}

/// The certificate has to be of the token's authority, and for this node.
fn check_response(token: &Token, request: &JoinRequest, response: &JoinResponse) -> Result<(), String> {
    let read = |pem: &str| {
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "it is no certificate as PEM".to_owned())
    };
    let (certificate, authority) = (read(&response.certificate)?, read(&response.authority)?);
    if fingerprint_of(&authority) != token.fingerprint {
        return Err("it is of another authority than the token".to_owned());
    }
    check_chain(&certificate, &[], &authority, std::time::SystemTime::now())
        .and_then(|()| check_name(&certificate, &request.name))
        .map_err(|error| error.to_string())
}

/// Has the host decide about a node that wants to join.
pub(crate) async fn receive(node: &Node, body: Incoming) -> Response<Body> {
    match decide(node, body).await {
        Ok(response) => json(StatusCode::OK, &response),
        Err(refusal) => {
            tracing::warn!(%refusal, "a node did not join");
            json(StatusCode::FORBIDDEN, &refusal)
        }
    }
}

async fn decide(node: &Node, body: Incoming) -> Result<JoinResponse, JoinRefusal> {
    let malformed = |reason: String| JoinRefusal::Malformed { reason };
    let message = timeout(HELLO_WAIT, read_json(body, HELLO_BYTES_MAX)).await;
    let message = message.map_err(|_| malformed("it did not come in time".to_owned()))?;
    let message: Message = message.map_err(malformed)?;
    let (ours, theirs) = (PROTOCOLS, message.protocols);
    if ours.0.max(theirs.0) > ours.1.min(theirs.1) {
        return Err(JoinRefusal::Protocols { ours, theirs });
    }
    let Identity { cluster, .. } = node.identity;
    if message.cluster != cluster {
        return Err(JoinRefusal::OtherCluster { ours: cluster, theirs: message.cluster });
    }
    let no_secret = || malformed("the secret is none".to_owned());
    let secret = Secret::from_text(&message.secret).ok_or_else(no_secret)?;
    let request = message.request;
    check_node_name(&request.name).map_err(|error| malformed(error.to_string()))?;
    for address in &request.addresses {
        check_address(address).map_err(|error| malformed(error.to_string()))?;
    }
    node.services.join(secret, request).await
}

fn client_config(fingerprint: [u8; 32]) -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ByFingerprint { fingerprint }))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Accepts whoever has a certificate of the authority with this fingerprint: the nodes of the cluster, whatever their names.
#[derive(Debug)]
struct ByFingerprint {
    fingerprint: [u8; 32],
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = others.iter().find(|one| fingerprint_of(one) == self.fingerprint);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?.clone().into_owned();
        let roots = roots_of(&[authority])?;
        let own = ParsedCertificate::try_from(own)?;
        verify_server_cert_signed_by_trust_anchor(&own, &roots, others, now, algorithms().all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
