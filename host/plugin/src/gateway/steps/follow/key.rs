//! Who shares a reader.

use super::super::bulk::Sending;
use super::super::form::Form;
use crate::long_read::Shared;

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
    /// The key of a follower; `single` numbers those who share with nobody. A follower that is live at another place than its group
    /// shares with nobody, because a group has one place: it waits for what is still to come, or its stream was deleted.
    pub(super) fn of(follower: &Sending, single: impl FnOnce() -> u64) -> Self {
        let reading = &follower.reader.reading;
        let is_unreached = follower.unreached.is_some_and(|place| reading.next() == Some(place));
        Self {
            what: reading.shared().filter(|_| !is_unreached).ok_or_else(single),
            history: reading.horizon().history_id,
            form: Form::clone(&follower.form),
            component: follower.origin.identity.digest.clone(),
        }
    }
}
