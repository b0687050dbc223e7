//! Why a child ended.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The exit reason of a child, in OTP's terms.
///
/// The text form (`Display`, `FromStr`, serde) is `normal`, `shutdown`, `shutdown:X`, `killed`, `error:X`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The child has finished its work.
    Normal,
    /// The child was requested to stop, or stopped because it is no longer needed.
    Shutdown,
    /// As [`Reason::Shutdown`], with an explanation.
    ShutdownWith(String),
    /// The child was killed from outside.
    Killed,
    /// Anything else: the child failed.
    Error(String),
}

impl Reason {
    /// Whether a transient child is restarted after it: true for `killed` and `error:X`.
    pub fn is_abnormal(&self) -> bool {
        match self {
            Reason::Normal | Reason::Shutdown | Reason::ShutdownWith(_) => false,
            Reason::Killed | Reason::Error(_) => true,
        }
    }

    /// The explanation without its kind, or the kind if there is none. For a supervisor that did not start, the explanation
    /// of the innermost child, which is the cause.
    pub fn message(&self) -> &str {
        match self {
            Reason::Normal => "normal",
            Reason::Shutdown => "shutdown",
            Reason::Killed => "killed",
            Reason::Error(why) => why,
            Reason::ShutdownWith(why) => innermost(why),
        }
    }

    /// `error:X` from anything that can be printed.
    pub fn error(why: impl fmt::Display) -> Reason {
        Reason::Error(why.to_string())
    }

    /// The exit reason of a panic: `error:panic: MESSAGE`.
    pub(crate) fn from_panic(payload: &(dyn std::any::Any + Send)) -> Reason {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(the payload is not text)");
        Reason::Error(format!("panic: {message}"))
    }

    pub(crate) fn failed_to_start_child(id: &str, reason: &Reason) -> Reason {
        Reason::ShutdownWith(format!("failed_to_start_child({id},{reason})"))
    }
}

/// The innermost reason in nested `failed_to_start_child(ID,REASON)`; any other text is returned as it is.
fn innermost(why: &str) -> &str {
    let inner = why.strip_prefix("failed_to_start_child(").and_then(|rest| rest.strip_suffix(')'));
    let Some((_, reason)) = inner.and_then(|inner| inner.split_once(',')) else { return why };
    match reason.split_once(':') {
        Some(("shutdown", why)) => innermost(why),
        Some(("error", why)) => why,
        _ => reason,
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Normal => f.write_str("normal"),
            Reason::Shutdown => f.write_str("shutdown"),
            Reason::ShutdownWith(why) => write!(f, "shutdown:{why}"),
            Reason::Killed => f.write_str("killed"),
            Reason::Error(why) => write!(f, "error:{why}"),
        }
    }
}

/// The text is not an exit reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an exit reason; write normal, shutdown, shutdown:WHY, killed or error:WHY")]
pub struct ReasonError {
    text: String,
}

impl FromStr for Reason {
    type Err = ReasonError;

    fn from_str(text: &str) -> Result<Reason, ReasonError> {
        match (text, text.split_once(':')) {
            ("normal", _) => Ok(Reason::Normal),
            ("shutdown", _) => Ok(Reason::Shutdown),
            ("killed", _) => Ok(Reason::Killed),
            (_, Some(("shutdown", why))) => Ok(Reason::ShutdownWith(why.to_owned())),
            (_, Some(("error", why))) => Ok(Reason::Error(why.to_owned())),
            _ => Err(ReasonError { text: text.to_owned() }),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reason, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn the_text_form_round_trips() {
        for text in ["normal", "shutdown", "shutdown:late", "killed", "error:a:b", "error:"] {
            let reason: Reason = text.parse().unwrap();
            assert_eq!(reason.to_string(), text);
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason);
        }
    }

    #[test]
    fn the_message_of_a_failed_start_is_its_root_cause() {
        let cases = [
            ("error:no, not (that)", "no, not (that)"),
            ("shutdown", "shutdown"),
            ("shutdown:late", "late"),
            ("shutdown:failed_to_start_child(a,error:b: c, d)", "b: c, d"),
            ("shutdown:failed_to_start_child(a,shutdown:failed_to_start_child(b,error:(c)))", "(c)"),
            ("shutdown:failed_to_start_child(a,killed)", "killed"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Reason>().unwrap().message(), expected, "{text}");
        }
    }

    #[test]
    fn invalid_text_is_refused_with_the_valid_forms() {
        let refusal = "kill".parse::<Reason>().unwrap_err().to_string();
        assert!(refusal.contains("`kill`") && refusal.contains("error:WHY"), "{refusal}");
    }
}
