//! Requests for certificates (PKCS #10), as DER in PEM. A node keeps its key, and sends the public half with a signature.
//!
//! ```text
//! request    sequence { info, algorithm, signature }
//! info       sequence { version, subject, key, attributes }
//! key        sequence { algorithm, bits }
//! ```
//!
//! Keys are on the curve P-256 and sign with ECDSA and SHA-256: the only kind that [`CertificateRequest`] makes.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::SignatureScheme;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;

use crate::credentials::algorithms;
use crate::limits::CERTIFICATE_REQUEST_BYTES_MAX;
use crate::pem;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;

/// Algorithm of a key: id-ecPublicKey on prime256v1.
const P256_KEY: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
/// Algorithm of a signature: ecdsa-with-SHA256.
const ECDSA_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Why bytes are no request for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It is no PEM, or too long.
    #[error("it is no PEM with one request of at most {CERTIFICATE_REQUEST_BYTES_MAX} bytes")]
    NoPem,
    /// It is no DER of a request.
    #[error("{what} is malformed")]
    Malformed {
        /// The part that is.
        what: &'static str,
    },
    /// It is of another algorithm.
    #[error("its {what} is none of P-256 with SHA-256")]
    OtherAlgorithm {
        /// Key or signature.
        what: &'static str,
    },
    /// It is not signed by its own key.
    #[error("it is not signed by the key in it")]
    Signature,
}

/// A new key of a node, and the request for a certificate of it.
pub struct CertificateRequest {
    key: KeyPair,
    pem: String,
}

impl CertificateRequest {
    /// Makes a key.
    ///
    /// # Errors
    ///
    /// The library's.
    pub fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = CertificateParams::default().serialize_request(&key)?;
        let pem = pem::encode("CERTIFICATE REQUEST", request.der());
        Ok(Self { key, pem })
    }

    /// The request, which others may see.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key as PEM. It stays on its node.
    #[must_use]
    pub fn key_pem(&self) -> String {
        pem::encode("PRIVATE KEY", &self.key.serialize_der())
    }
}

/// A key that has signed a request: a point on P-256.
#[derive(Debug)]
pub(crate) struct RequestedKey(Vec<u8>);

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Reads a request, and checks that the key in it has signed it.
pub(crate) fn read(text: &str) -> Result<RequestedKey, RequestError> {
    if text.len() > CERTIFICATE_REQUEST_BYTES_MAX {
        return Err(RequestError::NoPem);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes());
    read_der(&der.map_err(|_| RequestError::NoPem)?)
}

fn read_der(der: &[u8]) -> Result<RequestedKey, RequestError> {
    let rest = &mut &*der;
    let (whole, _) = take(rest, SEQUENCE, "the request")?;
    end(rest, "the request")?;
    let rest = &mut &*whole;
    let (info, signed) = take(rest, SEQUENCE, "its content")?;
    let (algorithm, _) = take(rest, SEQUENCE, "its algorithm")?;
    let (signature, _) = take(rest, BITS, "its signature")?;
    end(rest, "its signature")?;
    let rest = &mut &*info;
    take(rest, INTEGER, "its version")?;
    take(rest, SEQUENCE, "its subject")?;
    let (key, _) = take(rest, SEQUENCE, "its key")?;
    let rest = &mut &*key;
    let (key_algorithm, _) = take(rest, SEQUENCE, "its key")?;
    let (point, _) = take(rest, BITS, "its key")?;
    end(rest, "its key")?;
    if key_algorithm != P256_KEY {
        return Err(RequestError::OtherAlgorithm { what: "key" });
    }
    if algorithm != ECDSA_SHA256 {
        return Err(RequestError::OtherAlgorithm { what: "signature" });
    }
    let point = bits(point, "its key")?;
    let signature = bits(signature, "its signature")?;
    let p256 =
        algorithms().mapping.iter().find(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
    let verify = p256.and_then(|(_, all)| all.first()).expect("the provider knows P-256");
    verify.verify_signature(point, signed, signature).map_err(|_| RequestError::Signature)?;
    Ok(RequestedKey(point.to_vec()))
}

/// Takes a value of DER with this tag. Returns its content, and the whole.
fn take<'a>(rest: &mut &'a [u8], tag: u8, what: &'static str) -> Result<(&'a [u8], &'a [u8]), RequestError> {
    let malformed = RequestError::Malformed { what };
    let all = *rest;
    let [found, first, ..] = *all else { return Err(malformed) };
    let (header, len) = match first {
        0..=0x7f => (2, usize::from(first)),
        0x81 => (3, all.get(2).copied().map(usize::from).ok_or(malformed.clone())?),
        0x82 => {
            let len = all.get(2..4).ok_or(malformed.clone())?;
            (4, usize::from(u16::from_be_bytes([len[0], len[1]])))
        }
        // A request is shorter than what more bytes of length are for.
        _ => return Err(malformed),
    };
    if found != tag || all.len() < header + len {
        return Err(malformed);
    }
    let (value, after) = all.split_at(header + len);
    *rest = after;
    Ok((&value[header..], value))
}

fn end(rest: &[u8], what: &'static str) -> Result<(), RequestError> {
    if rest.is_empty() { Ok(()) } else { Err(RequestError::Malformed { what }) }
}

/// A string of bits that are whole bytes.
fn bits<'a>(content: &'a [u8], what: &'static str) -> Result<&'a [u8], RequestError> {
    match content {
        [0, bytes @ ..] => Ok(bytes),
        _ => Err(RequestError::Malformed { what }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData};

    use super::{CertificateRequest, RequestError, read, read_der};
    use crate::limits::CERTIFICATE_REQUEST_BYTES_MAX;
    use crate::pem;

    fn der() -> (KeyPair, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::new(["other.example".to_owned()]).unwrap();
        let der = request.serialize_request(&key).unwrap().der().to_vec();
        (key, der)
    }

    #[test]
    fn a_request_has_the_key_that_signed_it() {
        let (key, der) = der();
        assert_eq!(read_der(&der).unwrap().der_bytes(), key.public_key_raw());
        let request = CertificateRequest::new().unwrap();
        assert_eq!(read(request.pem()).unwrap().der_bytes(), request.key.public_key_raw());
    }

    #[test]
    fn requests_that_are_cut_changed_or_foreign_are_refused() {
        let (_, der) = der();
        for len in 0..der.len() {
            assert!(matches!(read_der(&der[..len]), Err(RequestError::Malformed { .. })), "{len}");
        }
        for at in 0..der.len() {
            let mut changed = der.clone();
            changed[at] ^= 1;
            assert!(read_der(&changed).is_err(), "{at}");
        }
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let foreign = CertificateParams::default().serialize_request(&p384).unwrap();
        let refused = read_der(foreign.der()).unwrap_err();
        assert_eq!(refused, RequestError::OtherAlgorithm { what: "key" });
        let long = "x".repeat(CERTIFICATE_REQUEST_BYTES_MAX + 1);
        for text in ["", "no PEM", &pem::encode("CERTIFICATE", &der), &long] {
            assert_eq!(read(text).unwrap_err(), RequestError::NoPem);
        }
    }

    #[test]
    fn random_bytes_are_refused() {
        let mut random = exesdb_test_support::random();
        let (_, der) = der();
        for _ in 0..2_000 {
            let mut bytes = der.clone();
            for _ in 0..random.usize(1..8) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            drop(read_der(&bytes));
        }
    }
}
