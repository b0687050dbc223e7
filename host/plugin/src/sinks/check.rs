//! What a sink returns, checked. Pure.

use crate::bindings::store::sink::{Failure, Outcome, Unavailability};
use crate::emitters::REASON_BYTES_MAX;
use crate::text::printable;

/// Checks the outcome of a call with so many events (rules E8 and E9), and escapes its reason. The error is the breach.
pub(super) fn checked(outcome: Outcome, events: usize) -> Result<Outcome, String> {
    let Outcome { done, failure } = outcome;
    if done as usize > events {
        return Err(format!("a sink has done {done} of {events} events"));
    }
    let failure = match failure {
        None if done == 0 => return Err("a sink has done no event, and does not say why".to_owned()),
        None => None,
        Some(_) if done as usize == events => {
            return Err(format!("a sink has done all {events} events, and says that one failed"));
        }
        Some(failure) => Some(with_reason(failure)?),
    };
    Ok(Outcome { done, failure })
}

/// Checks what a sink says of its settings (rule E11), and escapes it. The error is the breach.
pub(super) fn checked_settings(checked: Result<(), String>) -> Result<Result<(), String>, String> {
    checked.map_or_else(|why| reason(&why).map(Err), |()| Ok(Ok(())))
}

fn with_reason(failure: Failure) -> Result<Failure, String> {
    Ok(match failure {
        Failure::Unavailable(Unavailability { reason: text, retry_after_ms }) => {
            Failure::Unavailable(Unavailability { reason: reason(&text)?, retry_after_ms })
        }
        Failure::Failed(text) => Failure::Failed(reason(&text)?),
        Failure::Rejected(text) => Failure::Rejected(reason(&text)?),
        Failure::Broken(text) => Failure::Broken(reason(&text)?),
    })
}

fn reason(text: &str) -> Result<String, String> {
    if text.len() > REASON_BYTES_MAX {
        return Err(format!("a sink gives a reason of {} bytes; {REASON_BYTES_MAX} are allowed", text.len()));
    }
    Ok(printable(text, REASON_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::{Failure, Outcome, REASON_BYTES_MAX, checked, checked_settings};

    #[test]
    fn what_a_sink_returns_is_checked() {
        let failed = |reason: &str| Some(Failure::Failed(reason.to_owned()));
        let long = "x".repeat(REASON_BYTES_MAX + 1);
        // done, failure, of so many events; the breach
        for (done, failure, events, breach) in [
            (3, None, 3, None),
            (1, None, 3, None),
            (2, failed("why"), 3, None),
            (0, failed(""), 1, None),
            (4, None, 3, Some("done 4 of 3")),
            (u32::MAX, failed("why"), 3, Some("of 3 events")),
            (3, failed("why"), 3, Some("says that one failed")),
            (0, None, 3, Some("does not say why")),
            (0, failed(&long), 3, Some("a reason of 1025 bytes")),
        ] {
            let checked = checked(Outcome { done, failure: failure.clone() }, events);
            match breach {
                None => assert_eq!(checked, Ok(Outcome { done, failure })),
                Some(part) => assert!(checked.as_ref().is_err_and(|what| what.contains(part)), "{checked:?}"),
            }
        }
        assert_eq!(checked_settings(Ok(())), Ok(Ok(())));
        assert_eq!(checked_settings(Err("a\nb".to_owned())), Ok(Err("a\\nb".to_owned())));
        assert!(checked_settings(Err(long)).is_err_and(|what| what.contains("a reason of 1025 bytes")));
        let forged = Outcome { done: 0, failure: failed("a\nlevel=error b") };
        let expected = Outcome { done: 0, failure: failed("a\\nlevel=error b") };
        assert_eq!(checked(forged, 1), Ok(expected));
    }
}
