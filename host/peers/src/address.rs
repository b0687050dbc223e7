//! Addresses of nodes: a host and a port.

use crate::name::check_node_name;

/// The text is no address of a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address:?} is no address of a node: a DNS name or IP address, a colon and a port, as in 10.0.0.1:2114"
)]
pub struct AddressError {
    /// The start of the text.
    pub address: String,
}

/// Whether a text is an address of a node.
///
/// # Errors
///
/// [`AddressError`].
pub fn check_address(address: &str) -> Result<(), AddressError> {
    let is_ip = || address.parse::<std::net::SocketAddr>().is_ok();
    let is_name = |(host, port): (&str, &str)| {
        let lower = host.to_ascii_lowercase();
        check_node_name(&lower).is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if is_ip() || address.rsplit_once(':').is_some_and(is_name) {
        return Ok(());
    }
    Err(AddressError { address: address.chars().take(64).collect() })
}

#[cfg(test)]
mod tests {
    use super::check_address;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for address in ["10.0.0.1:2114", "[::1]:2114", "localhost:1", "Node-1.example:65535"] {
            assert_eq!(check_address(address), Ok(()), "{address}");
        }
        for address in ["", "10.0.0.1", "a:", ":1", "a:0", "a:65536", "a b:1", "http://a:1", "::1:2114x"] {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}
