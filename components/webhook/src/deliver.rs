//! Goes through a batch.

use exesdb_sdk::packed::Events;
use exesdb_sdk::sinks::{Batch, Outcome};

use crate::request::{Event, Request, request};
use crate::response::{NoResponse, Response, Verdict, verdict};
use crate::settings::{Settings, Url};

/// What sends requests.
pub trait Sender {
    /// Sends a request, and returns the response's head when it is there, at most after this time.
    ///
    /// # Errors
    ///
    /// There is no response.
    fn send(&mut self, url: &Url, request: &Request, timeout_ms: u32) -> Result<Response, NoResponse>;

    /// Milliseconds since the call has begun.
    fn elapsed_ms(&self) -> u64;

    /// Seconds since 1970-01-01T00:00:00 UTC.
    fn now(&self) -> u64;
}

/// Sends the events of a batch, in order, until one is not delivered or the time is over.
///
/// # Panics
///
/// If the batch has no events, which the host checks.
pub fn deliver(batch: &Batch, settings: &Settings, sender: &mut impl Sender) -> Outcome {
    let events: Vec<Event<'_>> =
        Events::new(&batch.events).map(|event| event.expect("the host checks what it passes")).collect();
    let url = settings.url.to_string();
    let count = |events: usize| u32::try_from(events).unwrap_or(u32::MAX);
    // Up to here, events are sent one at a time: a request of several was refused, and does not say because of which.
    let mut alone_until = 0;
    let mut done = 0;
    while done < events.len() {
        let left = u64::from(batch.time_ms).saturating_sub(sender.elapsed_ms());
        if done > 0 && left < settings.timeout_ms.into() {
            break;
        }
        let size = if done < alone_until { 1 } else { settings.events_per_request.min(events.len() - done) };
        let request = request(&events[done..done + size], &batch.subscription, sender.now(), settings);
        let timeout_ms = u32::try_from(left.max(1)).unwrap_or(u32::MAX).min(settings.timeout_ms);
        match verdict(sender.send(&settings.url, &request, timeout_ms), &url) {
            Verdict::Done => done += size,
            Verdict::Blamed(_) if size > 1 => alone_until = done + size,
            Verdict::Blamed(failure) | Verdict::Failed(failure) => {
                return Outcome::failed(count(done), failure);
            }
        }
    }
    Outcome::done(count(done))
}

#[cfg(test)]
mod tests {
    use exesdb_sdk::events::EventData;
    use exesdb_sdk::sinks::{Batch, Failure, Outcome, testing};
    use serde_json::Value;

    use super::{NoResponse, Request, Response, Sender, Settings, Url, deliver};

    /// A receiver that refuses some ids with a status, and takes so long for each request.
    struct Receiver {
        refused: Vec<(&'static str, u16)>,
        takes_ms: u64,
        elapsed_ms: u64,
        /// The ids of each request, and the time that it had.
        requests: Vec<(String, u32)>,
    }

    impl Receiver {
        fn new(refused: &[(&'static str, u16)], takes_ms: u64) -> Self {
            Self { refused: refused.to_vec(), takes_ms, elapsed_ms: 0, requests: Vec::new() }
        }

        fn ids(&self) -> Vec<&str> {
            self.requests.iter().map(|(ids, _)| ids.as_str()).collect()
        }
    }

    impl Sender for Receiver {
        fn send(&mut self, _url: &Url, request: &Request, timeout_ms: u32) -> Result<Response, NoResponse> {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
            let ids: Vec<String> = match body.as_array() {
                Some(events) => events.iter().map(id).collect(),
                None => vec![id(&body)],
            };
            self.requests.push((ids.join(","), timeout_ms));
            self.elapsed_ms += self.takes_ms;
            let refused = self.refused.iter().find(|(id, _)| ids.iter().any(|given| given == id));
            match refused {
                Some((_, 0)) => Err(NoResponse::Unavailable("refused".into())),
                refused => {
                    Ok(Response { status: refused.map_or(204, |(_, status)| *status), retry_after: None })
                }
            }
        }

        fn elapsed_ms(&self) -> u64 {
            self.elapsed_ms
        }

        fn now(&self) -> u64 {
            1
        }
    }

    fn batch() -> Batch {
        let event = |id: char| EventData { id: id.into(), event_type: "t".into(), ..EventData::default() };
        Batch { time_ms: 1_000, ..testing::batch("abcdef".chars().map(|id| ("s", event(id)))) }
    }

    fn settings(events_per_request: usize) -> Settings {
        let url = Url { authority: "a".into(), path: "/".into() };
        Settings { url, secret: None, events_per_request, timeout_ms: 300, headers: Vec::new() }
    }

    fn is_rejected(outcome: &Outcome) -> bool {
        matches!(outcome.failure, Some(Failure::Rejected(_)))
    }

    #[test]
    fn each_event_is_a_request_in_order() {
        let mut receiver = Receiver::new(&[], 1);
        assert_eq!(deliver(&batch(), &settings(1), &mut receiver), Outcome::done(6));
        assert_eq!(receiver.ids(), ["a", "b", "c", "d", "e", "f"]);
    }

    #[test]
    fn it_stops_at_the_event_that_is_not_delivered() {
        for (status, expected) in
            [(400, "Rejected"), (500, "Failed"), (503, "Unavailable"), (0, "Unavailable")]
        {
            let mut receiver = Receiver::new(&[("c", status)], 1);
            let outcome = deliver(&batch(), &settings(1), &mut receiver);
            assert_eq!((outcome.done, receiver.ids()), (2, vec!["a", "b", "c"]));
            assert!(format!("{:?}", outcome.failure).contains(expected), "{outcome:?}");
        }
    }

    #[test]
    fn a_request_of_several_that_is_refused_is_sent_again_one_by_one() {
        let mut receiver = Receiver::new(&[("d", 400)], 1);
        let outcome = deliver(&batch(), &settings(2), &mut receiver);
        assert_eq!((outcome.done, is_rejected(&outcome)), (3, true));
        assert_eq!(receiver.ids(), ["a,b", "c,d", "c", "d"]);
        let mut receiver = Receiver::new(&[("c", 0)], 1);
        let outcome = deliver(&batch(), &settings(2), &mut receiver);
        assert_eq!((outcome.done, receiver.ids()), (2, vec!["a,b", "c,d"]), "no event is to blame");
    }

    #[test]
    fn no_request_is_begun_that_could_be_over_time() {
        let mut receiver = Receiver::new(&[], 250);
        assert_eq!(deliver(&batch(), &settings(1), &mut receiver), Outcome::done(3));
        assert_eq!(receiver.requests.iter().map(|(_, time)| *time).collect::<Vec<_>>(), [300; 3]);
        // The first one is always sent, in the time that there is.
        let mut receiver = Receiver::new(&[], 1);
        let short = Batch { time_ms: 20, ..batch() };
        assert_eq!(deliver(&short, &settings(1), &mut receiver), Outcome::done(1));
        assert_eq!(receiver.requests, [("a".to_owned(), 20)]);
    }
}
