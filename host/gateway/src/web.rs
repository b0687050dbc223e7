//! Which web pages may send requests. Pure.
//!
//! A browser sends requests on behalf of any page that it shows, even to services on its own machine. Two headers identify
//! the page, and no page can set them: `Origin` names the page's server, and `Host` the name that the page used. A page
//! that had its own name resolved to a loopback address (DNS rebinding) has no foreign `Origin`, but a foreign `Host`.

use std::net::IpAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

/// Seconds for which a browser may cache that an origin is allowed, even if the configuration changes.
const PREFLIGHT_SECONDS: &str = "600";

/// Methods that a page of an allowed origin may use: all that gateway components use.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Which web pages may send requests. Programs other than browsers send no `Origin`, and the `Host` that they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebAccess {
    /// Whether the host listens on a loopback address, which pages of other machines may not use.
    pub is_loopback: bool,
    /// Names that requests may be sent to, in lower case and without a port. If there are any, or on loopback, all names but
    /// these and the loopback names are refused.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may send requests and read responses, as browsers write them: `https://app.example.org`.
    pub allowed_origins: Vec<String>,
}

/// What a request's origin and host mean for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OriginCheck {
    /// The request comes from no page, or from one that this host served.
    Own,
    /// The request comes from a page of this allowed origin.
    Allowed(HeaderValue),
    /// A browser asks whether a page of this allowed origin may send a request.
    Preflight(HeaderValue),
    /// The request comes from a page of this origin, which is not allowed.
    ForeignOrigin(String),
    /// The request is sent to this name, which is not the host's.
    ForeignHost(String),
    /// The request does not name its host unambiguously.
    BadHost,
}

impl WebAccess {
    /// Checks a request by its head.
    pub(crate) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> OriginCheck {
        let Ok(host) = authority(uri, headers) else { return OriginCheck::BadHost };
        if let Some(host) = &host
            && !self.is_own(host.host())
        {
            return OriginCheck::ForeignHost(host.host().to_owned());
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return OriginCheck::Own,
            (Some(origin), None) => origin,
            (Some(_), Some(_)) => return OriginCheck::ForeignOrigin("several".to_owned()),
        };
        let Ok(text) = origin.to_str() else { return OriginCheck::ForeignOrigin("not ASCII".to_owned()) };
        if self.allowed_origins.iter().any(|allowed| allowed == text) {
            let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
            let preflight = method == Method::OPTIONS && asks;
            return if preflight {
                OriginCheck::Preflight(origin.clone())
            } else {
                OriginCheck::Allowed(origin.clone())
            };
        }
        match host {
            Some(host) if is_same_origin(text, &host) => OriginCheck::Own,
            _ => OriginCheck::ForeignOrigin(text.to_owned()),
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_guarded = self.is_loopback || !self.allowed_hosts.is_empty();
        !is_guarded || is_loopback_name(&host) || self.allowed_hosts.contains(&host)
    }
}

/// The name that a request is sent to; HTTP/1.0 has none.
fn authority(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, ()> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(authority) if !authority.as_str().contains('@') => Ok(Some(authority)),
            _ => Err(()),
        },
        (Some(_), Some(_)) => Err(()),
    }
}

/// Whether a name, in lower case, always means the machine that uses it (RFC 6761).
fn is_loopback_name(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a page was served by the host that its request goes to. The scheme that the browser used is unknown, because a
/// proxy may terminate TLS before the host.
fn is_same_origin(origin: &str, host: &Authority) -> bool {
    let Some((scheme, page)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(page) = page.parse::<Authority>() else { return false };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    page.host().eq_ignore_ascii_case(host.host()) && port(&page) == port(host)
}

/// Lets a page of an allowed origin read a response.
pub(crate) fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    // A wildcard is possible because no request of a page carries credentials.
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// The headers that tell a browser what a page of an allowed origin may send.
pub(crate) fn preflight(request: &HeaderMap, origin: HeaderValue) -> HeaderMap {
    let mut headers = HeaderMap::new();
    allow(&mut headers, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    // The component decides which headers a request may have; an allowed origin may send any.
    if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    if request.contains_key(REQUEST_PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::{OriginCheck, WebAccess, preflight};
    use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a header's name");
            headers.append(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        headers
    }

    fn check(access: &WebAccess, method: &Method, pairs: &[(&str, &str)]) -> OriginCheck {
        access.check(method, &Uri::from_static("/v1/stores"), &headers(pairs))
    }

    fn loopback() -> WebAccess {
        WebAccess {
            is_loopback: true,
            allowed_hosts: vec!["db.example.org".into()],
            allowed_origins: vec!["https://app.example.org".into(), "http://localhost:3000".into()],
        }
    }

    #[test]
    fn on_loopback_only_loopback_and_configured_names_are_accepted() {
        for (host, is_own) in [
            ("127.0.0.1:2113", true),
            ("127.99.3.4", true),
            ("[::1]:2113", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost", true),
            ("LocalHost:80", true),
            ("localhost.:80", true),
            ("a.localhost", true),
            ("db.example.org", true),
            ("DB.example.org:8443", true),
            ("evil.example.org:2113", false),
            ("db.example.org.evil.example", false),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("0.0.0.0:2113", false),
            ("[::]", false),
        ] {
            let verdict = check(&loopback(), &Method::GET, &[("host", host)]);
            assert_eq!(verdict == OriginCheck::Own, is_own, "{host}: {verdict:?}");
            let elsewhere = WebAccess::default();
            assert_eq!(check(&elsewhere, &Method::GET, &[("host", host)]), OriginCheck::Own, "{host}");
            let named = WebAccess { is_loopback: false, ..loopback() };
            assert_eq!(check(&named, &Method::GET, &[("host", host)]) == OriginCheck::Own, is_own, "{host}");
        }
    }

    #[test]
    fn a_request_must_name_its_host_unambiguously() {
        let access = loopback();
        assert_eq!(check(&access, &Method::GET, &[]), OriginCheck::Own, "HTTP/1.0 has no host");
        for pairs in [
            &[("host", "")][..],
            &[("host", "user@127.0.0.1")],
            &[("host", "a b")],
            &[("host", "localhost"), ("host", "evil.example")],
        ] {
            assert_eq!(check(&access, &Method::GET, pairs), OriginCheck::BadHost, "{pairs:?}");
        }
        // In HTTP/2, and in a request to a proxy, the target takes precedence over the header.
        let uri = Uri::from_static("http://evil.example/v1/stores");
        let verdict = access.check(&Method::GET, &uri, &headers(&[("host", "localhost")]));
        assert_eq!(verdict, OriginCheck::ForeignHost("evil.example".into()));
    }

    #[test]
    fn a_page_of_another_origin_is_refused_unless_it_is_allowed() {
        let own = "127.0.0.1:2113";
        for (host, origin, expected) in [
            (own, "http://127.0.0.1:2113", Some(true)),
            (own, "https://127.0.0.1:2113", Some(true)),
            ("localhost", "http://localhost", Some(true)),
            ("localhost:80", "http://localhost", Some(true)),
            ("localhost", "http://localhost:80", Some(true)),
            ("localhost:443", "https://LOCALHOST", Some(true)),
            (own, "https://app.example.org", Some(false)),
            (own, "http://localhost:3000", Some(false)),
            (own, "http://localhost:2113", None),
            (own, "http://127.0.0.1", None),
            (own, "http://127.0.0.1:3000", None),
            (own, "http://app.example.org", None),
            (own, "https://app.example.org:8443", None),
            (own, "https://app.example.org.evil.example", None),
            (own, "https://evil.example", None),
            (own, "file://127.0.0.1:2113", None),
            (own, "null", None),
            (own, "", None),
            (own, "*", None),
        ] {
            for method in [Method::GET, Method::POST, Method::OPTIONS] {
                let verdict = check(&loopback(), &method, &[("host", host), ("origin", origin)]);
                let expected = match expected {
                    Some(true) => OriginCheck::Own,
                    Some(false) => OriginCheck::Allowed(HeaderValue::from_str(origin).expect("visible")),
                    None => OriginCheck::ForeignOrigin(origin.into()),
                };
                assert_eq!(verdict, expected, "{method} {host} {origin}");
            }
        }
        let twice = [("host", own), ("origin", "http://127.0.0.1:2113"), ("origin", "http://evil.example")];
        assert!(matches!(check(&loopback(), &Method::GET, &twice), OriginCheck::ForeignOrigin(_)));
    }

    #[test]
    fn a_preflight_is_granted_to_allowed_origins_only() {
        let asked = |origin: &str| {
            let pairs = [
                ("host", "localhost:2113"),
                ("origin", origin),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "content-type, x-mine"),
            ];
            (check(&loopback(), &Method::OPTIONS, &pairs), headers(&pairs))
        };
        let (verdict, request) = asked("https://app.example.org");
        let OriginCheck::Preflight(origin) = verdict else { panic!("{verdict:?}") };
        let granted = preflight(&request, origin);
        assert_eq!(granted["access-control-allow-origin"], "https://app.example.org");
        assert_eq!(granted["access-control-allow-headers"], "content-type, x-mine");
        assert!(
            granted["access-control-allow-methods"].to_str().is_ok_and(|methods| methods.contains("PUT"))
        );
        assert!(!granted.contains_key("access-control-allow-private-network"));
        let (verdict, _) = asked("https://evil.example");
        assert_eq!(verdict, OriginCheck::ForeignOrigin("https://evil.example".into()));
    }
}
