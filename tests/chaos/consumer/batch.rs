//! A consumer that asks for one batch after the other.

use serde_json::Value;

use super::{AGAIN, Consumer, Mishap};
use crate::load::may_pass;

/// How long a request waits for events: short, so that the consumer notices when another time begins.
const WAIT_MS: u64 = 700;

impl Consumer {
    /// Takes batches until the session ends.
    pub(super) fn batches(&mut self, begun: u64) {
        let mut consumer: Option<u64> = None;
        let mut session = None;
        while !self.time.is_over(begun) {
            let number = consumer.map(|number| format!("&consumer={number}")).unwrap_or_default();
            let window = self.record.subscription.window;
            let path = format!("{}/events?wait_ms={WAIT_MS}&window={window}{number}", self.path());
            let mut response = self.http.get(&path);
            let Value::Array(events) = response.json["events"].take() else {
                // It was cut off, or another request of it has not noticed that nobody waits any more.
                let is_known = ["consumer-not-found", "consumer-in-use"].contains(&response.problem());
                assert!(is_known || may_pass(response.status), "{path}: {response:?}");
                if is_known {
                    return;
                }
                std::thread::sleep(AGAIN);
                continue;
            };
            let consumer = *consumer.insert(response.json["consumer"].as_u64().expect("it has a number"));
            let session = *session.get_or_insert_with(|| self.begins(begun));
            let taken = self.delivered(session, &events);
            match self.mishap() {
                Mishap::Dies => return,
                Mishap::ForgetsToSay => continue,
                Mishap::Stalls => self.stall(),
                Mishap::None => self.work(taken.len()),
            }
            self.settle(session, consumer, &taken);
        }
        if let Some(consumer) = consumer {
            self.leave(consumer);
        }
    }
}
