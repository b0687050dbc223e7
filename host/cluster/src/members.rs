//! Members of a group, and what is a majority of them.
//!
//! Members as bytes, in entries and in the store. Numbers are big-endian.
//!
//! ```text
//! members    version u8 (1), id of the entry that set them (term u64, leader u64, index u64),
//!            sets u8 (1; 2 while voters are replaced), of each: voters u8, of each: replica u64,
//!            members u16, of each: replica u64, incarnation u64, node (bytes u8, name)
//! ```
//!
//! Replicas ascend in each list.

use std::collections::{BTreeMap, BTreeSet};

use exesdb_storage::{Genesis, LogId};

use crate::limits::{MEMBERS_MAX, NODE_NAME_BYTES_MAX, NUMBER_MAX, VOTERS_MAX};
use crate::types::Membership;

const VERSION: u8 = 1;

/// The entry with which each group begins. No leader proposed it.
pub(crate) const GENESIS: LogId = LogId { term: 0, leader: 0, index: 1 };

/// Where a replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Name of its node.
    pub node: String,
    /// Random number that its node's log was made with. A node with another log has lost what the replica had promised.
    pub incarnation: u64,
}

/// Members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The sets of voters: one, or the old and the new one while voters are replaced. A majority has a majority of each.
    pub voters: Vec<BTreeSet<u64>>,
    /// All members by replica id. Those that are no voters learn.
    pub members: BTreeMap<u64, Member>,
}

/// Why bytes are not members of a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// They have another version of the encoding.
    #[error("they have version {found} of the encoding, and this software knows {VERSION}")]
    UnknownVersion {
        /// The version found.
        found: u8,
    },
    /// The bytes end too early or too late.
    #[error("they are cut short, or something follows them")]
    Length,
    /// A number of voters or members is over its limit, or zero.
    #[error("{found} {what}, where 1 to {max} are possible")]
    Count {
        /// Of what.
        what: &'static str,
        /// The number found.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A replica id is 0, or not above the one before it.
    #[error("replica {found} is 0 or not in order")]
    Replica {
        /// The id.
        found: u64,
    },
    /// A voter is no member.
    #[error("voter {replica} is no member")]
    NoMember {
        /// The voter.
        replica: u64,
    },
    /// A node's name is empty, too long, or no UTF-8.
    #[error("the name of replica {replica}'s node is empty, too long or no text")]
    Name {
        /// The replica.
        replica: u64,
    },
    /// A term or index is too high.
    #[error("{found} is over the highest term and index, {NUMBER_MAX}")]
    Number {
        /// The number.
        found: u64,
    },
}

/// What a group begins with whose only replica is this one. The group's other replicas begin with its snapshot.
#[must_use]
pub fn genesis(replica: u64, member: Member) -> Genesis {
    let membership = Membership::new(vec![[replica].into()], BTreeMap::from([(replica, member)]));
    Genesis { id: GENESIS, membership: encode(GENESIS, &membership) }
}

impl Members {
    pub(crate) fn of(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }

    /// Whether a replica votes.
    #[must_use]
    pub fn is_voter(&self, replica: u64) -> bool {
        self.voters.iter().any(|set| set.contains(&replica))
    }

    /// All voters, ascending.
    #[must_use]
    pub fn all_voters(&self) -> BTreeSet<u64> {
        self.voters.iter().flatten().copied().collect()
    }

    /// Whether these replicas are a majority.
    #[must_use]
    pub fn is_majority(&self, of: impl Fn(u64) -> bool) -> bool {
        let is_majority_of =
            |set: &BTreeSet<u64>| set.iter().filter(|replica| of(**replica)).count() * 2 > set.len();
        !self.voters.is_empty() && self.voters.iter().all(is_majority_of)
    }
}

pub(crate) fn encode(id: LogId, membership: &Membership) -> Vec<u8> {
    let mut out = vec![VERSION];
    for number in [id.term, id.leader, id.index] {
        out.extend(number.to_be_bytes());
    }
    let byte = |number: usize| u8::try_from(number).expect("members are within their limits");
    let sets = membership.get_joint_config();
    out.push(byte(sets.len()));
    for set in sets {
        out.push(byte(set.len()));
        set.iter().for_each(|replica| out.extend(replica.to_be_bytes()));
    }
    let members: Vec<_> = membership.nodes().collect();
    let count = u16::try_from(members.len()).expect("members are within their limits");
    out.extend(count.to_be_bytes());
    for (replica, Member { node, incarnation }) in members {
        out.extend(replica.to_be_bytes());
        out.extend(incarnation.to_be_bytes());
        out.push(byte(node.len()));
        out.extend(node.as_bytes());
    }
    out
}

pub(crate) fn decode(bytes: &[u8]) -> Result<(LogId, Membership), MembersError> {
    let rest = &mut &*bytes;
    let version = u8::from_be_bytes(take(rest)?);
    if version != VERSION {
        return Err(MembersError::UnknownVersion { found: version });
    }
    let [term, leader, index] = [take_u64(rest)?, take_u64(rest)?, take_u64(rest)?];
    if let Some(found) = [term, index].into_iter().find(|number| *number > NUMBER_MAX) {
        return Err(MembersError::Number { found });
    }
    let mut sets = Vec::new();
    for _ in 0..count("sets of voters", u8::from_be_bytes(take(rest)?).into(), 2)? {
        let mut set = BTreeSet::new();
        for _ in 0..count("voters", u8::from_be_bytes(take(rest)?).into(), VOTERS_MAX)? {
            let replica = above(set.last().copied(), take_u64(rest)?)?;
            set.insert(replica);
        }
        sets.push(set);
    }
    let mut members = BTreeMap::new();
    for _ in 0..count("members", u16::from_be_bytes(take(rest)?).into(), MEMBERS_MAX)? {
        let last = members.last_key_value().map(|(replica, _)| *replica);
        let replica = above(last, take_u64(rest)?)?;
        let incarnation = take_u64(rest)?;
        let len = u8::from_be_bytes(take(rest)?);
        let node = rest.split_off(..usize::from(len)).ok_or(MembersError::Length)?;
        let node = std::str::from_utf8(node).ok().filter(|node| !node.is_empty());
        let node = node.ok_or(MembersError::Name { replica })?.to_owned();
        members.insert(replica, Member { node, incarnation });
    }
    if !rest.is_empty() {
        return Err(MembersError::Length);
    }
    if let Some(replica) = sets.iter().flatten().find(|replica| !members.contains_key(replica)) {
        return Err(MembersError::NoMember { replica: *replica });
    }
    Ok((LogId { term, leader, index }, Membership::new(sets, members)))
}

/// Whether a member can be added: what [`decode`] would refuse is not proposed.
pub(crate) fn check(replica: u64, member: &Member) -> Result<(), MembersError> {
    above(None, replica)?;
    if member.node.is_empty() || member.node.len() > NODE_NAME_BYTES_MAX {
        return Err(MembersError::Name { replica });
    }
    Ok(())
}

pub(crate) fn count(what: &'static str, found: usize, max: usize) -> Result<usize, MembersError> {
    if found == 0 || found > max {
        return Err(MembersError::Count { what, found, max });
    }
    Ok(found)
}

fn above(last: Option<u64>, found: u64) -> Result<u64, MembersError> {
    if found <= last.unwrap_or(0) {
        return Err(MembersError::Replica { found });
    }
    Ok(found)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], MembersError> {
    let (bytes, after) = rest.split_first_chunk().ok_or(MembersError::Length)?;
    *rest = after;
    Ok(*bytes)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, MembersError> {
    take(rest).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::{GENESIS, Member, Members, MembersError, decode, encode, genesis};
    use crate::types::Membership;

    fn member(node: &str) -> Member {
        Member { node: node.into(), incarnation: 77 }
    }

    fn membership(sets: &[&[u64]], members: &[u64]) -> Membership {
        let members = members
            .iter()
            .map(|id| (*id, member(&format!("n{id}"))))
            .collect::<std::collections::BTreeMap<_, _>>();
        Membership::new(sets.iter().map(|set| set.iter().copied().collect()).collect(), members)
    }

    #[test]
    fn members_are_read_back() {
        for membership in [membership(&[&[1]], &[1]), membership(&[&[1, 2, 3], &[2, 3, 4]], &[1, 2, 3, 4, 9])]
        {
            assert_eq!(decode(&encode(GENESIS, &membership)), Ok((GENESIS, membership)));
        }
        let genesis = genesis(4, member("a"));
        let (id, membership) = decode(&genesis.membership).expect("members");
        assert_eq!(id, GENESIS);
        assert_eq!(Members::of(&membership).members[&4], member("a"));
    }

    #[test]
    fn fuzzed_members_are_read_or_refused() {
        let mut accepted = 0;
        exesdb_fuzz::fuzz("members", |bytes| {
            if let Ok((id, membership)) = decode(bytes) {
                assert_eq!(encode(id, &membership), bytes, "members have one form only");
                accepted += 1;
            }
        });
        assert!(accepted > 0, "every input was refused");
    }

    #[test]
    fn malformed_members_are_refused() {
        let good = encode(GENESIS, &membership(&[&[1, 2]], &[1, 2]));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            decode(&bytes).err()
        };
        // Version, id (24 bytes), sets, voters, two replicas, members, then those.
        assert_eq!(with(0, 2), Some(MembersError::UnknownVersion { found: 2 }));
        assert_eq!(with(1, 255), Some(MembersError::Number { found: 255 << 56 }));
        let count = |what, found, max| Some(MembersError::Count { what, found, max });
        assert_eq!(with(25, 0), count("sets of voters", 0, 2));
        assert_eq!(with(25, 3), count("sets of voters", 3, 2));
        assert_eq!(with(26, 0), count("voters", 0, 9));
        assert_eq!(with(26, 10), count("voters", 10, 9));
        assert_eq!(with(34, 0), Some(MembersError::Replica { found: 0 }));
        assert_eq!(with(42, 1), Some(MembersError::Replica { found: 1 }));
        assert_eq!(with(42, 3), Some(MembersError::NoMember { replica: 3 }));
        assert_eq!(with(43, 200), count("members", 51_202, 256));
        assert_eq!(with(61, 0), Some(MembersError::Name { replica: 1 }));
        assert_eq!(with(62, 0xff), Some(MembersError::Name { replica: 1 }));
        assert_eq!(decode(&[&good[..], &[0]].concat()).err(), Some(MembersError::Length));
        for len in 0..good.len() {
            assert_eq!(decode(&good[..len]).err(), Some(MembersError::Length), "{len}");
        }
    }

    #[test]
    fn a_majority_has_more_than_half_of_each_set() {
        let members = Members::of(&membership(&[&[1, 2, 3], &[3, 4]], &[1, 2, 3, 4]));
        let table: [(&[u64], bool); 6] = [
            (&[], false),
            (&[1, 2], false),
            (&[1, 2, 3], false),
            (&[3, 4], false),
            (&[1, 3, 4], true),
            (&[1, 2, 3, 4], true),
        ];
        for (replicas, expected) in table {
            assert_eq!(members.is_majority(|id| replicas.contains(&id)), expected, "{replicas:?}");
        }
        assert!(!Members::default().is_majority(|_| true), "nobody decides in a group without voters");
    }
}
