//! Which way a request goes. Pure.

use super::{Asked, Leader, LeaderNode, ReadLevel};

/// Which way a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// This node serves it.
    Serve,
    /// This node serves it once its data is as new as that.
    Read(ReadLevel),
    /// That node serves it, and its response is passed on.
    Relay(LeaderNode),
    /// The client is told to ask the leader.
    Redirect(Option<LeaderNode>),
    /// There is no leader, which may change soon: ask again.
    Wait,
}

/// Changes are the leader's, and reads everybody's. A request is relayed once.
pub(crate) fn way(asked: &Asked, leader: Leader) -> Way {
    if !asked.is_change {
        return match asked.level {
            ReadLevel::Local => Way::Serve,
            level => Way::Read(level),
        };
    }
    match leader {
        Leader::Here => Way::Serve,
        Leader::There(node) if asked.may_be_relayed() => Way::Relay(node),
        Leader::There(node) => Way::Redirect(Some(node)),
        // Whoever relayed it looks for the leader itself.
        Leader::Unknown if asked.is_relayed => Way::Redirect(None),
        Leader::Unknown => Way::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::{Way, way};
    use crate::cluster::{Asked, Leader, LeaderNode, ReadLevel};

    #[test]
    fn changes_go_to_the_leader_and_reads_stay() {
        let node = LeaderNode { name: "b".into(), address: "b:2113".into() };
        let there = || Leader::There(node.clone());
        let change =
            Asked { is_change: true, level: ReadLevel::Linearizable, no_relay: false, is_relayed: false };
        let direct = Asked { no_relay: true, ..change };
        let relayed = Asked { is_relayed: true, ..change };
        let read = |level| Asked { is_change: false, level, ..change };
        let table = [
            (change, Leader::Here, Way::Serve),
            (change, there(), Way::Relay(node.clone())),
            (change, Leader::Unknown, Way::Wait),
            (direct, Leader::Here, Way::Serve),
            (direct, there(), Way::Redirect(Some(node.clone()))),
            (direct, Leader::Unknown, Way::Wait),
            (relayed, Leader::Here, Way::Serve),
            (relayed, there(), Way::Redirect(Some(node.clone()))),
            (relayed, Leader::Unknown, Way::Redirect(None)),
            (read(ReadLevel::Local), Leader::Unknown, Way::Serve),
            (read(ReadLevel::Local), there(), Way::Serve),
            (read(ReadLevel::AtLeast(7)), Leader::Unknown, Way::Read(ReadLevel::AtLeast(7))),
            (read(ReadLevel::Linearizable), Leader::Here, Way::Read(ReadLevel::Linearizable)),
            (read(ReadLevel::Linearizable), there(), Way::Read(ReadLevel::Linearizable)),
        ];
        for (asked, leader, expected) in table {
            assert_eq!(way(&asked, leader.clone()), expected, "{asked:?} {leader:?}");
        }
    }
}
