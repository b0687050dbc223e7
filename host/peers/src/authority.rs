//! The certificate authority of a cluster: who has a certificate of it may speak to the nodes.

mod request;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

pub use self::request::{CertificateRequest, RequestError};
use crate::credentials::{self, CredentialsError};
use crate::limits::{CERTIFICATE_EARLY, CERTIFICATE_LIFE};
use crate::name::{NameError, check_node_name};
use crate::pem;

/// File of the authority's certificate in its folder.
pub const CERTIFICATE_FILE: &str = "ca.pem";
/// File of the authority's key in its folder. Only its owner may read it.
pub const KEY_FILE: &str = "ca.key";

/// How names of authorities begin in their certificates. The start of their key's hash follows: names of two are not the same,
/// by which a node tells that a certificate is not of its authority.
const NAME: &str = "exesdb cluster authority";

/// The authority that `cluster init` makes. Its key stays in its folder.
///
/// Its certificate and those that it signs are valid for [ten years](CERTIFICATE_LIFE).
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// Why there is no authority, or why it does not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of it exists already.
    #[error("{} exists already: this folder has an authority", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is missing or has something else.
    #[error(transparent)]
    Files(#[from] CredentialsError),
    /// The key is not one that exesdb made.
    #[error("{}: it has no P-256 key as `exesdb cluster init` makes them: sign the nodes' certificates yourself", path.display())]
    ForeignKey {
        /// The file.
        path: PathBuf,
    },
    /// The certificate is of another authority than the key.
    #[error("{}: the key beside it belongs to another certificate: restore both from one backup", path.display())]
    OtherCertificate {
        /// The file of the certificate.
        path: PathBuf,
    },
    /// There is no such name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The request is malformed.
    #[error("the request for a certificate: {0}")]
    Request(#[from] RequestError),
    /// The library refused.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

impl Authority {
    /// Makes an authority in a folder that has none, and writes its certificate and key.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`]. Files that exist are not touched.
    pub fn create(folder: &Path) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let params = params_of_authority(&key);
        let certificate = params.self_signed(&key)?.der().clone();
        write_new(&folder.join(KEY_FILE), 0o600, &pem::encode("PRIVATE KEY", &key.serialize_der()))?;
        write_new(&folder.join(CERTIFICATE_FILE), 0o644, &pem::encode("CERTIFICATE", &certificate))?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// Loads the authority of a folder.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`].
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        let (certificate_path, key_path) = (folder.join(CERTIFICATE_FILE), folder.join(KEY_FILE));
        let certificate = credentials::read_certificates(&certificate_path)?.remove(0);
        let key = credentials::read_key(&key_path)?;
        let key = KeyPair::try_from(key.secret_der()).ok();
        let key = key.ok_or(AuthorityError::ForeignKey { path: key_path })?;
        let authority = Self { issuer: Issuer::new(params_of_authority(&key), key), certificate };
        // Whether both belong together shows in a certificate that it signs.
        let probe = authority.sign_key("probe", &KeyPair::generate()?)?;
        let is_ours = credentials::check_chain(&probe, &[], &authority.certificate, SystemTime::now());
        is_ours.map_err(|_| AuthorityError::OtherCertificate { path: certificate_path })?;
        Ok(authority)
    }

    /// Its certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.certificate)
    }

    /// SHA-256 of its certificate, by which a node that joins knows it.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        credentials::fingerprint_of(&self.certificate)
    }

    /// Signs a certificate for a node. Of the request only the key is used, which must have signed it: the name is the one that
    /// was admitted. Returns the certificate as PEM.
    ///
    /// # Errors
    ///
    /// [`AuthorityError`].
    pub fn sign(&self, node: &str, request: &str) -> Result<String, AuthorityError> {
        let key = request::read(request)?;
        Ok(pem::encode("CERTIFICATE", &self.sign_key(node, &key)?))
    }

    fn sign_key(
        &self,
        node: &str,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        check_node_name(node)?;
        let mut params = params_of(node);
        params.subject_alt_names = vec![SanType::DnsName(node.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }
}

fn params_of_authority(key: &KeyPair) -> CertificateParams {
    let hash = Sha256::digest(key.public_key_raw());
    let start = u64::from_be_bytes(*hash.first_chunk().expect("a hash is longer"));
    let mut params = params_of(&format!("{NAME} {start:016x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What all certificates have: their name, and when they are valid.
fn params_of(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(CERTIFICATE_EARLY);
    params.not_after = epoch + now + CERTIFICATE_LIFE;
    params
}

/// Writes a file that does not exist yet.
pub(crate) fn write_new(path: &Path, mode: u32, content: &str) -> Result<(), AuthorityError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        // Names are kept by the folder.
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => AuthorityError::Exists { path: path.to_owned() },
        _ => AuthorityError::Write { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{Authority, AuthorityError, CERTIFICATE_FILE, CertificateRequest, KEY_FILE};

    #[test]
    fn an_authority_is_made_once_and_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = Authority::create(folder.path()).unwrap();
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Authority::create(folder.path()), Err(AuthorityError::Exists { .. })));
        let loaded = Authority::load(folder.path()).unwrap();
        assert_eq!(loaded.fingerprint(), made.fingerprint());
        let request = CertificateRequest::new().unwrap();
        assert!(loaded.sign("node-1", request.pem()).is_ok());
        assert!(matches!(loaded.sign("Node 1", request.pem()), Err(AuthorityError::Name(_))));
    }

    #[test]
    fn an_authority_whose_files_do_not_belong_together_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Authority::create(one.path()).unwrap();
        Authority::create(other.path()).unwrap();
        fs::copy(other.path().join(CERTIFICATE_FILE), one.path().join(CERTIFICATE_FILE)).unwrap();
        assert!(matches!(Authority::load(one.path()), Err(AuthorityError::OtherCertificate { .. })));
        fs::remove_file(one.path().join(KEY_FILE)).unwrap();
        assert!(matches!(Authority::load(one.path()), Err(AuthorityError::Files(_))));
    }
}
