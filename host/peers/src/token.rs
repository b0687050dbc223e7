//! Tokens: what a new node needs to join, as one line of text.
//!
//! ```text
//! text       "exesdb1-", base64 (URL-safe, no padding) of:
//!            cluster u128, fingerprint [32], secret [32], addresses (joined by line feeds),
//!            check [4]: the first bytes of SHA-256 of everything before it
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::address::{AddressError, check_address};
use crate::credentials::provider;
use crate::limits::TOKEN_CHARS_MAX;

const PREFIX: &str = "exesdb1-";
const CHECK_BYTES: usize = 4;

/// What a new node needs to join a cluster. Whoever has it can join within the hour: it is a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Id of the cluster.
    pub cluster: u128,
    /// Addresses of the node that made it.
    pub addresses: Vec<String>,
    /// SHA-256 of the authority's certificate: by it the new node knows whom it asks.
    pub fingerprint: [u8; 32],
    /// By it the cluster knows that the new node was invited.
    pub secret: Secret,
}

/// 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If the system has no random numbers.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = [0; 32];
        provider().secure_random.fill(&mut bytes).expect("the system has random numbers");
        Self(bytes)
    }

    /// SHA-256 of it, which is all that is kept.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// As text, for a message.
    pub(crate) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Secret {
    /// Secrets do not get into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a text is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins with something else.
    #[error("this is no token: one begins with `{PREFIX}`; `exesdb cluster token` makes one")]
    NoToken,
    /// It is too long.
    #[error("the token has more than {TOKEN_CHARS_MAX} characters: something follows it")]
    TooLong,
    /// Characters are missing, or others than it was made with.
    #[error("the token is damaged: copy all of its line once more")]
    Damaged,
    /// It names no address, or not one of a node.
    #[error("the token has an address that is none: {0}")]
    Address(#[from] AddressError),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.cluster.to_be_bytes().to_vec();
        bytes.extend(self.fingerprint);
        bytes.extend(self.secret.0);
        bytes.extend(self.addresses.join("\n").as_bytes());
        let check = check_of(&bytes);
        bytes.extend(check);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::NoToken)?;
        if encoded.len() > TOKEN_CHARS_MAX {
            return Err(TokenError::TooLong);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Damaged)?;
        let (content, check) = bytes.split_last_chunk().ok_or(TokenError::Damaged)?;
        if *check != check_of(content) {
            return Err(TokenError::Damaged);
        }
        let (cluster, rest) = content.split_first_chunk().ok_or(TokenError::Damaged)?;
        let (fingerprint, rest) = rest.split_first_chunk().ok_or(TokenError::Damaged)?;
        let (secret, rest) = rest.split_first_chunk().ok_or(TokenError::Damaged)?;
        let addresses = std::str::from_utf8(rest).map_err(|_| TokenError::Damaged)?;
        let addresses: Vec<_> = addresses.split('\n').map(str::to_owned).collect();
        addresses.iter().try_for_each(|address| check_address(address))?;
        let cluster = u128::from_be_bytes(*cluster);
        Ok(Self { cluster, addresses, fingerprint: *fingerprint, secret: Secret(*secret) })
    }
}

fn check_of(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    *digest.first_chunk().expect("a digest is longer")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::{PREFIX, Secret, Token, TokenError};

    fn token() -> Token {
        let addresses = vec!["10.0.0.1:2114".to_owned(), "node-1:2114".to_owned()];
        Token { cluster: 7 << 100, addresses, fingerprint: [3; 32], secret: Secret::new() }
    }

    #[test]
    fn a_token_is_read_back_from_its_line() {
        let token = token();
        let line = token.to_string();
        assert!(!line.contains(char::is_whitespace), "{line}");
        assert_eq!(format!(" {line}\n").parse::<Token>(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret.text()));
        assert_eq!(Secret::from_text(&token.secret.text()), Some(token.secret));
    }

    #[test]
    fn damaged_tokens_are_refused() {
        let line = token().to_string();
        for at in PREFIX.len()..line.len() {
            let mut damaged = line.clone();
            let other = if &damaged[at..=at] == "A" { "B" } else { "A" };
            damaged.replace_range(at..=at, other);
            assert_eq!(damaged.parse::<Token>(), Err(TokenError::Damaged), "{at}");
            assert_eq!(line[..at].parse::<Token>(), Err(TokenError::Damaged), "{at}");
        }
        assert_eq!("eyJh".parse::<Token>(), Err(TokenError::NoToken));
        assert_eq!(format!("{line}{}", "A".repeat(20_000)).parse::<Token>(), Err(TokenError::TooLong));
        let without = Token { addresses: vec![], ..token() };
        assert!(matches!(without.to_string().parse::<Token>(), Err(TokenError::Address(_))));
    }
}
