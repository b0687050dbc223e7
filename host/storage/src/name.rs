//! Names of owners and keyspaces, and the name that fjall knows a keyspace by.

use crate::limits::NAME_BYTES_MAX;

/// Stands between owner and keyspace in fjall's name. No name may contain it, so the pair can be told apart again, and
/// the keyspaces of this layer (which have no owner) cannot be reached by any owner.
const SEPARATOR: char = '.';

/// Checks that `name` is `[a-z0-9-]{1,64}`: the same on every file system, in every log, in every URL.
pub(crate) fn check(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("the {what} name has {} bytes; it must have 1 to {NAME_BYTES_MAX}", name.len()));
    }
    match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        None => Ok(()),
        Some(c) => Err(format!("the {what} name {name:?} contains {c:?}; it may contain a-z, 0-9 and -")),
    }
}

/// The name that fjall knows an owner's keyspace by.
pub(crate) fn join(owner: &str, keyspace: &str) -> String {
    format!("{owner}{SEPARATOR}{keyspace}")
}

/// Owner and keyspace of a fjall name; `None` when this layer would never have written it.
pub(crate) fn split(full: &str) -> Option<(&str, &str)> {
    let (owner, keyspace) = full.split_once(SEPARATOR)?;
    (check("owner", owner).is_ok() && check("keyspace", keyspace).is_ok()).then_some((owner, keyspace))
}
