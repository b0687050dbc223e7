//! Finds the child that a path names.

use exesdb_supervisor::Node;

use super::protocol::{CHILDREN_LISTED_MAX, Refusal};
use crate::tree::stores_in;

/// The full path of a child, given its ids from the root with or without the root's own.
pub(super) fn resolve(tree: &Node, asked: &str) -> Result<String, Refusal> {
    let ids: Vec<&str> = asked.split('/').filter(|id| !id.is_empty()).collect();
    // The full path takes precedence: it is the one that is shown, and a store may have the root's name.
    let below_root = ids.strip_prefix(&[tree.id.as_str()]);
    match below_root.map(|ids| walk(tree, ids)) {
        Some(Ok(node)) => Ok(node.path.clone()),
        _ if ids.is_empty() => Err(unknown(tree, asked)),
        failed => match (walk(tree, &ids).or_else(|nearest| walk_store(tree, &ids).ok_or(nearest)), failed) {
            (Ok(node), _) => Ok(node.path.clone()),
            (Err(_), Some(Err(nearest))) | (Err(nearest), _) => Err(unknown(nearest, asked)),
        },
    }
}

/// The node of a store, whose ids begin with the store's name. In a cluster the stores are not the root's children.
fn walk_store<'a>(tree: &'a Node, ids: &[&str]) -> Option<&'a Node> {
    let (store, below) = ids.split_first()?;
    let store = stores_in(tree).iter().find(|node| node.id == *store)?;
    walk(store, below).ok()
}

/// The node at the end of the ids, or the last one that they reach.
fn walk<'a>(from: &'a Node, ids: &[&str]) -> Result<&'a Node, &'a Node> {
    ids.iter().try_fold(from, |node, id| node.children.iter().find(|child| child.id == *id).ok_or(node))
}

fn unknown(nearest: &Node, asked: &str) -> Refusal {
    Refusal::UnknownPath {
        path: asked.to_owned(),
        nearest: nearest.path.clone(),
        children: nearest.children.iter().take(CHILDREN_LISTED_MAX).map(|child| child.id.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, resolve};
    use exesdb_supervisor::{Kind, Node, NodeState, Strategy};

    fn node(path: &str, children: Vec<Node>) -> Node {
        Node {
            id: path.rsplit('/').next().unwrap().to_owned(),
            path: path.to_owned(),
            kind: Kind::Worker,
            state: NodeState::Running,
            restarts: 0,
            started_at_micros: 0,
            last_exit: None,
            strategy: None,
            intensity: None,
            note: None,
            detail: None,
            children,
        }
    }

    #[test]
    fn the_root_may_be_omitted_from_a_path() {
        let system = node("host/main/system", vec![node("host/main/system/pubsub", vec![])]);
        let tree = node("host", vec![node("host/main", vec![system]), node("host/other", vec![])]);
        let cases = [
            ("host", Ok("host")),
            ("host/main", Ok("host/main")),
            ("main", Ok("host/main")),
            ("main/system/pubsub", Ok("host/main/system/pubsub")),
            ("/host/main/system/", Ok("host/main/system")),
            ("", Err(("host", 2))),
            ("/", Err(("host", 2))),
            ("mian", Err(("host", 2))),
            ("host/host", Err(("host", 2))),
            ("main/system/pubsup", Err(("host/main/system", 1))),
            ("main/system/pubsub/x/y", Err(("host/main/system/pubsub", 0))),
            ("../main", Err(("host", 2))),
        ];
        for (asked, expected) in cases {
            match (resolve(&tree, asked), expected) {
                (Ok(path), Ok(expected)) => assert_eq!(path, expected),
                (Err(Refusal::UnknownPath { path, nearest, children }), Err(expected)) => {
                    assert_eq!(
                        (path.as_str(), nearest.as_str(), children.len()),
                        (asked, expected.0, expected.1)
                    );
                }
                (found, _) => panic!("{asked}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_store_may_have_the_name_of_the_root() {
        let tree = node("host", vec![node("host/host", vec![node("host/host/system", vec![])])]);
        assert_eq!(resolve(&tree, "host/system").unwrap(), "host/host/system");
        assert_eq!(resolve(&tree, "host/host").unwrap(), "host/host");
        assert_eq!(resolve(&tree, "host").unwrap(), "host");
    }

    #[test]
    fn a_store_of_a_cluster_is_found_by_its_name_alone() {
        let system = node("host/stores/main/system", vec![]);
        let stores = node("host/stores", vec![node("host/stores/main", vec![system])]);
        let root = node("host", vec![node("host/node-system", vec![]), stores]);
        let root = Node { strategy: Some(Strategy::RestForOne), ..root };
        let path = |asked: &str| resolve(&root, asked).unwrap();
        assert_eq!(path("main/system"), "host/stores/main/system");
        assert_eq!(path("main"), "host/stores/main");
        assert_eq!(path("stores/main"), "host/stores/main");
        assert_eq!(path("node-system"), "host/node-system");
    }
}
