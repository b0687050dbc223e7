//! Names and addresses, and what is allowed in them.

use serde::{Deserialize, Serialize};

use crate::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_MAX, CONFIG_BYTES_MAX, NODE_NAME_BYTES_MAX, STORE_NAME_BYTES_MAX,
    VOTERS_WANTED_MAX, ZONE_BYTES_MAX,
};

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    /// For its peers, as host and port; at least one.
    pub peers: Vec<String>,
    /// For clients, as host and port.
    #[serde(default)]
    pub clients: Vec<String>,
}

/// Something is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found:?} is not possible: it must be {expected}")]
pub struct Invalid {
    /// What it is.
    pub what: &'static str,
    /// Its value, or the beginning of it.
    pub found: String,
    /// What is possible.
    pub expected: String,
}

fn check(
    what: &'static str,
    found: &str,
    is_valid: bool,
    expected: impl FnOnce() -> String,
) -> Result<(), Invalid> {
    if is_valid {
        return Ok(());
    }
    Err(Invalid { what, found: found.chars().take(ADDRESS_BYTES_MAX).collect(), expected: expected() })
}

fn is_plain(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A node's name is what a certificate names: a host name in lower case.
pub(crate) fn node(name: &str) -> Result<(), Invalid> {
    let is_label = |label: &str| is_plain(label, 63) && !label.starts_with('-') && !label.ends_with('-');
    let is_valid = name.len() <= NODE_NAME_BYTES_MAX && name.split('.').all(is_label);
    check("the node's name", name, is_valid, || {
        format!(
            "at most {NODE_NAME_BYTES_MAX} bytes of a-z, 0-9 and -, in parts separated by dots, as in a host name"
        )
    })
}

/// A store's name is a folder's, too, and no other folder of the data directory can have it.
pub(crate) fn store(name: &str) -> Result<(), Invalid> {
    check("the store's name", name, is_plain(name, STORE_NAME_BYTES_MAX), || {
        format!("1 to {STORE_NAME_BYTES_MAX} of a-z, 0-9 and -")
    })
}

pub(crate) fn zone(zone: Option<&str>) -> Result<(), Invalid> {
    let name = zone.unwrap_or("-");
    check("the zone", name, is_plain(name, ZONE_BYTES_MAX), || {
        format!("1 to {ZONE_BYTES_MAX} of a-z, 0-9 and -")
    })
}

pub(crate) fn config(config: &str) -> Result<(), Invalid> {
    let beginning: String = config.chars().take(40).collect();
    check("the store's configuration", &beginning, config.len() <= CONFIG_BYTES_MAX, || {
        format!("at most {CONFIG_BYTES_MAX} bytes")
    })
}

/// Whether a store can be asked to have so many voters.
pub(crate) fn voters(wanted: u8) -> Result<(), Invalid> {
    let is_valid = wanted <= VOTERS_WANTED_MAX && !wanted.is_multiple_of(2);
    check("the number of voters", &wanted.to_string(), is_valid, || format!("1, 3 or {VOTERS_WANTED_MAX}"))
}

impl Addresses {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        check("the list of a node's addresses", "", !self.peers.is_empty(), || "not empty".to_owned())?;
        for list in [&self.peers, &self.clients] {
            check(
                "the number of a node's addresses",
                &list.len().to_string(),
                list.len() <= ADDRESSES_MAX,
                || format!("at most {ADDRESSES_MAX}"),
            )?;
            for address in list {
                check("the address", address, is_address(address), || "HOST:PORT".to_owned())?;
            }
        }
        Ok(())
    }
}

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.len() <= ADDRESS_BYTES_MAX
        && !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'_' | b'%'))
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::{Addresses, config, node, store, voters, zone};

    #[test]
    fn names_are_checked() {
        for name in ["a", "node-1", "exesdb-0.exesdb.default.svc", "0"] {
            assert_eq!(node(name), Ok(()), "{name}");
        }
        for name in
            ["", "A", "a b", "../a", "$cluster", "a..b", ".a", "-a", "a-", &"a".repeat(64), &"a.".repeat(127)]
        {
            assert!(node(name).is_err(), "{name}");
        }
        for name in ["", "..", "a.single", "$log", "a/b", &"a".repeat(65)] {
            assert!(store(name).is_err(), "{name}");
        }
        assert!(zone(Some("")).is_err() && zone(Some("eu-1")).is_ok() && zone(None).is_ok());
        assert!(config(&"a".repeat(16 * 1024)).is_ok() && config(&"a".repeat(16 * 1024 + 1)).is_err());
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7].map(|wanted| voters(wanted).is_ok()),
            [false, true, false, true, false, true, false, false]
        );
    }

    #[test]
    fn addresses_are_hosts_with_ports() {
        let of = |peers: &[&str]| Addresses {
            peers: peers.iter().map(|peer| (*peer).to_owned()).collect(),
            clients: vec![],
        };
        assert!(of(&["10.0.0.1:2114", "[::1]:2114", "exesdb-0.exesdb:2114"]).check().is_ok());
        assert!(of(&[]).check().is_err());
        assert!(of(&["a:1"; 9]).check().is_err());
        for address in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a b:1",
            "a:+1",
            "a\n:1",
            &format!("{}:1", "a".repeat(260)),
        ] {
            assert!(of(&[address]).check().is_err(), "{address}");
        }
    }
}
