//! The address of a gateway, and how names become segments of its paths.

use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The gateway's URL unless another is given.
pub const DEFAULT_URL: &str = "http://127.0.0.1:2113";

/// The characters of a path segment that are escaped: all but RFC 3986's unreserved ones. The dot is escaped too, so that
/// a stream named `..` stays a name.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// The address of a gateway: `http://host[:port][/prefix]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl(String);

impl GatewayUrl {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GatewayUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let example = format!("give one such as {DEFAULT_URL}");
        let uri: http::Uri = text.parse().map_err(|error| format!("not a URL ({error}); {example}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(format!("TLS is not spoken here; {example}")),
            _ => return Err(format!("it must begin with http://; {example}")),
        }
        if uri.query().is_some() {
            return Err(format!("a gateway's URL has no query; {example}"));
        }
        Ok(GatewayUrl(text.trim_end_matches('/').to_owned()))
    }
}

/// A name or value, escaped for a path segment or a query parameter.
pub(super) fn escaped(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, SEGMENT)
}

#[cfg(test)]
mod tests {
    use super::GatewayUrl;

    #[test]
    fn a_gateway_url_is_plain_http() {
        let cases = [
            ("http://127.0.0.1:2113", Ok("http://127.0.0.1:2113")),
            ("http://[::1]:80/", Ok("http://[::1]:80")),
            ("http://proxy/exesdb/", Ok("http://proxy/exesdb")),
            ("https://a", Err("TLS")),
            ("a:80", Err("http://")),
            ("ftp://a", Err("http://")),
            ("http://a/?b", Err("query")),
            ("http://a b", Err("not a URL")),
            ("", Err("not a URL")),
        ];
        for (text, expected) in cases {
            match (text.parse::<GatewayUrl>(), expected) {
                (Ok(url), Ok(expected)) => assert_eq!(url.0, expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
                (parsed, _) => panic!("{text}: {parsed:?}"),
            }
        }
    }
}
