//! Where the gateway listens, as an operator writes it.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs as _};

/// The address of an IP address or a name with a port, or of a port of 127.0.0.1.
///
/// # Errors
///
/// What is wrong with the text, and what it must be.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "it must be an address and a port such as 127.0.0.1:2113, localhost:2113 or 2113";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| !name.is_empty()) else {
        return Err(EXPECTED.to_owned());
    };
    if port.parse::<u16>().is_err() {
        return Err(format!("{port:?} is no port; {EXPECTED}"));
    }
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| format!("{name:?} is not found ({error}); {EXPECTED}"))?
        .collect();
    // Of a name with addresses of both families, the one that clients try by default.
    let address = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    address.copied().ok_or_else(|| format!("{name:?} has no address; {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use super::parse_listen;

    #[test]
    fn an_address_a_name_or_a_port_is_accepted() {
        let cases = [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("80", Some("127.0.0.1:80")),
            (":80", Some("127.0.0.1:80")),
            ("0", Some("127.0.0.1:0")),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:99999", None),
            ("99999", None),
            ("127.0.0.1", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let listen = parse_listen(text).map(|address| address.to_string());
            match expected {
                Some(expected) => assert_eq!(listen.as_deref(), Ok(expected), "{text}"),
                None => assert!(listen.unwrap_err().contains("localhost:2113"), "{text}"),
            }
        }
    }
}
