//! Changes that are applied as a cluster applies them, and read again.

use exesdb_cluster::genesis;
use exesdb_storage::{
    Entry, EntryCommit, EntryContent, Histories, LogId, Memory, Options, Outcomes, Replica,
};

use super::{Change, NewNode, NewStore, NodeState, Refused, Registry, RegistryError};
use crate::id::{ClusterId, Incarnation};
use crate::names::Addresses;

fn node(name: &str, incarnation: u64) -> NewNode {
    let addresses = Addresses { peers: vec![format!("{name}:2114")], clients: vec![] };
    NewNode { name: name.into(), addresses, zone: None, incarnation: Incarnation(incarnation) }
}

fn store(name: &str, voters: u8) -> NewStore {
    NewStore { name: name.into(), config: String::new(), voters }
}

fn founded() -> Change {
    Registry::found(ClusterId(7), &node("a", 1), &[store("x", 3), store("y", 3)]).expect("it is possible")
}

/// A replica in memory that applies commits as those of a cluster do.
struct Applied(Replica<Memory>);

impl Applied {
    fn new() -> Self {
        let genesis = genesis(1, exesdb_cluster::Member { node: "a".into(), incarnation: 1 });
        let histories = Histories::begin();
        Self(
            Replica::create_in(Memory::default(), Options::default(), &genesis, &histories)
                .expect("a replica"),
        )
    }

    fn apply(&mut self, commit: exesdb_storage::Commit) -> Outcomes {
        let index = self.0.state().applied.id.index + 1;
        let commit = EntryCommit { owner: commit.owner, batches: commit.batches, ..EntryCommit::default() };
        let id = LogId { index, ..LogId::default() };
        let entry = Entry { id, time: 0, content: EntryContent::Commits(vec![commit]) };
        self.0.apply(entry).expect("it is the next").expect("outcomes").remove(0)
    }

    fn read(&self) -> Result<Registry, RegistryError> {
        Registry::read(&self.0.reader().snapshot())
    }
}

#[test]
fn what_was_decided_is_what_is_read() {
    let mut applied = Applied::new();
    assert_eq!(applied.read(), Err(RegistryError::Missing));
    let Change { commit, after } = founded();
    assert!(applied.apply(commit)[0].is_ok());
    assert_eq!(applied.read().as_ref(), Ok(&after));
    let Change { commit, after } =
        after.register_node(&node("b", 2)).expect("it is possible").expect("it is new");
    assert!(applied.apply(commit)[0].is_ok());
    assert_eq!(applied.read().as_ref(), Ok(&after));
    assert_eq!(after.groups_on(2), [(1, "$cluster", 4), (2, "x", 5), (3, "y", 6)]);
    assert_eq!(after.replicas_of(2).collect::<Vec<_>>(), [(2, 1), (5, 2)]);
    let Change { commit, after } = after.mark_up(2).expect("it is possible").expect("it was joining");
    assert!(applied.apply(commit)[0].is_ok());
    assert_eq!((applied.read().as_ref(), after.revision()), (Ok(&after), 3));
    assert_eq!(after.nodes[&2].state, NodeState::Up);
    assert_eq!(after.mark_up(2), Ok(None));
}

#[test]
fn of_two_changes_of_one_registry_only_the_first_happens() {
    let mut applied = Applied::new();
    let (one, two) = (founded(), founded());
    assert!(applied.apply(one.commit)[0].is_ok());
    assert!(applied.apply(two.commit)[0].is_err(), "a cluster is founded once");
    let registry = applied.read().expect("it is there");
    let one = registry.register_node(&node("b", 2)).expect("it is possible").expect("it is new");
    let two = registry.register_node(&node("c", 3)).expect("it is possible").expect("it is new");
    assert!(applied.apply(one.commit)[0].is_ok());
    assert!(applied.apply(two.commit)[0].is_err());
    let registry = applied.read().expect("it is there");
    assert_eq!(registry, one.after);
    let again = registry.register_node(&node("c", 3)).expect("it is possible").expect("it is new");
    assert!(applied.apply(again.commit)[0].is_ok());
    assert_eq!(again.after.node_named("c").map(|(id, _)| id), Some(3));
}

#[test]
fn a_node_is_registered_once_and_never_with_another_log() {
    let registry = founded().after;
    let mut registry =
        registry.register_node(&node("b", 2)).expect("it is possible").expect("it is new").after;
    assert_eq!(registry.register_node(&node("b", 2)), Ok(None));
    let elsewhere = NewNode { addresses: node("elsewhere", 2).addresses, ..node("b", 2) };
    let moved = registry.register_node(&elsewhere).expect("it is possible").expect("it moved").after;
    assert_eq!(
        (moved.nodes[&2].addresses.clone(), moved.replicas == registry.replicas),
        (elsewhere.addresses, true)
    );
    let (registered, found) = (Incarnation(2), Incarnation(9));
    let refused = registry.register_node(&node("b", 9));
    assert_eq!(refused, Err(Refused::OtherLog { name: "b".into(), registered, found }));
    let refused = registry.register_node(&node("c", 2));
    assert_eq!(refused, Err(Refused::OtherName { registered: "b".into() }));
    assert_eq!(registry.check_peer("b", registered), Ok(2));
    let refused = registry.check_peer("b", found);
    assert_eq!(refused, Err(Refused::OtherLog { name: "b".into(), registered, found }));
    let refused = registry.check_peer("c", found);
    assert_eq!(refused, Err(Refused::Unregistered { name: "c".into() }));
    registry.nodes.get_mut(&2).expect("it is there").state = NodeState::Removed;
    for (name, incarnation) in [("b", 2), ("b", 9), ("c", 2)] {
        let refused = registry.register_node(&node(name, incarnation));
        assert_eq!(refused, Err(Refused::Removed { name: "b".into() }), "{name} {incarnation}");
    }
    assert_eq!(registry.check_peer("b", registered), Err(Refused::Removed { name: "b".into() }));
    assert_eq!(registry.mark_up(2), Err(Refused::Removed { name: "b".into() }));
    assert_eq!(registry.mark_up(5), Err(Refused::UnknownNode { node: 5 }));
    assert!(registry.replicas_of(1).all(|(_, node)| node != 2));
}

#[test]
fn names_addresses_and_numbers_that_are_not_possible_are_refused() {
    let registry = founded().after;
    let nameless = node("$cluster", 2);
    let unreachable = NewNode { addresses: Addresses::default(), ..node("b", 2) };
    let nowhere = NewNode { zone: Some("!".into()), ..node("b", 2) };
    for new in [nameless, unreachable, nowhere] {
        assert!(matches!(registry.register_node(&new), Err(Refused::Invalid(_))), "{new:?}");
    }
    assert_eq!(registry.set_voters("x", 3), Ok(None));
    let one = registry.set_voters("x", 1).expect("it is possible").expect("it is a change");
    assert_eq!(one.after.stores[&2].voters, 1);
    for wanted in [2, 4] {
        assert_eq!(registry.set_voters("x", wanted), Err(Refused::EvenVoters { wanted }));
    }
    for wanted in [0, 7] {
        assert!(matches!(registry.set_voters("x", wanted), Err(Refused::Invalid(_))));
    }
    let known = vec!["x".to_owned(), "y".to_owned()];
    assert_eq!(registry.set_voters("z", 3), Err(Refused::UnknownStore { name: "z".into(), known }));
    let found = |stores: &[NewStore]| Registry::found(ClusterId(7), &node("a", 1), stores).err();
    assert_eq!(found(&[store("x", 3), store("x", 3)]), Some(Refused::StoreExists { name: "x".into() }));
    assert_eq!(found(&[store("x", 2)]), Some(Refused::EvenVoters { wanted: 2 }));
    assert!(matches!(found(&[store("../x", 3)]), Some(Refused::Invalid(_))));
    let many: Vec<_> = (0..256).map(|number| store(&number.to_string(), 3)).collect();
    assert_eq!(found(&many), Some(Refused::TooMany { what: "stores", max: 255 }));
}

#[test]
fn a_cluster_has_so_many_nodes_and_no_more() {
    let mut registry = Registry::found(ClusterId(7), &node("n0", 1), &[]).expect("it is possible").after;
    for number in 1..256 {
        let change = registry.register_node(&node(&format!("n{number}"), number + 1));
        registry = change.expect("it is possible").expect("it is new").after;
    }
    let refused = registry.register_node(&node("more", 999));
    assert_eq!(refused, Err(Refused::TooMany { what: "nodes", max: 256 }));
}

#[test]
fn records_that_are_malformed_or_do_not_fit_each_other_are_refused() {
    let put = |keyspace: &str, key: &[u8], value: &str| {
        let mut changes = exesdb_storage::Changes { keyspace: keyspace.into(), ..Default::default() };
        exesdb_storage::push_put(&mut changes.puts, key, value.as_bytes(), &[], &[]);
        let batch = exesdb_storage::Batch { changes: vec![changes], ..Default::default() };
        exesdb_storage::Commit { owner: "cluster".into(), batches: vec![batch], ..Default::default() }
    };
    let b = r#"{"name":"b","addresses":{"peers":["b:1"]},"incarnation":"0000000000000002","state":"up"}"#;
    let head = |level: u32, next: u64| {
        format!(
            r#"{{"cluster":"{}","feature_level":{level},"revision":1,"next_node":{next},"next_group":4,"next_replica":4}}"#,
            ClusterId(7)
        )
    };
    let id = |id: u64| id.to_be_bytes();
    let table = [
        (put("registry", b"head", "{"), "is malformed"),
        (put("registry", b"head", &head(2, 2)), "feature level 2"),
        (put("registry", b"head", &head(1, u64::MAX)), "a counter is over"),
        (put("nodes", b"b", b), "no number of 8 bytes"),
        (put("nodes", &id(1), "[]"), "is malformed"),
        (put("nodes", &id(1), &b.replace("up", "lost")), "is malformed"),
        (put("nodes", &id(1), &b.replace('}', ",\"more\":1}")), "is malformed"),
        (put("nodes", &id(1), &b.replace("0002", "2")), "hexadecimal digits"),
        (
            put("nodes", &id(1), &b.replace(":\"b\"", ":\"B\"")),
            "node 1: the node's name \"B\" is not possible",
        ),
        (put("nodes", &id(2), b), "an id that was not given"),
        (put("stores", &id(3), r#"{"name":"x","config":"","voters":3}"#), "another one's name"),
        (put("stores", &id(1), r#"{"name":"z","config":"","voters":3}"#), "group 1 has a number"),
        (put("stores", &id(3), r#"{"name":"y","config":"","voters":2}"#), "the number of voters"),
        (put("replicas", &id(9), r#"{"group":1,"node":1}"#), "replica 9 of group 1 on node 1 cannot be"),
        (put("replicas", &id(3), r#"{"group":1,"node":1}"#), "replica 3 of group 1 on node 1 cannot be"),
        (put("replicas", &id(3), r#"{"group":3,"node":2}"#), "on node 2 cannot be"),
        (put("replicas", &id(3), r#"{"group":9,"node":1}"#), "of group 9"),
    ];
    for (hostile, expected) in table {
        let mut applied = Applied::new();
        applied.apply(founded().commit);
        assert!(applied.apply(hostile)[0].is_ok());
        let error = applied.read().expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
