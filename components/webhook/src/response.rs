//! What follows from a response, or from none. Pure.

use exesdb_sdk::sinks::{Failure, Unavailability};

/// What a receiver said about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The value of the header `retry-after`.
    pub retry_after: Option<String>,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoResponse {
    /// The host denies requests to it.
    Denied,
    /// The request cannot be made like that.
    Invalid(String),
    /// The receiver is not there, or does not respond.
    Unavailable(String),
}

/// What becomes of the events of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are delivered.
    Done,
    /// They are not, and one of them is to blame.
    Blamed(Failure),
    /// They are not, and none of them is to blame.
    Failed(Failure),
}

/// What follows from a response.
#[must_use]
pub fn verdict(responded: Result<Response, NoResponse>, url: &str) -> Verdict {
    let Response { status, retry_after } = match responded {
        Ok(response) => response,
        Err(NoResponse::Denied) => {
            let why = format!("it may not send requests to {url}; permit the host in `allowed_hosts`");
            return Verdict::Failed(Failure::Broken(why));
        }
        Err(NoResponse::Invalid(why)) => return Verdict::Failed(Failure::Broken(format!("{url}: {why}"))),
        Err(NoResponse::Unavailable(why)) => {
            let unavailability = Unavailability { reason: format!("{url}: {why}"), retry_after_ms: None };
            return Verdict::Failed(Failure::Unavailable(unavailability));
        }
    };
    let reason = format!("{url} responded with status {status}");
    match status {
        200..=299 => Verdict::Done,
        408 | 425 | 429 | 502..=504 => {
            let retry_after_ms = retry_after.as_deref().and_then(millis);
            Verdict::Failed(Failure::Unavailable(Unavailability { reason, retry_after_ms }))
        }
        300..=399 => Verdict::Failed(Failure::Broken(format!(
            "{reason}; redirects are not followed, write the new `url`"
        ))),
        400..=499 => Verdict::Blamed(Failure::Rejected(reason)),
        _ => Verdict::Blamed(Failure::Failed(reason)),
    }
}

/// The milliseconds of `retry-after`, if it says seconds. A date is ignored: then the host's own pauses hold.
fn millis(retry_after: &str) -> Option<u32> {
    let seconds = exesdb_json::number(retry_after.trim())?;
    Some(u32::try_from(seconds.saturating_mul(1_000)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Failure, NoResponse, Response, Verdict, millis, verdict};

    /// In a word: what `verdict` says.
    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Done => "done",
            Verdict::Blamed(Failure::Rejected(_)) => "rejected",
            Verdict::Blamed(Failure::Failed(_)) => "failed",
            Verdict::Failed(Failure::Unavailable(_)) => "unavailable",
            Verdict::Failed(Failure::Broken(_)) => "broken",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_status_has_a_verdict() {
        for (statuses, expected) in [
            (&[200, 201, 202, 204, 299][..], "done"),
            (&[300, 301, 302, 307, 308], "broken"),
            (&[400, 401, 403, 404, 410, 413, 422, 499], "rejected"),
            (&[408, 425, 429, 502, 503, 504], "unavailable"),
            (&[500, 501, 505, 599, 100, 0, 999], "failed"),
        ] {
            for status in statuses {
                let found = verdict(Ok(Response { status: *status, retry_after: None }), "http://a/");
                assert_eq!(word(&found), expected, "{status}");
            }
        }
    }

    #[test]
    fn without_a_response_no_event_is_to_blame() {
        for (none, expected, part) in [
            (NoResponse::Denied, "broken", "`allowed_hosts`"),
            (NoResponse::Invalid("no".into()), "broken", "http://a/: no"),
            (NoResponse::Unavailable("refused".into()), "unavailable", "http://a/: refused"),
        ] {
            let found = verdict(Err(none), "http://a/");
            assert_eq!(word(&found), expected);
            assert!(format!("{found:?}").contains(part), "{found:?}");
        }
    }

    #[test]
    fn a_pause_that_was_asked_for_is_read_if_it_is_a_number() {
        for (text, expected) in [
            ("3", Some(3_000)),
            (" 0 ", Some(0)),
            ("99999999999999999999", None),
            ("4294968", Some(u32::MAX)),
            ("-1", None),
            ("1.5", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
    }
}
