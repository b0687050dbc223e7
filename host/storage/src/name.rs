//! Names of owners and keyspaces, and the full name of a keyspace in fjall.

use crate::limits::NAME_BYTES_MAX;

/// Separates owner and keyspace in a full name. No name may contain it, so a full name can be split again, and no owner
/// can reach this crate's own keyspaces, which have no owner.
const SEPARATOR: char = '.';

/// Checks that `name` is `[a-z0-9-]{1,64}`, which is safe on every file system, in every log and in every URL.
pub(crate) fn check(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("the {what} name has {} bytes; it must have 1 to {NAME_BYTES_MAX}", name.len()));
    }
    match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        None => Ok(()),
        Some(c) => Err(format!("the {what} name {name:?} contains {c:?}; it may contain a-z, 0-9 and -")),
    }
}

/// The full name of an owner's keyspace.
pub(crate) fn join(owner: &str, keyspace: &str) -> String {
    format!("{owner}{SEPARATOR}{keyspace}")
}

/// Owner and keyspace of a full name; `None` if this crate would never have written it.
pub(crate) fn split(full: &str) -> Option<(&str, &str)> {
    let (owner, keyspace) = full.split_once(SEPARATOR)?;
    (check("owner", owner).is_ok() && check("keyspace", keyspace).is_ok()).then_some((owner, keyspace))
}
