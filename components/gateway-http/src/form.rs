//! The forms of responses that the host sends page by page.

use exesdb_json::{push_line, text_bytes};
use exesdb_sdk::logging;
use exesdb_sdk::packed::{Broken, Envelope, Events};
use exesdb_sdk::steps::{Cause, Closing, Ending, Mark, MarkPlace};
use exesdb_sdk::types::{Error, code, problem as store_problem};
use serde::{Deserialize, Serialize};

use crate::encode::{push_end_line, push_end_message, push_message, push_progress};
use crate::history::HistoryId;
use crate::problem::{Kind, Problem};
use crate::store_error::{Subject, problem};

/// The form of the pages of a bulk read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// One JSON event on each line.
    Lines,
    /// As the store keeps them.
    Packed,
    /// Server-sent events.
    Messages {
        /// The history of the positions.
        history: u64,
        /// The stream says when the client has read all stored events, and when it lags again.
        caught_up: bool,
    },
}

impl Form {
    /// A page in this form.
    pub(crate) fn encode(&self, page: &[u8]) -> Result<Vec<u8>, Error> {
        let encoded = match *self {
            Self::Packed => Ok(page.to_vec()),
            Self::Lines => each(page, push_line),
            Self::Messages { history, .. } => each(page, |out, position, event| {
                push_message(out, position, event, HistoryId(history));
            }),
        };
        encoded.map_err(|broken| store_problem(code::OTHER, broken.to_string()))
    }

    /// What stands between pages: a keepalive, whether the client has caught up, and up to which position it has all of its events,
    /// for when it comes again. A client adopts the id of a message without data, and dispatches no event.
    pub(crate) fn encode_mark(&self, mark: Mark) -> Vec<u8> {
        let Self::Messages { history, caught_up } = *self else { return Vec::new() };
        let (words, MarkPlace { covered, .. }) = match mark {
            Mark::Idle(place) => (": keepalive\n\n", place),
            Mark::CaughtUp(place) if caught_up => ("event: caught-up\ndata: {}\n\n", place),
            Mark::FellBehind(place) if caught_up => ("event: fell-behind\ndata: {}\n\n", place),
            Mark::CaughtUp(place) | Mark::FellBehind(place) | Mark::Progress(place) => ("", place),
        };
        let mut out = words.as_bytes().to_vec();
        if let Some(last) = covered.checked_sub(1) {
            push_progress(&mut out, last, HistoryId(history));
        }
        out
    }

    /// The end of a response. If it comes early, it says where to go on, and the client's next request gets the failure as a
    /// status; an event stream says why it ends.
    pub(crate) fn conclude(&self, ending: Ending) -> Closing {
        let Ending { cause, next, end, horizon, .. } = ending;
        let end = end && matches!(cause, Cause::Complete);
        // A tombstone is not a failure: no more events can come.
        let is_failure = matches!(&cause, Cause::Failed(error) if !matches!(error, Error::StreamDeleted(_)));
        let reason = reason(cause);
        let mut body = Vec::new();
        match self {
            Self::Lines => push_end_line(&mut body, next, end, horizon.end),
            Self::Packed => push_packed_end(&mut body, next, end, horizon.end),
            Self::Messages { .. } => {
                if let Some(reason) = &reason {
                    push_end_message(&mut body, reason);
                }
            }
        }
        if let Some(reason) = reason.filter(|_| is_failure) {
            logging::error(&format!("a read was broken off: {}", reason.detail));
        }
        Closing { body, trailers: Vec::new() }
    }
}

/// Why the response ends early.
fn reason(cause: Cause) -> Option<Problem> {
    match cause {
        Cause::Complete => None,
        Cause::Failed(error) => Some(problem(error, Subject::Store)),
        Cause::Stopping => Some(closing()),
        Cause::Slow => Some(Problem::new(
            Kind::Overloaded,
            "the events were not taken as fast as they came; go on after the last id",
        )),
    }
}

/// The problem of a request that a stop of the store ends.
pub(crate) fn closing() -> Problem {
    Problem::new(Kind::Restarting, "the store is stopping; try again later")
}

/// Writes each event of a page.
fn each(page: &[u8], push: impl Fn(&mut Vec<u8>, u64, &Envelope<'_>)) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::with_capacity(text_bytes(page));
    for event in Events::new(page) {
        let (position, envelope) = event?;
        push(&mut out, position, &envelope);
    }
    Ok(out)
}

/// The bits of a length that say that this is the end of a response of packed events: a frame of the kind 3, which no list
/// of events has otherwise.
const PACKED_END: u32 = 3 << 30;

/// Appends the end of a response of packed events: the place to go on from (all bits set for none), the kind and length, 1 if
/// the read reached the end, else 0 (1 byte), and the durable position. Numbers are little-endian.
fn push_packed_end(out: &mut Vec<u8>, next: Option<u64>, end: bool, durable_position: u64) {
    out.extend_from_slice(&next.unwrap_or(u64::MAX).to_le_bytes());
    out.extend_from_slice(&(PACKED_END | 9).to_le_bytes());
    out.push(u8::from(end));
    out.extend_from_slice(&durable_position.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::packed::Frames;
    use exesdb_sdk::steps::{Cause, Ending, Horizon, Mark, MarkPlace};
    use exesdb_sdk::types::{Error, code, problem};

    use super::Form;

    const MESSAGES: Form = Form::Messages { history: 1, caught_up: false };

    #[test]
    fn marks_name_the_last_position_that_was_covered() {
        let place = |covered| MarkPlace { next: 7, covered, now: 0 };
        let form = Form::Messages { history: 0xab, caught_up: false };
        let text = |mark| String::from_utf8(form.encode_mark(mark)).unwrap();
        assert_eq!(text(Mark::CaughtUp(place(5))), "id: 4@00000000000000ab\n\n");
        assert_eq!(text(Mark::Progress(place(1))), "id: 0@00000000000000ab\n\n");
        assert_eq!(text(Mark::Idle(place(5))), ": keepalive\n\nid: 4@00000000000000ab\n\n");
        assert_eq!(text(Mark::Idle(place(0))), ": keepalive\n\n");
        assert_eq!(text(Mark::CaughtUp(place(0))), "");
        assert_eq!(text(Mark::FellBehind(place(5))), "id: 4@00000000000000ab\n\n");
        let form = Form::Messages { history: 0xab, caught_up: true };
        let text = |mark| String::from_utf8(form.encode_mark(mark)).unwrap();
        let id = "id: 4@00000000000000ab\n\n";
        assert_eq!(text(Mark::CaughtUp(place(5))), format!("event: caught-up\ndata: {{}}\n\n{id}"));
        assert_eq!(text(Mark::FellBehind(place(5))), format!("event: fell-behind\ndata: {{}}\n\n{id}"));
        assert_eq!(text(Mark::CaughtUp(place(0))), "event: caught-up\ndata: {}\n\n");
        assert_eq!(text(Mark::Progress(place(5))), id);
        assert_eq!(Form::Lines.encode_mark(Mark::Idle(place(5))), b"");
    }

    #[test]
    fn the_end_of_packed_events_is_no_event() {
        let ending = |cause, next| Ending {
            cause,
            next,
            end: true,
            last_version: None,
            horizon: Horizon { history_id: 1, end: 258 },
        };
        let end = Form::Packed.conclude(ending(Cause::Complete, Some(5))).body;
        assert_eq!(end, [&[5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0xc0, 1, 2, 1][..], &[0; 6]].concat());
        assert!(Frames::new(&end).next().unwrap().is_err());
        let none = Form::Packed.conclude(ending(Cause::Slow, None)).body;
        assert_eq!((&none[..8], none[12]), (&[0xff; 8][..], 0));
    }

    #[test]
    fn a_broken_page_is_an_error() {
        for form in [Form::Lines, MESSAGES] {
            assert!(matches!(form.encode(&[1, 2, 3]), Err(Error::Problem(_))), "{form:?}");
        }
    }

    #[test]
    fn only_failures_are_logged() {
        let ending = |cause| Ending {
            cause,
            next: None,
            end: false,
            last_version: None,
            horizon: Horizon { history_id: 1, end: 0 },
        };
        for (cause, logged) in [
            (Cause::Complete, 0),
            (Cause::Stopping, 0),
            (Cause::Slow, 0),
            (Cause::Failed(Error::StreamDeleted("s".to_owned())), 0),
            (Cause::Failed(problem(code::RESTARTING, "soon")), 1),
        ] {
            let _ = exesdb_sdk::logging::take_records();
            MESSAGES.conclude(ending(cause));
            assert_eq!(exesdb_sdk::logging::take_records().len(), logged);
        }
    }
}
