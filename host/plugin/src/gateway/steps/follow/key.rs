//! Who shares a reader.

use super::super::bulk::Sending;
use super::super::form::Form;
use super::super::reading::Shared;

/// What the followers of one group have in common. When callers have rights, theirs belong to it.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// A number of its own for a follower that shares with nobody.
    what: Result<Shared, u64>,
    history: u64,
    form: Form,
    /// The digest of the gateway component, whose form it is.
    component: String,
}

impl Key {
    /// The key of a follower; `single` numbers those who share with nobody.
    pub(super) fn of(follower: &Sending, single: impl FnOnce() -> u64) -> Self {
        let reading = &follower.reader.reading;
        Self {
            what: reading.shared().ok_or_else(single),
            history: reading.horizon().history_id,
            form: Form::clone(&follower.form),
            component: follower.origin.identity.digest.clone(),
        }
    }
}
