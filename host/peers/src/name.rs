//! Names of nodes: what a certificate can have as a DNS name.

use crate::limits::NODE_NAME_BYTES_MAX;

/// The text is no name of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name of a node: lower-case letters, digits, hyphens and dots, as in a DNS name, with a letter at the start"
)]
pub struct NameError {
    /// The start of the text.
    pub name: String,
}

/// Whether a text is a name of a node: a DNS name in lower case, which begins with a letter.
///
/// # Errors
///
/// [`NameError`].
pub fn check_node_name(name: &str) -> Result<(), NameError> {
    let is_label = |label: &str| {
        let is_inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = name.len() <= NODE_NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('.').all(is_label);
    if is_name { Ok(()) } else { Err(NameError { name: name.chars().take(64).collect() }) }
}

#[cfg(test)]
mod tests {
    use super::check_node_name;

    #[test]
    fn names_of_nodes_are_dns_names_in_lower_case() {
        let long = format!("{}.{}", vec!["a".repeat(63); 3].join("."), "b".repeat(61));
        for name in ["a", "node-1", "exesdb-0.exesdb.default.svc", "n1.a--b", &long] {
            assert_eq!(check_node_name(name), Ok(()), "{name}");
        }
        let long_label = "a".repeat(64);
        let too_long = format!("{long}b");
        let table = ["", ".", "a.", ".a", "-a", "a-", "1", "A", "a b", "a_b", "ä", "10.0.0.1", "a/b"];
        for name in table.into_iter().chain([long_label.as_str(), &too_long]) {
            assert!(check_node_name(name).is_err(), "{name}");
        }
    }
}
