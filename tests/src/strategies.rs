//! What a strategy restarts, computed from the displayed tree, independently of the supervisor's code.

use std::collections::BTreeSet;

use serde_json::Value;

/// All paths of the tree, parents first, siblings in start order.
pub fn paths(node: &Value) -> Vec<String> {
    let below = children(node).iter().flat_map(paths);
    std::iter::once(path(node)).chain(below).collect()
}

/// The paths that restart when a child is killed. All children are permanent.
///
/// # Panics
///
/// When a supervisor above it has a strategy that Erlang does not know.
pub fn restarted(tree: &Value, killed: &str) -> BTreeSet<String> {
    let Some((parent, index)) = find(tree, killed) else { return BTreeSet::new() };
    let siblings = children(parent);
    let concerned = match parent["strategy"].as_str() {
        Some("one_for_one") => &siblings[index..=index],
        Some("rest_for_one") => &siblings[index..],
        Some("one_for_all") => siblings,
        other => panic!("{}: no strategy known to Erlang: {other:?}", parent["path"]),
    };
    concerned.iter().flat_map(paths).collect()
}

/// Whether a part of the tree runs with all that is below it.
pub fn runs(node: &Value) -> bool {
    node["state"] == "running" && children(node).iter().all(runs)
}

/// The supervisor of a child, and the child's index.
fn find<'a>(node: &'a Value, wanted: &str) -> Option<(&'a Value, usize)> {
    let own = children(node).iter().position(|child| child["path"] == wanted);
    match own {
        Some(index) => Some((node, index)),
        None => children(node).iter().find_map(|child| find(child, wanted)),
    }
}

fn children(node: &Value) -> &[Value] {
    node["children"].as_array().map_or(&[], Vec::as_slice)
}

fn path(node: &Value) -> String {
    node["path"].as_str().expect("a node has a path").to_owned()
}

#[cfg(test)]
mod tests {
    use super::{paths, restarted};
    use serde_json::{Value, json};

    /// `a` with the children `b` (with `x` and `y`), `c` and `d`.
    fn tree(strategy: &str) -> Value {
        let leaf = |path: &str| json!({ "path": path });
        let below =
            json!({ "path": "a/b", "strategy": "one_for_one", "children": [leaf("a/b/x"), leaf("a/b/y")] });
        json!({ "path": "a", "strategy": strategy, "children": [below, leaf("a/c"), leaf("a/d")] })
    }

    #[test]
    fn each_strategy_restarts_the_right_children() {
        assert_eq!(paths(&tree("one_for_one")), ["a", "a/b", "a/b/x", "a/b/y", "a/c", "a/d"]);
        let table: [(&str, &str, &[&str]); 11] = [
            ("one_for_one", "a/b", &["a/b", "a/b/x", "a/b/y"]),
            ("one_for_one", "a/c", &["a/c"]),
            ("one_for_one", "a/b/y", &["a/b/y"]),
            ("rest_for_one", "a/b", &["a/b", "a/b/x", "a/b/y", "a/c", "a/d"]),
            ("rest_for_one", "a/c", &["a/c", "a/d"]),
            ("rest_for_one", "a/d", &["a/d"]),
            ("rest_for_one", "a/b/x", &["a/b/x"]),
            ("one_for_all", "a/b", &["a/b", "a/b/x", "a/b/y", "a/c", "a/d"]),
            ("one_for_all", "a/d", &["a/b", "a/b/x", "a/b/y", "a/c", "a/d"]),
            ("one_for_all", "a", &[]),
            ("one_for_all", "elsewhere", &[]),
        ];
        for (strategy, killed, expected) in table {
            let found = restarted(&tree(strategy), killed);
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                expected.iter().collect::<Vec<_>>(),
                "{strategy} {killed}"
            );
        }
    }
}
