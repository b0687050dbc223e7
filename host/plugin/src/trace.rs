//! Identifies the request that a call belongs to, across components: the trace id of W3C Trace Context.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use http::HeaderMap;

/// Hex digits of a trace id.
const DIGITS: usize = 32;

/// A trace id: 32 hex digits, not all zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace(Arc<str>);

impl Trace {
    /// A new trace.
    pub(crate) fn new() -> Self {
        Self(new_id().into())
    }

    /// The trace that a request's `traceparent` names, or a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let named = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(parse);
        named.map_or_else(Self::new, |id| Self(id.into()))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The trace id in `version-traceid-parentid-flags`. Clients choose it and the log shows it, so only hex is accepted.
fn parse(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let valid = hex(version, 2) && hex(id, DIGITS) && hex(parent, 16) && hex(flags, 2);
    (valid && id.bytes().any(|b| b != b'0')).then_some(id)
}

/// A unique id: a number, hashed with random keys of this process. Unique within the process, and most likely beyond it. It is
/// no secret.
pub(crate) fn new_id() -> String {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{:016x}", KEYS.hash_one((number, 1)), KEYS.hash_one((number, 2)))
}

#[cfg(test)]
mod tests {
    use super::{new_id, parse};

    #[test]
    fn only_a_valid_traceparent_is_accepted() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(parse(&format!("00-{id}-00f067aa0ba902b7-01")), Some(id));
        for hostile in [
            "",
            "00",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\n-00f067aa0ba902b7-01",
            "00-4bf92f35-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn new_ids_differ() {
        assert_ne!(new_id(), new_id());
        assert_eq!(new_id().len(), 32);
    }
}
