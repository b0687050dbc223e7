//! Who may join: the tokens that are good, as data.

use serde::{Deserialize, Serialize};

use crate::limits::{INVITATIONS_MAX, TOKEN_LIFE};
use crate::token::Secret;

/// The tokens that a node made. Of their secrets it keeps hashes.
///
/// Times are in microseconds since 1970-01-01T00:00:00 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitations {
    all: Vec<Invitation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Invitation {
    hash: [u8; 32],
    expires_at: u64,
    used_by: Option<Guest>,
}

/// Who joined with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Guest {
    node: String,
    incarnation: u64,
}

/// Why a token is not made or not good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// Too many are good already.
    #[error("{INVITATIONS_MAX} tokens are good at this time: use one of them, or wait until they expire")]
    Full,
    /// This node did not make it, or has forgotten it.
    #[error("this node did not make the token, or it expired: make another one with `exesdb cluster token`")]
    Unknown,
    /// It is too old.
    #[error("the token has expired: make another one with `exesdb cluster token`")]
    Expired,
    /// Another node joined with it, or the same one with another log.
    #[error("node {node} joined with this token already: make another one with `exesdb cluster token`")]
    Used {
        /// That node.
        node: String,
    },
}

impl Invitations {
    /// Notes a token that is made now.
    ///
    /// # Errors
    ///
    /// [`InvitationError::Full`].
    pub fn issue(&mut self, secret: &Secret, now: u64) -> Result<(), InvitationError> {
        self.all.retain(|one| now < one.expires_at);
        if self.all.len() >= INVITATIONS_MAX {
            return Err(InvitationError::Full);
        }
        let life = u64::try_from(TOKEN_LIFE.as_micros()).expect("a token's life is short");
        let expires_at = now.saturating_add(life);
        self.all.push(Invitation { hash: secret.hash(), expires_at, used_by: None });
        Ok(())
    }

    /// Uses a token for a node whose log has this incarnation. The same node may use it again: joining is safe to repeat.
    ///
    /// # Errors
    ///
    /// [`InvitationError`].
    pub fn redeem(
        &mut self,
        secret: &Secret,
        node: &str,
        incarnation: u64,
        now: u64,
    ) -> Result<(), InvitationError> {
        let hash = secret.hash();
        let found = self.all.iter_mut().find(|one| one.hash == hash).ok_or(InvitationError::Unknown)?;
        if now >= found.expires_at {
            return Err(InvitationError::Expired);
        }
        let guest = Guest { node: node.to_owned(), incarnation };
        match &found.used_by {
            Some(before) if *before != guest => Err(InvitationError::Used { node: before.node.clone() }),
            _ => {
                found.used_by = Some(guest);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InvitationError, Invitations};
    use crate::limits::{INVITATIONS_MAX, TOKEN_LIFE};
    use crate::token::Secret;

    const NOW: u64 = 1_000_000;

    fn life() -> u64 {
        TOKEN_LIFE.as_secs() * 1_000_000
    }

    #[test]
    fn a_token_is_good_for_one_node_for_an_hour() {
        let (secret, foreign) = (Secret::new(), Secret::new());
        let mut invitations = Invitations::default();
        assert_eq!(invitations.issue(&secret, NOW), Ok(()));
        let mut redeem = |secret, node, incarnation, now| invitations.redeem(secret, node, incarnation, now);
        assert_eq!(redeem(&foreign, "a", 1, NOW), Err(InvitationError::Unknown));
        assert_eq!(redeem(&secret, "a", 1, NOW), Ok(()));
        assert_eq!(redeem(&secret, "a", 1, NOW + life() - 1), Ok(()), "joining is safe to repeat");
        let used = Err(InvitationError::Used { node: "a".into() });
        assert_eq!(redeem(&secret, "b", 1, NOW), used);
        assert_eq!(redeem(&secret, "a", 2, NOW), used, "its log is another one");
        assert_eq!(redeem(&secret, "a", 1, NOW + life()), Err(InvitationError::Expired));
    }

    #[test]
    fn tokens_are_bounded_and_expired_ones_make_room() {
        let mut invitations = Invitations::default();
        let first = Secret::new();
        assert_eq!(invitations.issue(&first, NOW), Ok(()));
        for _ in 1..INVITATIONS_MAX {
            assert_eq!(invitations.issue(&Secret::new(), NOW + 1), Ok(()));
        }
        assert_eq!(invitations.issue(&Secret::new(), NOW + 1), Err(InvitationError::Full));
        assert_eq!(invitations.issue(&Secret::new(), NOW + life()), Ok(()));
        assert_eq!(invitations.redeem(&first, "a", 1, NOW), Err(InvitationError::Unknown));
    }
}
