//! Random ids. As text they are hexadecimal digits: a JSON number does not hold them.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A cluster: a random number that was made when it was initialised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ClusterId(pub u128);

/// The log of a node: a random number that was made with it. A node with another log has lost what it had promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Incarnation(pub u64);

/// A text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {digits} hexadecimal digits")]
pub struct MalformedId {
    /// The text.
    pub text: String,
    /// Number of digits of such an id.
    pub digits: usize,
}

impl ClusterId {
    /// A random id. The standard library takes the keys of its hashers from the system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        let half = || u128::from(RandomState::new().build_hasher().finish());
        Self(half() << 64 | half())
    }
}

fn digits(text: &str, digits: usize) -> Result<u128, MalformedId> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    number.ok_or_else(|| MalformedId { text: text.chars().take(64).collect(), digits })
}

impl fmt::Display for ClusterId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl FromStr for ClusterId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        digits(text, 32).map(Self)
    }
}

impl TryFrom<String> for ClusterId {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl FromStr for Incarnation {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let number = digits(text, 16)?;
        Ok(Self(u64::try_from(number).expect("16 digits fit")))
    }
}

impl TryFrom<String> for Incarnation {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<Incarnation> for String {
    fn from(id: Incarnation) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterId, Incarnation};

    #[test]
    fn ids_are_hexadecimal_digits_and_nothing_else() {
        assert_eq!(ClusterId(0xab).to_string().parse(), Ok(ClusterId(0xab)));
        assert_eq!(Incarnation(u64::MAX).to_string().parse(), Ok(Incarnation(u64::MAX)));
        for text in
            ["", "ab", "+000000000000001", "000000000000000g", "00000000000000001", "äääääääääääääääää"]
        {
            assert!(text.parse::<Incarnation>().is_err(), "{text}");
            assert!(text.repeat(2).parse::<ClusterId>().is_err(), "{text}");
        }
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(ClusterId::random(), ClusterId::random());
    }
}
