//! The settings of the component, checked.

pub(crate) const URL: &str = "url";
pub(crate) const SECRET: &str = "secret";
pub(crate) const EVENTS_PER_REQUEST: &str = "events_per_request";
pub(crate) const TIMEOUT_MS: &str = "timeout_ms";
pub(crate) const HEADERS: &str = "headers";

pub(crate) const EVENTS_PER_REQUEST_DEFAULT: i64 = 1;

/// Less than a quarter of the 30 seconds that a subscription gives a consumer by default.
pub(crate) const TIMEOUT_MS_DEFAULT: i64 = 5_000;

/// As many as a batch has at most.
const EVENTS_PER_REQUEST_MAX: u32 = 1_000;

/// The host gives a response no longer.
const TIMEOUT_MS_MAX: u32 = 60_000;

/// What the names of the component's own headers begin with.
pub(crate) const OWN_PREFIX: &str = "exesdb-";

/// Headers that the component or the host sets.
const OWN: [&str; 7] =
    ["content-type", "content-length", "host", "connection", "transfer-encoding", "keep-alive", "upgrade"];

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where requests are sent to.
    pub url: Url,
    /// The key of signatures; none for no signatures.
    pub secret: Option<String>,
    /// Events of a request.
    pub events_per_request: usize,
    /// How long a request may take.
    pub timeout_ms: u32,
    /// Further headers, with names in lower case.
    pub headers: Vec<(String, String)>,
}

/// An `http` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host, and port if it is not 80.
    pub authority: String,
    /// The path with the query, `/` at least.
    pub path: String,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them, and what it must be.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let text = |name: &str| get(name).unwrap_or_default();
        let number = |name: &str, default: i64, most: u32| {
            let given = get(name).unwrap_or_else(|| default.to_string());
            let number = given.parse::<u32>().ok().filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("`{name}` is {given}; it must be a number from 1 to {most}"))
        };
        Ok(Self {
            url: Url::read(&text(URL))?,
            secret: Some(text(SECRET)).filter(|secret| !secret.is_empty()),
            events_per_request: number(
                EVENTS_PER_REQUEST,
                EVENTS_PER_REQUEST_DEFAULT,
                EVENTS_PER_REQUEST_MAX,
            )? as usize,
            timeout_ms: number(TIMEOUT_MS, TIMEOUT_MS_DEFAULT, TIMEOUT_MS_MAX)?,
            headers: headers(&text(HEADERS))?,
        })
    }
}

impl Url {
    /// Reads a URL. User names are not for URLs, and TLS is not there yet.
    fn read(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{URL}` is {url:?}; {why}, such as http://hooks.example.org/events");
        if url.starts_with("https:") {
            let why = "requests over TLS are not there yet; write the URL of a proxy on this machine";
            return Err(wrong(why));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("it must be an http URL"))?;
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('#') {
            return Err(wrong("it must be an http URL of visible ASCII without a fragment"));
        }
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if authority.is_empty() || authority.contains('@') {
            return Err(wrong("it must have a host, without a user"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { authority: authority.to_owned(), path })
    }
}

impl Url {
    /// Checks that one of the `allowed` hosts, a line for each, is that of the URL. The host decides when a request is sent.
    ///
    /// # Errors
    ///
    /// The host is to be added to `allowed_hosts`.
    pub fn permitted_by(&self, allowed: &str) -> Result<(), String> {
        let normal = |host: &str| host.trim_end_matches('.').to_ascii_lowercase();
        let port_at = self.authority.rfind(':').filter(|at| !self.authority[*at..].contains(']'));
        let (host, port) = self.authority.split_at(port_at.unwrap_or(self.authority.len()));
        let port = if port.is_empty() { ":80" } else { port };
        let permits = |entry: &str| entry == normal(host) || entry == normal(host) + port;
        if allowed.lines().any(permits) {
            return Ok(());
        }
        Err(format!("`{URL}` is {self}; add {:?} to `allowed_hosts` of the sink", self.authority))
    }
}

fn headers(lines: &str) -> Result<Vec<(String, String)>, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let header = |line: &str| {
        let wrong = |why: &str| format!("`{HEADERS}` has the line {line:?}; {why}");
        let (name, value) =
            line.split_once(':').ok_or_else(|| wrong("a line must be a name, a colon and a value"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(wrong("its name is none of a header"));
        }
        if OWN.contains(&name.as_str()) || name.starts_with(OWN_PREFIX) {
            return Err(wrong("the sink sets this header itself"));
        }
        if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(wrong("its value must be visible ASCII and spaces"));
        }
        Ok((name, value.to_owned()))
    };
    lines.lines().filter(|line| !line.trim().is_empty()).map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::{Settings, Url};

    fn read(given: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| {
            given.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn settings_have_defaults_but_for_the_url() {
        let settings = read(&[("url", "http://a")]).unwrap();
        let url = Url { authority: "a".into(), path: "/".into() };
        assert_eq!(
            settings,
            Settings { url, secret: None, events_per_request: 1, timeout_ms: 5_000, headers: Vec::new() }
        );
        assert!(read(&[]).unwrap_err().contains("`url` is \"\"; it must be an http URL"));
    }

    #[test]
    fn urls_are_read() {
        for (url, authority, path) in [
            ("http://a.org", "a.org", "/"),
            ("http://a.org:8080/", "a.org:8080", "/"),
            ("http://[::1]:80/x/y?z=1", "[::1]:80", "/x/y?z=1"),
            ("http://a?z", "a", "/?z"),
        ] {
            let found = read(&[("url", url)]).unwrap().url;
            assert_eq!((found.authority.as_str(), found.path.as_str()), (authority, path), "{url}");
        }
        for (url, why) in [
            ("https://a.org", "TLS"),
            ("ftp://a", "an http URL"),
            ("a.org", "an http URL"),
            ("http://", "must have a host"),
            ("http:///x", "must have a host"),
            ("http://a@b/", "without a user"),
            ("http://a/\r\nx: y", "visible ASCII"),
            ("http://a/#x", "without a fragment"),
        ] {
            let error = read(&[("url", url)]).unwrap_err();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn the_host_must_be_an_allowed_one() {
        for (url, allowed, is_permitted) in [
            ("http://A.org.", "b.org\na.org", true),
            ("http://a.org:8080/x", "a.org", true),
            ("http://a.org:8080/x", "a.org:8080", true),
            ("http://a.org", "a.org:80", true),
            ("http://[::1]:80", "[::1]", true),
            ("http://[::1]", "[::1]:80", true),
            ("http://a.org:81", "a.org:80", false),
            ("http://b.a.org", "a.org", false),
            ("http://a.org", "", false),
        ] {
            let permitted = read(&[("url", url)]).unwrap().url.permitted_by(allowed);
            assert_eq!(permitted.is_ok(), is_permitted, "{url} {allowed}");
            assert!(permitted.err().is_none_or(|why| why.contains("`allowed_hosts`")));
        }
    }

    #[test]
    fn headers_are_lines_and_those_of_the_sink_are_refused() {
        let with = |lines: &str| read(&[("url", "http://a"), ("headers", lines)]).map(|read| read.headers);
        let expected =
            [("authorization", "Bearer a:b"), ("x-y", "")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(with("Authorization:  Bearer a:b \n\n x-y:"), Ok(expected.to_vec()));
        for (lines, why) in [
            ("no colon", "a colon"),
            (": x", "none of a header"),
            ("a b: x", "none of a header"),
            ("Host: x", "sets this header itself"),
            ("exesdb-signature: x", "sets this header itself"),
            ("content-length: 1", "sets this header itself"),
            ("a: \u{e9}", "visible ASCII"),
            ("a: x\ty", "visible ASCII"),
        ] {
            let error = with(lines).unwrap_err();
            assert!(error.contains(why), "{lines}: {error}");
        }
    }

    #[test]
    fn numbers_have_bounds() {
        for (name, value) in [
            ("events_per_request", "0"),
            ("events_per_request", "1001"),
            ("timeout_ms", "-1"),
            ("timeout_ms", "60001"),
            ("timeout_ms", "x"),
        ] {
            let error = read(&[("url", "http://a"), (name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains("it must be a number"), "{error}");
        }
    }
}
