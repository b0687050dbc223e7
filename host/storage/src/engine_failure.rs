//! Engine errors in plain words. The engine's own messages are for those who know it, so they go to the log.

use std::io::{self, ErrorKind};

use fjall::LsmError;

use crate::advice::advice;
use crate::panic::catch_panic;

/// Why the engine could not read or write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct EngineFailure {
    /// The reason in plain words, to be used within a sentence.
    pub reason: String,
    /// The engine's own message.
    pub said: String,
    /// What to do about the system's refusal, to follow the reason; empty if there was none.
    pub advice: &'static str,
    /// Whether the data on the disk is not what was written there, or cannot be read back.
    pub is_damage: bool,
}

/// Linux's error code for a failed disk, which has no name in the standard library.
const EIO: i32 = 5;

impl EngineFailure {
    /// Runs a read or write of the engine. The engine asserts in places that a table is as it wrote it, so a damaged
    /// table can make it panic; that must fail this call and not end the thread.
    pub(crate) fn catch<T, E: Into<Self>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, Self> {
        match catch_panic(call) {
            Ok(result) => result.map_err(Into::into),
            Err(message) => Err(Self::of_panic(&message)),
        }
    }

    /// Translates an error of the engine.
    pub(crate) fn of(error: &fjall::Error) -> Self {
        let (reason, is_damage) = match error {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
                (format!("the system refuses a file ({error})"), is_damage(error))
            }
            fjall::Error::Storage(LsmError::ChecksumMismatch { .. }) => {
                ("a block of a table does not have its checksum".to_owned(), true)
            }
            fjall::Error::Poisoned => ("the database has stopped after a failed write".to_owned(), false),
            fjall::Error::KeyspaceDeleted => ("the keyspace was deleted".to_owned(), false),
            fjall::Error::Locked => ("another process has the database open".to_owned(), false),
            _ => ("a file is not as it was written".to_owned(), true),
        };
        let refused = match error {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => Some(error),
            _ => None,
        };
        Self { reason, said: error.to_string(), advice: refused.map_or("", advice), is_damage }
    }

    /// What is wrong with the log at a position.
    pub(crate) fn of_log(position: u64, what: &str) -> Self {
        let reason = format!("the event log is damaged at position {position}: {what}");
        Self { said: reason.clone(), reason, advice: "", is_damage: true }
    }

    /// Translates a panic of the engine.
    pub(crate) fn of_panic(message: &str) -> Self {
        Self {
            reason: "a file is not as it was written".to_owned(),
            said: format!("the engine gave up: {message}"),
            advice: "",
            is_damage: true,
        }
    }
}

impl From<fjall::Error> for EngineFailure {
    fn from(error: fjall::Error) -> Self {
        Self::of(&error)
    }
}

/// Whether a read failed because of the disk's contents and not for lack of resources.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
        || error.raw_os_error() == Some(EIO)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use fjall::LsmError;

    use super::{EIO, EngineFailure};

    #[test]
    fn engine_messages_are_kept_apart_from_reasons() {
        let io = |error: Error| fjall::Error::Storage(LsmError::Io(error));
        let table = [
            (fjall::Error::Storage(LsmError::InvalidTrailer), "not as it was written", true),
            (io(ErrorKind::UnexpectedEof.into()), "the system refuses a file", true),
            (io(Error::from_raw_os_error(EIO)), "the system refuses a file", true),
            (io(ErrorKind::PermissionDenied.into()), "the system refuses a file", false),
            (fjall::Error::Io(Error::from_raw_os_error(24)), "the system refuses a file", false),
            (fjall::Error::Poisoned, "stopped", false),
        ];
        for (error, reason, is_damage) in table {
            let failure = EngineFailure::of(&error);
            assert!(failure.reason.contains(reason), "{failure:?}");
            assert!(!failure.to_string().contains("Error:"), "{failure:?}");
            assert_eq!(failure.said, error.to_string());
            assert_eq!(failure.is_damage, is_damage, "{failure:?}");
            let has_advice = failure.reason.contains("refuses") && !is_damage;
            assert!(!has_advice || failure.advice.starts_with("; "), "{failure:?}");
        }
        let failure = EngineFailure::of_panic("assertion failed");
        assert!(failure.is_damage && failure.said.contains("assertion failed"));
        assert!(!failure.reason.contains("assertion"));
    }
}
