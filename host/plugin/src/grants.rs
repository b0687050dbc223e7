//! What a sink may use outside of itself: hosts that it may send requests to, and a directory. Other components have none.

use std::fmt;
use std::path::PathBuf;

use http::uri::Authority;

/// What one sink may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Hosts that it may send requests to.
    pub allowed_hosts: Vec<AllowedHost>,
    /// A directory that it may read and write.
    pub directory: Option<PathBuf>,
}

/// A host that requests may be sent to: a name or an address, and a port if only that one is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// In lower case, without a trailing dot.
    host: String,
    port: Option<u16>,
}

impl AllowedHost {
    /// Reads `host` or `host:port`; none for another text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let (host, port) = (authority.host(), authority.port_u16());
        let whole = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let is_plain = whole == text && !text.contains(['*', '@']);
        let host = normal(host);
        (is_plain && !host.is_empty()).then_some(Self { host, port })
    }

    /// Whether requests to this host and port are permitted by it.
    pub(crate) fn permits(&self, host: &str, port: u16) -> bool {
        self.host == normal(host) && self.port.is_none_or(|own| own == port)
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::AllowedHost;

    #[test]
    fn a_host_is_a_name_or_address_with_or_without_a_port() {
        for (text, expected) in [
            ("hooks.example.org", Some("hooks.example.org")),
            ("Hooks.Example.org.", Some("hooks.example.org")),
            ("hooks.example.org:8080", Some("hooks.example.org:8080")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("[::1]", Some("[::1]")),
            ("[::1]:80", Some("[::1]:80")),
            ("a:", None),
            ("a:99999", None),
            ("a:+1", None),
            ("http://a", None),
            ("user@a", None),
            ("*.example.org", None),
            ("*", None),
            ("a/b", None),
            ("a b", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(AllowedHost::parse(text).map(|host| host.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_whole_name_is_compared_and_the_port_if_one_is_given() {
        // granted, host, port, permitted
        for (granted, host, port, permitted) in [
            ("a.org", "a.org", 80, true),
            ("a.org", "A.ORG.", 8080, true),
            ("a.org", "b.a.org", 80, false),
            ("a.org", "a.org.evil", 80, false),
            ("a.org:80", "a.org", 80, true),
            ("a.org:80", "a.org", 81, false),
            ("127.0.0.1", "127.0.0.2", 80, false),
            ("127.0.0.1", "localhost", 80, false),
        ] {
            let allowed = AllowedHost::parse(granted).expect("it is a host");
            assert_eq!(allowed.permits(host, port), permitted, "{granted} {host}:{port}");
        }
    }
}
