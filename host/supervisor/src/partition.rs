//! Elixir's PartitionSupervisor: `n` equal children, of which a key always selects the same one.

use crate::spec::{ChildSpec, Strategy, SupervisorSpec};

impl SupervisorSpec {
    /// A one_for_one supervisor with the children `"0"` .. `"n-1"`, made by `child` from their number.
    ///
    /// The id of the returned specification is replaced by the number. [`partition_of`] selects the child for a key.
    pub fn partitions(id: impl Into<String>, n: usize, child: impl Fn(usize) -> ChildSpec) -> SupervisorSpec {
        SupervisorSpec::new(id, Strategy::OneForOne)
            .children((0..n).map(|index| child(index).with_id(index.to_string())))
    }
}

/// The partition, of `n`, that `key` belongs to.
///
/// The hash is 64 bit FNV-1a with a final mix: it is the same on all platforms and in all versions, so that it may be
/// stored. It does not resist chosen keys: whoever chooses all keys can load one partition.
///
/// # Panics
/// If `n` is 0.
pub fn partition_of(key: &[u8], n: usize) -> usize {
    assert!(n > 0, "partition_of: n must be at least 1, there is no partition to choose");
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325; // from the definition of 64 bit FNV-1a
    const PRIME: u64 = 0x0000_0100_0000_01b3; // from the definition of 64 bit FNV-1a
    let mut hash = key.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    // FNV's low bits are weak for short keys; one round of the murmur finaliser spreads them.
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    let n = u64::try_from(n).expect("usize fits u64");
    usize::try_from(hash % n).expect("less than n, which is a usize")
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        // Recorded once: a change would move stored keys to other partitions.
        assert_eq!([b"a", b"b", b"c", b"d"].map(|key| partition_of(key, 8)), RECORDED);
        assert_eq!(partition_of(b"anything", 1), 0);
    }

    const RECORDED: [usize; 4] = [5, 4, 4, 4];

    #[test]
    fn keys_spread_evenly() {
        let mut counts = [0_usize; 7];
        for i in 0..7_000 {
            counts[partition_of(format!("stream-{i}").as_bytes(), 7)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
