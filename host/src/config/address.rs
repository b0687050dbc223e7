//! Names and addresses of the nodes of a cluster, as an operator writes them.

use std::net::SocketAddr;

/// What an address must be.
pub(super) const ADDRESS: &str = "a host and a port such as \"10.0.0.1:2114\" or \"node-2.example.org:2114\"";

/// What a node's name must be: a certificate has it as a DNS name.
pub(super) const NODE: &str = "a name such as \"node-2\" or \"node-2.example.org\": lower-case letters, digits, hyphens and dots, with a letter at the start";

/// What a zone must be.
pub(super) const ZONE: &str = "1 to 64 characters of a-z, 0-9 and -";

/// Longest name of a node, and longest host of an address, in bytes: that of a DNS name.
const NAME_BYTES_MAX: usize = 253;
/// Longest part of such a name.
const LABEL_BYTES_MAX: usize = 63;
/// Longest name of a zone.
const ZONE_BYTES_MAX: usize = 64;

/// An address that another machine can connect to: an IP address or a DNS name, with a port.
pub(super) fn address(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return is_reachable(address).then(|| text.to_owned());
    }
    let (host, port) = text.rsplit_once(':')?;
    let is_port =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    (node(&host.to_ascii_lowercase()).is_some() && is_port).then(|| text.to_owned())
}

/// Whether somebody else can connect to an address: it is not that of all interfaces, and has a port.
pub(super) fn is_reachable(address: SocketAddr) -> bool {
    !address.ip().is_unspecified() && address.port() != 0
}

/// A node's name.
pub(super) fn node(text: &str) -> Option<String> {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && is_plain(label)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = text.len() <= NAME_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.split('.').all(is_label);
    is_name.then(|| text.to_owned())
}

/// A zone.
pub(super) fn zone(text: &str) -> Option<String> {
    ((1..=ZONE_BYTES_MAX).contains(&text.len()) && is_plain(text)).then(|| text.to_owned())
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::{address, node, zone};

    #[test]
    fn an_address_is_one_that_others_can_connect_to() {
        for text in ["10.0.0.1:2114", "[::1]:2114", "localhost:1", "Node-1.example.org:65535"] {
            assert_eq!(address(text).as_deref(), Some(text));
        }
        for text in [
            "",
            "10.0.0.1",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:1",
            "http://a:1",
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:0",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_those_of_certificates() {
        for text in ["a", "node-1", "exesdb-0.exesdb.default.svc"] {
            assert_eq!(node(text).as_deref(), Some(text));
        }
        let (label, name) = ("a".repeat(64), "a.".repeat(127));
        for text in ["", ".", "a.", "-a", "a-", "1", "A", "a b", "a_b", "ä", "../a", &label, &name] {
            assert_eq!(node(text), None, "{text}");
        }
        assert_eq!(zone("eu-1").as_deref(), Some("eu-1"));
        assert!(["", "A", "a.b", "a/b"].into_iter().all(|text| zone(text).is_none()));
    }
}
