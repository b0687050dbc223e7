//! Histories: which of several pasts a position belongs to.
//!
//! A store assigns each position once. But a store that was restored from a backup goes on from the backup's end, and
//! assigns positions again that were assigned to other events before. So each restore begins a new *history*, as
//! PostgreSQL begins a new timeline: a random id, and the position from which on events are its own. The list of a
//! store's histories is kept with its head and copied into its backups. Given a position and the history that it came
//! from, the store can say whether the position still means the same event.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;

/// Number of histories that a store remembers; the oldest are dropped. 1,024: a restore a day for three years, in 16 KiB.
/// Positions of a dropped history are refused like those of an unknown one.
pub(crate) const HISTORIES_MAX: usize = 1024;

/// Bytes of an encoded history.
const HISTORY_BYTES: usize = 16;

/// Identifies a history. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryId(pub u64);

/// One history of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The history's id, drawn at random.
    pub id: HistoryId,
    /// Events from this position on were appended in it, or in a later one.
    pub first_position: u64,
}

/// All histories of a store, the oldest first. There is at least one; the last is the current history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histories(Vec<History>);

/// The position means another event in this store, or none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryChanged {
    /// The store's current history.
    pub current: HistoryId,
    /// Position of the store's next event.
    pub end: u64,
}

impl Histories {
    /// The histories of a new store: one that begins at position 0.
    #[must_use]
    pub fn begin() -> Self {
        Self(vec![History { id: HistoryId::random(), first_position: 0 }])
    }

    /// The current history.
    #[must_use]
    pub fn current(&self) -> History {
        *self.0.last().expect("there is always one history")
    }

    /// All histories, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[History] {
        &self.0
    }

    /// Adds a history whose events begin at `first_position`.
    #[must_use]
    pub(crate) fn with_new_history(&self, first_position: u64) -> Self {
        let mut all = self.0.clone();
        all.push(History { id: HistoryId::random(), first_position });
        all.drain(..all.len().saturating_sub(HISTORIES_MAX));
        Self(all)
    }

    /// The same histories in a store that ends at `end`: those that began later begin there.
    #[must_use]
    pub(crate) fn truncated_to(&self, end: u64) -> Self {
        let cut = |history: &History| History { first_position: history.first_position.min(end), ..*history };
        Self(self.0.iter().map(cut).collect())
    }

    /// Checks that the events below `next`, which a client has seen in `history`, are events of this store, whose next
    /// event gets the position `end`. Without a history, `next` is compared with the end only.
    ///
    /// # Errors
    ///
    /// [`HistoryChanged`], if `next` is beyond the end, or the history is unknown, or a later history replaced it from a
    /// position below `next`.
    pub fn check(&self, end: u64, history: Option<HistoryId>, next: u64) -> Result<(), HistoryChanged> {
        let is_known = match history {
            None => true,
            Some(id) => match self.0.iter().position(|known| known.id == id) {
                None => false,
                // Any later history may begin before this one ended, so `next` is compared with all of them.
                Some(index) => self.0[index + 1..].iter().all(|later| next <= later.first_position),
            },
        };
        if is_known && next <= end {
            return Ok(());
        }
        Err(HistoryChanged { current: self.current().id, end })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * HISTORY_BYTES);
        for history in &self.0 {
            bytes.extend(history.id.0.to_be_bytes());
            bytes.extend(history.first_position.to_be_bytes());
        }
        bytes
    }

    /// Decodes the list of a store or dump that ends at `end`. The error says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8], end: u64) -> Result<Self, String> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let (pairs, odd) = numbers.as_chunks::<2>();
        if !rest.is_empty() || !odd.is_empty() || pairs.is_empty() || pairs.len() > HISTORIES_MAX {
            return Err(format!(
                "the list of histories has {} bytes; it must have {HISTORY_BYTES} for each of 1 to {HISTORIES_MAX}",
                bytes.len()
            ));
        }
        let mut all: Vec<History> = Vec::with_capacity(pairs.len());
        for [id, first] in pairs {
            let (id, first_position) = (HistoryId(u64::from_be_bytes(*id)), u64::from_be_bytes(*first));
            if first_position > end {
                return Err(format!("history {id} begins at position {first_position}, after the end {end}"));
            }
            if all.iter().any(|known| known.id == id) {
                return Err(format!("the list of histories has {id} twice"));
            }
            all.push(History { id, first_position });
        }
        Ok(Self(all))
    }
}

/// Bytes of the longest encoded list.
pub(crate) const HISTORIES_BYTES_MAX: usize = HISTORIES_MAX * HISTORY_BYTES;

impl HistoryId {
    /// A random id. The standard library takes the keys of its hashers from the system's random numbers.
    fn random() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }
}

impl fmt::Display for HistoryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl FromStr for HistoryId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or_else(|| "a history is 16 hexadecimal digits".to_owned())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::{HISTORIES_MAX, Histories, History, HistoryChanged, HistoryId};

    fn histories(list: &[(u64, u64)]) -> Histories {
        Histories(
            list.iter().map(|&(id, first_position)| History { id: HistoryId(id), first_position }).collect(),
        )
    }

    #[test]
    fn a_position_is_valid_up_to_the_start_of_any_later_history_and_up_to_the_end() {
        const A: Option<u64> = Some(0xa);
        const B: Option<u64> = Some(0xb);
        const C: Option<u64> = Some(0xc);
        const UNKNOWN: Option<u64> = Some(0xd);
        // Restored at 50, and later from a backup that ended at 30.
        let twice = histories(&[(0xa, 0), (0xb, 50), (0xc, 30)]);
        let once = histories(&[(0xa, 0), (0xb, 50)]);
        let new = histories(&[(0xa, 0)]);
        for (case, histories, end, history, next, is_valid) in [
            ("an empty store from its beginning", &new, 0, None, 0, true),
            ("beyond an empty store", &new, 0, None, 1, false),
            ("the next position", &new, 10, None, 10, true),
            ("beyond the next position", &new, 10, None, 11, false),
            ("the highest number", &new, 10, None, u64::MAX, false),
            ("of the current history", &new, 10, A, 10, true),
            ("of the current history, beyond the end", &new, 10, A, 11, false),
            ("of another store", &new, 10, UNKNOWN, 0, false),
            ("without a history, after a restore", &once, 60, None, 55, true),
            ("of the old history, before the restore's end", &once, 60, A, 49, true),
            ("of the old history, at the restore's end", &once, 60, A, 50, true),
            ("of the old history, beyond the restore's end", &once, 60, A, 51, false),
            ("of the new history, among the events it shares with the old", &once, 60, B, 20, true),
            ("of the new history", &once, 60, B, 60, true),
            ("of the new history, beyond the end", &once, 60, B, 61, false),
            ("of the first of three", &twice, 60, A, 30, true),
            ("of the first of three, beyond the earliest restore's end", &twice, 60, A, 31, false),
            ("of the second of three", &twice, 60, B, 30, true),
            ("of the second of three, beyond the last restore's end", &twice, 60, B, 31, false),
            ("of the last of three", &twice, 60, C, 60, true),
        ] {
            let expected =
                if is_valid { Ok(()) } else { Err(HistoryChanged { current: histories.current().id, end }) };
            assert_eq!(histories.check(end, history.map(HistoryId), next), expected, "{case}");
        }
    }

    #[test]
    fn each_restore_adds_a_history_and_the_oldest_are_dropped() {
        let mut all = Histories::begin();
        let first = all.current();
        assert_eq!((first.first_position, all.all().len()), (0, 1));
        all = all.with_new_history(7);
        assert_eq!(all.all()[0], first);
        assert_eq!(all.current().first_position, 7);
        assert_ne!(all.current().id, first.id);
        for _ in 0..HISTORIES_MAX {
            all = all.with_new_history(9);
        }
        assert_eq!(all.all().len(), HISTORIES_MAX);
        assert!(all.check(9, Some(first.id), 0).is_err(), "a dropped history is unknown");
        assert_eq!(Histories::decode(&all.encode(), 9).unwrap(), all);
    }

    #[test]
    fn a_malformed_list_is_refused() {
        let good = histories(&[(1, 0), (2, 5)]).encode();
        assert_eq!(Histories::decode(&good, 5).unwrap(), histories(&[(1, 0), (2, 5)]));
        for (bytes, end, expected) in [
            (&good[..0], 5, "has 0 bytes"),
            (&good[..8], 5, "has 8 bytes"),
            (&good[..31], 5, "has 31 bytes"),
            (&good[..], 4, "begins at position 5, after the end 4"),
            (&histories(&[(1, 0), (1, 5)]).encode()[..], 5, "0000000000000001 twice"),
            (&vec![1; 16 * (HISTORIES_MAX + 1)][..], u64::MAX, "has 16400 bytes"),
        ] {
            let error = Histories::decode(bytes, end).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn ids_are_sixteen_hexadecimal_digits() {
        assert_eq!(HistoryId(0xab).to_string(), "00000000000000ab");
        assert_eq!("00000000000000AB".parse(), Ok(HistoryId(0xab)));
        for text in ["", "ab", "00000000000000abc", "+0000000000000ab", "00000000000000ag"] {
            assert!(text.parse::<HistoryId>().is_err(), "{text}");
        }
    }
}
