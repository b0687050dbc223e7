//! Histories: which of several pasts a position belongs to.
//!
//! Positions are given away once in the life of a store. A store that was restored from a backup goes on from the
//! backup's end, and gives positions away again that were given away before, to other events. So each restore begins a
//! new *history*, as PostgreSQL's begins a new timeline: a random number, and the position from which on events are its
//! own. The list of a store's histories is kept with its head and travels in its backups; whoever holds a position and the
//! history that it came from can be told whether it still means the same event.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;

/// Histories that a store remembers: the newest. 1,024: a restore a day for three years, in 16 KiB. Positions of a
/// history that is forgotten are refused, as those of one that never was.
pub const HISTORIES_MAX: usize = 1024;

/// Bytes of an encoded history.
const HISTORY_BYTES: usize = 16;

/// Names a history. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HistoryId(pub u64);

/// One history of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Its name, drawn at random.
    pub id: HistoryId,
    /// Events from this position on were appended in it, or in a later one.
    pub first_position: u64,
}

/// All histories of a store, the oldest first. There is always one: the current history, which is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histories(Vec<History>);

/// A position that means something else in this store, or nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryChanged {
    /// The store's current history.
    pub current: HistoryId,
    /// The position that the store's next event gets.
    pub end: u64,
}

impl Histories {
    /// The histories of a new store: one, from the first position on.
    #[must_use]
    pub fn begin() -> Self {
        Self(vec![History { id: HistoryId::random(), first_position: 0 }])
    }

    /// The current history.
    #[must_use]
    pub fn current(&self) -> History {
        *self.0.last().expect("there is always one history")
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[History] {
        &self.0
    }

    /// These, and a new one whose events begin at `first_position`.
    #[must_use]
    pub fn and_a_new_one(&self, first_position: u64) -> Self {
        let mut all = self.0.clone();
        all.push(History { id: HistoryId::random(), first_position });
        all.drain(..all.len().saturating_sub(HISTORIES_MAX));
        Self(all)
    }

    /// These, in a store that ends at `end`: what began later begins there.
    #[must_use]
    pub(crate) fn up_to(&self, end: u64) -> Self {
        let cut = |history: &History| History { first_position: history.first_position.min(end), ..*history };
        Self(self.0.iter().map(cut).collect())
    }

    /// Whether a client that has seen all events below `next` has seen events of this store, whose next event gets the
    /// position `end`. Without a history only the end is known.
    ///
    /// # Errors
    ///
    /// [`HistoryChanged`], if `next` is beyond the end, or belongs to a history that is not known here, or to one that
    /// was left before it came so far.
    pub fn check(&self, end: u64, history: Option<HistoryId>, next: u64) -> Result<(), HistoryChanged> {
        let is_known = match history {
            None => true,
            Some(id) => match self.0.iter().position(|known| known.id == id) {
                None => false,
                // What comes after a history may have left it at any point before, so the lowest counts.
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

    /// The list that was encoded for a store or dump that ends at `end`; otherwise what is wrong with it.
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
                return Err(format!(
                    "history {id} begins at position {first_position}, behind the end {end}"
                ));
            }
            if all.iter().any(|known| known.id == id) {
                return Err(format!("the list of histories has {id} twice"));
            }
            all.push(History { id, first_position });
        }
        Ok(Self(all))
    }
}

/// Bytes of the longest list.
pub(crate) const HISTORIES_BYTES_MAX: usize = HISTORIES_MAX * HISTORY_BYTES;

impl HistoryId {
    /// One that no other store has, but for chance: the standard library takes the keys of its hashes from the system.
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
    fn a_position_counts_up_to_where_its_history_was_left_and_up_to_the_end() {
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
            ("of the old history, before it was left", &once, 60, A, 49, true),
            ("of the old history, where it was left", &once, 60, A, 50, true),
            ("of the old history, beyond where it was left", &once, 60, A, 51, false),
            ("of the new history, in what it has in common", &once, 60, B, 20, true),
            ("of the new history", &once, 60, B, 60, true),
            ("of the new history, beyond the end", &once, 60, B, 61, false),
            ("of the first of three", &twice, 60, A, 30, true),
            ("of the first of three, beyond the lowest", &twice, 60, A, 31, false),
            ("of the second of three", &twice, 60, B, 30, true),
            ("of the second of three, where it was cut", &twice, 60, B, 31, false),
            ("of the last of three", &twice, 60, C, 60, true),
        ] {
            let expected =
                if is_valid { Ok(()) } else { Err(HistoryChanged { current: histories.current().id, end }) };
            assert_eq!(histories.check(end, history.map(HistoryId), next), expected, "{case}");
        }
    }

    #[test]
    fn each_restore_adds_one_and_the_oldest_are_forgotten() {
        let mut all = Histories::begin();
        let first = all.current();
        assert_eq!((first.first_position, all.all().len()), (0, 1));
        all = all.and_a_new_one(7);
        assert_eq!(all.all()[0], first);
        assert_eq!(all.current().first_position, 7);
        assert_ne!(all.current().id, first.id);
        for _ in 0..HISTORIES_MAX {
            all = all.and_a_new_one(9);
        }
        assert_eq!(all.all().len(), HISTORIES_MAX);
        assert!(all.check(9, Some(first.id), 0).is_err(), "a forgotten history is unknown");
        assert_eq!(Histories::decode(&all.encode(), 9).unwrap(), all);
    }

    #[test]
    fn a_list_that_no_store_writes_is_refused() {
        let good = histories(&[(1, 0), (2, 5)]).encode();
        assert_eq!(Histories::decode(&good, 5).unwrap(), histories(&[(1, 0), (2, 5)]));
        for (bytes, end, expected) in [
            (&good[..0], 5, "has 0 bytes"),
            (&good[..8], 5, "has 8 bytes"),
            (&good[..31], 5, "has 31 bytes"),
            (&good[..], 4, "begins at position 5, behind the end 4"),
            (&histories(&[(1, 0), (1, 5)]).encode()[..], 5, "0000000000000001 twice"),
            (&vec![1; 16 * (HISTORIES_MAX + 1)][..], u64::MAX, "has 16400 bytes"),
        ] {
            let error = Histories::decode(bytes, end).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn ids_are_sixteen_digits() {
        assert_eq!(HistoryId(0xab).to_string(), "00000000000000ab");
        assert_eq!("00000000000000AB".parse(), Ok(HistoryId(0xab)));
        for text in ["", "ab", "00000000000000abc", "+0000000000000ab", "00000000000000ag"] {
            assert!(text.parse::<HistoryId>().is_err(), "{text}");
        }
    }
}
