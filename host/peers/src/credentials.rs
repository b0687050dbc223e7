//! What a node shows its peers: its certificate, with its key, and whose certificates it accepts.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

use crate::limits::PEM_BYTES_MAX;
use crate::name::{NameError, check_node_name};

/// What is spoken inside of TLS.
pub(crate) const ALPN: &[u8] = b"h2";

/// A node's certificate and key, checked, and the authorities whose certificates it accepts from others.
///
/// Connections are TLS 1.3. Each side shows a certificate of one of the authorities, and the DNS name in it is the name of the
/// node. Only who joins has none yet.
#[derive(Clone)]
pub struct Credentials {
    node: String,
    fingerprint: [u8; 32],
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

/// Why there are no credentials. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// There is no such name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A file cannot be read.
    #[error("{}: {source}: `exesdb cluster init` and `exesdb cluster join` write such a file", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is too large.
    #[error("{}: it has more than {PEM_BYTES_MAX} bytes: it is something else", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file does not have what it should.
    #[error("{}: it has no {what} as PEM: a line `-----BEGIN {mark}-----` comes first", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
        /// How that begins.
        mark: &'static str,
    },
    /// Key and certificate do not belong together.
    #[error("{}: this key is not that of the certificate in {}: restore both from one backup, or join again", key.display(), certificate.display())]
    OtherKey {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
    },
    /// The certificate is no longer valid.
    #[error("{}: the certificate expired {days} days ago: have the authority sign another one", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// For how long.
        days: u64,
    },
    /// The certificate is not valid yet.
    #[error("{}: the certificate is not valid yet: compare this machine's clock with that of the authority", path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
    },
    /// The certificate is for another node.
    #[error("{}: the certificate is for {presented}, and this node is {node}: use the node's own certificate, or correct its name", path.display())]
    OtherName {
        /// The file.
        path: PathBuf,
        /// The node.
        node: String,
        /// The names in the certificate.
        presented: String,
    },
    /// The certificate is of another authority.
    #[error("{}: the authority in {} did not sign this certificate: take both from one cluster", path.display(), authority.display())]
    OtherAuthority {
        /// The file.
        path: PathBuf,
        /// The file of the authority.
        authority: PathBuf,
    },
    /// The certificate or the key cannot be used for another reason.
    #[error("{}: {reason}: a certificate for nodes has a P-256, P-384, Ed25519 or RSA key, and the extended key usages serverAuth and clientAuth", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Credentials {
    /// Reads the authority's certificate, and the certificate and key of this node, from files with PEM.
    ///
    /// The first file may have more than one authority, while one replaces the other.
    ///
    /// # Errors
    ///
    /// [`CredentialsError`].
    pub fn load(
        authority: &Path,
        certificate: &Path,
        key: &Path,
        node: &str,
    ) -> Result<Self, CredentialsError> {
        check_node_name(node)?;
        let authorities = read_certificates(authority)?;
        let own = read_certificates(certificate)?;
        let private = read_key(key)?;
        let roots = roots_of(&authorities).map_err(|error| unusable(authority, &error))?;
        check_own(&own, &roots, node).map_err(|error| explain(&error, certificate, authority, node))?;
        let fingerprint = fingerprint_of(&authorities[0]);
        let with_key = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CredentialsError::OtherKey { key: key.to_owned(), certificate: certificate.to_owned() }
            }
            error => unusable(key, &error),
        };
        // The authority is sent, too: who joins knows only its fingerprint.
        let shown: Vec<_> = own.iter().chain(&authorities).cloned().collect();
        let server = server_config(&roots, shown, private.clone_key()).map_err(with_key)?;
        let client = client_config(&roots, own, private).map_err(with_key)?;
        Ok(Self { node: node.to_owned(), fingerprint, server: Arc::new(server), client: Arc::new(client) })
    }

    /// The name of the node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// SHA-256 of the authority's certificate, the first one if there are more.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// SHA-256 of a certificate.
pub(crate) fn fingerprint_of(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// Reads all certificates of a file, at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let path = path.to_owned();
    let no_pem = CredentialsError::NoPem { path, what: "certificate", mark: "CERTIFICATE" };
    found.ok().filter(|found| !found.is_empty()).ok_or(no_pem)
}

/// Reads the key of a file.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| CredentialsError::NoPem {
        path: path.to_owned(),
        what: "key",
        mark: "PRIVATE KEY",
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| CredentialsError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(CredentialsError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

pub(crate) fn roots_of(authorities: &[CertificateDer<'static>]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    Ok(Arc::new(roots))
}

/// Checks that a certificate comes from an authority and is valid.
pub(crate) fn check_chain(
    certificate: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    authority: &CertificateDer<'static>,
    now: SystemTime,
) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let roots = roots_of(std::slice::from_ref(authority))?;
    let now = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let now = UnixTime::since_unix_epoch(now);
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, between, now, algorithms().all)
}

/// Checks that a certificate is for a node with this name.
pub(crate) fn check_name(certificate: &CertificateDer<'_>, node: &str) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let name = ServerName::try_from(node).map_err(|_| CertificateError::NotValidForName)?;
    verify_server_name(&parsed, &name)
}

fn check_own(
    own: &[CertificateDer<'static>],
    roots: &Arc<RootCertStore>,
    node: &str,
) -> Result<(), rustls::Error> {
    let (certificate, between) = own.split_first().expect("a file has at least one");
    let parsed = ParsedCertificate::try_from(certificate)?;
    let now = UnixTime::now();
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, algorithms().all)?;
    check_name(certificate, node)?;
    verifier(roots)?.verify_client_cert(certificate, between, now).map(drop)
}

fn verifier(
    roots: &Arc<RootCertStore>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, rustls::Error> {
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
}

fn server_config(
    roots: &Arc<RootCertStore>,
    shown: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier(roots)?)
        .with_single_cert(shown, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nothing is resumed: each connection shows its certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    roots: &Arc<RootCertStore>,
    own: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(Arc::clone(roots))
        .with_client_auth_cert(own, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn unusable(path: &Path, error: &rustls::Error) -> CredentialsError {
    CredentialsError::Unusable { path: path.to_owned(), reason: error.to_string() }
}

fn explain(error: &rustls::Error, path: &Path, authority: &Path, node: &str) -> CredentialsError {
    let rustls::Error::InvalidCertificate(reason) = error else { return unusable(path, error) };
    let (path_of, authority) = (path.to_owned(), authority.to_owned());
    match reason {
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            CredentialsError::Expired { path: path_of, days }
        }
        CertificateError::NotValidYetContext { .. } => CredentialsError::NotYetValid { path: path_of },
        CertificateError::NotValidForNameContext { presented, .. } => {
            CredentialsError::OtherName { path: path_of, node: node.to_owned(), presented: names(presented) }
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            CredentialsError::OtherAuthority { path: path_of, authority }
        }
        _ => unusable(path, error),
    }
}

/// Names of a certificate as people write them: the library has them as `DnsName("node-1")`.
fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name".to_owned();
    }
    let plain = |name: &String| match name.split_once("(\"").and_then(|(_, name)| name.strip_suffix("\")")) {
        Some(plain) => plain.to_owned(),
        None => name.clone(),
    };
    presented.iter().map(plain).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;
    use std::path::Path;

    use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::{Credentials, CredentialsError};
    use crate::authority::{Authority, CertificateRequest};
    use crate::pem;

    fn write(folder: &Path, authority: &Authority, node: &str) {
        let request = CertificateRequest::new().unwrap();
        fs::write(folder.join("node.pem"), authority.sign(node, request.pem()).unwrap()).unwrap();
        fs::write(folder.join("node.key"), request.key_pem()).unwrap();
    }

    fn load(folder: &Path, node: &str) -> Result<Credentials, CredentialsError> {
        Credentials::load(&folder.join("ca.pem"), &folder.join("node.pem"), &folder.join("node.key"), node)
    }

    #[test]
    fn each_error_names_the_file_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let authority = Authority::create(folder).unwrap();
        let refused = |node: &str| load(folder, node).err().unwrap().to_string();
        assert!(refused("node-1").contains("node.pem: No such file"), "{}", refused("node-1"));
        write(folder, &authority, "node-1");
        let loaded = load(folder, "node-1").unwrap();
        assert_eq!(loaded.fingerprint(), authority.fingerprint());
        let text = refused("node-2");
        assert!(text.contains("node.pem: the certificate is for node-1, and this node is node-2"), "{text}");
        assert!(refused("Node").contains("no name of a node"));

        let key = fs::read(folder.join("node.key")).unwrap();
        fs::write(folder.join("node.key"), CertificateRequest::new().unwrap().key_pem()).unwrap();
        assert!(refused("node-1").contains("node.key: this key is not that of the certificate in"));
        fs::write(folder.join("node.key"), "nothing").unwrap();
        assert!(refused("node-1").contains("node.key: it has no key as PEM"));
        fs::write(folder.join("node.key"), key).unwrap();

        let own = fs::read(folder.join("node.pem")).unwrap();
        fs::write(folder.join("node.pem"), "-----BEGIN CERTIFICATE-----\n!\n").unwrap();
        assert!(refused("node-1").contains("node.pem: it has no certificate as PEM"));
        fs::write(folder.join("node.pem"), vec![b'x'; 300_000]).unwrap();
        assert!(refused("node-1").contains("node.pem: it has more than 262144 bytes"));
        fs::write(folder.join("node.pem"), pem::encode("CERTIFICATE", b"no DER")).unwrap();
        assert!(refused("node-1").contains("node.pem: invalid peer certificate"), "{}", refused("node-1"));
        let other = tempfile::tempdir().unwrap();
        write(folder, &Authority::create(other.path()).unwrap(), "node-1");
        assert!(refused("node-1").contains("node.pem: the authority in"), "{}", refused("node-1"));
        fs::write(folder.join("node.pem"), own).unwrap();
        fs::write(folder.join("ca.pem"), pem::encode("CERTIFICATE", b"no DER")).unwrap();
        assert!(refused("node-1").contains("ca.pem: invalid peer certificate"), "{}", refused("node-1"));
    }

    #[test]
    fn certificates_of_another_time_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::OrganizationName, "operator");
        let ca = params.self_signed(&key).unwrap();
        fs::write(folder.join("ca.pem"), pem::encode("CERTIFICATE", ca.der())).unwrap();
        let issuer = Issuer::new(params, key);
        let node = KeyPair::generate().unwrap();
        fs::write(folder.join("node.key"), pem::encode("PRIVATE KEY", &node.serialize_der())).unwrap();
        let table = [(1990, 2000, "expired"), (4000, 4001, "not valid yet")];
        for (from, to, expected) in table {
            let mut params = CertificateParams::new(["node-1".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            let own = params.signed_by(&node, &issuer).unwrap();
            fs::write(folder.join("node.pem"), pem::encode("CERTIFICATE", own.der())).unwrap();
            let refused = load(folder, "node-1").err().unwrap().to_string();
            assert!(refused.contains("node.pem") && refused.contains(expected), "{refused}");
        }
    }
}
