//! Processes: incarnations of children.

use std::fmt;
use std::str::FromStr;

/// A child's place in the start order of its supervisor; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key(pub(crate) u64);

/// One incarnation of one child: what OTP calls a process. Unique within a root. Its text form, `KEY.SERIAL`, is
/// what telemetry calls `pid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pid {
    pub(crate) key: Key,
    pub(crate) serial: u64,
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key.0, self.serial)
    }
}

/// The text is not the text form of a [`Pid`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a process; processes are written KEY.SERIAL, as telemetry's `pid`")]
pub struct PidError {
    text: String,
}

impl FromStr for Pid {
    type Err = PidError;

    fn from_str(text: &str) -> Result<Pid, PidError> {
        let parts = text.split_once('.').and_then(|(key, serial)| {
            Some(Pid { key: Key(key.parse().ok()?), serial: serial.parse().ok()? })
        });
        parts.ok_or_else(|| PidError { text: text.to_owned() })
    }
}
