//! The hosts and origins that the configuration allows to web pages.

use http::Uri;
use http::uri::Authority;

/// What a name in `allowed_hosts` must be.
pub(super) const HOST: &str = "a name or address without a port such as \"db.example.org\"";

/// What a name in `allowed_origins` must be.
pub(super) const ORIGIN: &str = "an origin such as \"https://app.example.org\" or \"http://localhost:3000\"";

/// A host's name in the form that requests are compared with: in lower case, without a trailing dot.
pub(super) fn host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    let plain = authority.port().is_none() && authority.host() == text && !text.contains('*');
    let name = text.strip_suffix('.').unwrap_or(text);
    (plain && !name.is_empty()).then(|| name.to_ascii_lowercase())
}

/// An origin as browsers write it: scheme, name and, unless it is the scheme's default, the port.
pub(super) fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let is_whole = text == format!("{scheme}://{authority}");
    let has_default_port = authority.port_u16() == Some(default);
    let is_plain = !authority.as_str().contains(['@', '*']) && !authority.host().is_empty();
    match (is_whole && is_plain, has_default_port) {
        (false, _) => None,
        (true, true) => Some(format!("{scheme}://{}", authority.host())),
        (true, false) => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use super::{host, origin};

    #[test]
    fn a_host_is_a_name_without_a_port() {
        for (text, expected) in [
            ("db.example.org", Some("db.example.org")),
            ("DB.Example.org.", Some("db.example.org")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("[fe80::1]", Some("[fe80::1]")),
            ("db.example.org:80", None),
            ("http://db.example.org", None),
            ("user@db", None),
            ("*.example.org", None),
            ("*", None),
            ("a b", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(host(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_name() {
        for (text, expected) in [
            ("https://app.example.org", Some("https://app.example.org")),
            ("HTTPS://App.example.org:443", Some("https://app.example.org")),
            ("http://localhost:80", Some("http://localhost")),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("http://[::1]:3000", Some("http://[::1]:3000")),
            ("https://app.example.org/", None),
            ("https://app.example.org/path", None),
            ("https://user@app.example.org", None),
            ("https://*.example.org", None),
            ("app.example.org", None),
            ("file://x", None),
            ("null", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(origin(text).as_deref(), expected, "{text}");
        }
    }
}
