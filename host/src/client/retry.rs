//! Repeating requests while a host is away, with growing pauses and a time limit.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use super::error::ClientError;

/// The first pause. A restarted child is usually back within it.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause: the delay until a returned host is noticed.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The state of repeated attempts: pauses double from 50 ms to 2 s, until the patience is used up.
#[derive(Debug, Clone)]
pub struct Retry {
    patience: Duration,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Retry {
    /// Gives up once every attempt has failed for as long as `patience`.
    pub fn new(patience: Duration) -> Retry {
        Retry { patience, failing_since: None, pause: PAUSE_MIN }
    }

    /// Notes a success: the patience and the pauses start anew.
    pub fn succeeded(&mut self) {
        if self.failing_since.take().is_some() {
            notify("the host answers again");
        }
        self.pause = PAUSE_MIN;
    }

    /// Waits until the next attempt. Returns the error if it is not transient, or if the patience is used up.
    pub async fn wait_after(&mut self, error: ClientError) -> Result<(), ClientError> {
        if !error.is_transient() {
            return Err(error);
        }
        let now = Instant::now();
        let is_first = self.failing_since.is_none();
        let failing_for = now.duration_since(*self.failing_since.get_or_insert(now));
        let Some(pause) = self.next_pause(failing_for) else { return Err(error) };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(%error, pause_ms, "trying again");
        if is_first {
            let seconds = self.patience.as_secs();
            notify(&format!("{}; trying again for up to {seconds} s", error.while_waiting()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Sends a request until it succeeds or the error is final. The request must be safe to repeat.
    pub async fn run<T>(
        &mut self,
        request: impl AsyncFn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        loop {
            match request().await {
                Ok(response) => {
                    self.succeeded();
                    return Ok(response);
                }
                Err(error) => self.wait_after(error).await?,
            }
        }
    }

    fn next_pause(&mut self, failing_for: Duration) -> Option<Duration> {
        if failing_for >= self.patience {
            return None;
        }
        let pause = self.pause.min(self.patience - failing_for);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Some(pause)
    }
}

/// Says something to the user that is no result: that the client waits, say, and that the wait is over.
pub fn notify(text: &str) {
    // If stderr is closed, nobody reads it.
    let _ = writeln!(io::stderr(), "exesdb: {text}");
}

#[cfg(test)]
mod tests {
    use super::{PAUSE_MAX, Retry};
    use crate::client::ClientError;
    use std::time::Duration;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_double_up_to_a_limit_until_the_patience_is_used_up() {
        let mut retry = Retry::new(ms(10_000));
        let expected = [50, 100, 200, 400, 800, 1_600, 2_000, 2_000];
        for pause in expected {
            assert_eq!(retry.next_pause(ms(0)), Some(ms(pause)));
        }
        assert_eq!(retry.next_pause(ms(9_999)), Some(ms(1)));
        assert_eq!(retry.next_pause(ms(10_000)), None);
        retry.succeeded();
        assert_eq!(retry.next_pause(ms(0)), Some(ms(50)));
        assert!(PAUSE_MAX >= ms(1_600));
    }

    #[test]
    fn the_message_while_waiting_gives_no_advice() {
        let (url, detail) = ("http://h/v1".to_owned(), "unexpected EOF".to_owned());
        let cases = [
            (
                ClientError::Unreachable { url: url.clone(), detail: detail.clone() },
                "no exesdb answers at http://h/v1",
            ),
            (ClientError::Lost { url: url.clone(), detail }, "the connection to the host broke"),
            (ClientError::TimedOut { url, seconds: 7 }, "the host did not respond within 7 s"),
        ];
        for (error, message) in cases {
            assert_eq!(error.while_waiting(), message);
        }
    }

    #[tokio::test]
    async fn an_error_that_is_not_transient_is_returned_at_once() {
        let error = || ClientError::Unreadable { url: String::new(), detail: String::new() };
        let mut retry = Retry::new(ms(10_000));
        assert!(retry.wait_after(error()).await.is_err());
        assert!(retry.failing_since.is_none(), "the host responded");
        let away = || ClientError::Unreachable { url: String::new(), detail: String::new() };
        assert!(retry.wait_after(away()).await.is_ok());
        assert!(Retry::new(ms(0)).wait_after(away()).await.is_err());
    }
}
