//! What each side of a connection says first: which exesdb it is.
//!
//! The client sends its hello, a line of JSON, and the host responds with its own. Only sides with the same number of the
//! protocol go on; the hello itself has the same form in every version, so that each can name the other.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The version of the protocol: to be raised with every change that the other side would not understand.
const PROTOCOL: u32 = 1;
/// The longest hello, with its line end.
pub(super) const HELLO_BYTES_MAX: usize = 4 << 10;
/// Until the other side has said hello: it does so at once.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// The longest release version, in bytes.
const RELEASE_BYTES_MAX: usize = 64;

/// What helps when host and client are of different versions.
pub(super) const ADVICE: &str = "use the exesdb that the host runs, or restart the host with yours";

/// One side of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The release, such as `0.1.0`.
    exesdb: String,
    /// The version of the control protocol.
    control: u32,
}

impl Hello {
    pub(super) fn own() -> Self {
        Self { exesdb: env!("CARGO_PKG_VERSION").to_owned(), control: PROTOCOL }
    }

    /// The hello that a line is, if it is one. Keys that a later version adds are ignored.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let hello: Self = serde_json::from_slice(line).ok()?;
        let is_shown = hello.exesdb.bytes().all(|byte| byte.is_ascii_graphic());
        let is_release = is_shown && (1..=RELEASE_BYTES_MAX).contains(&hello.exesdb.len());
        is_release.then_some(hello)
    }

    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a hello is JSON");
        line.push(b'\n');
        line
    }

    /// Whether this process understands what the other side says next.
    pub(super) fn is_understood(&self) -> bool {
        self.control == PROTOCOL
    }
}

impl fmt::Display for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exesdb {} with control protocol {}", self.exesdb, self.control)
    }
}

#[cfg(test)]
mod tests {
    use super::Hello;

    #[test]
    fn a_hello_is_recognised_in_every_version() {
        let long = format!(r#"{{"exesdb":"{}","control":1}}"#, "1".repeat(65));
        let cases = [
            (r#"{"exesdb":"0.1.0","control":1}"#, true),
            (r#"{"exesdb":"9.0.0-rc.1","control":77,"features":["a"]}"#, true),
            (r#"{"exesdb":"","control":1}"#, false),
            (r#"{"exesdb":"0.1.0\u001b[2J","control":1}"#, false),
            (r#"{"exesdb":"0.1.0\n","control":1}"#, false),
            (&long, false),
            (r#"{"exesdb":"0.1.0","control":-1}"#, false),
            (r#"{"exesdb":"0.1.0","control":"1"}"#, false),
            (r#"{"exesdb":"0.1.0"}"#, false),
            (r#"{"request":"tree"}"#, false),
            ("[]", false),
            ("", false),
        ];
        for (line, is_hello) in cases {
            assert_eq!(Hello::parse(line.as_bytes()).is_some(), is_hello, "{line}");
        }
        assert_eq!(Hello::parse(&Hello::own().line()), Some(Hello::own()));
        assert!(Hello::own().is_understood());
    }
}
