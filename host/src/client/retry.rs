//! Trying again while a host is away: when, and for how long.

use std::fmt;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use super::ClientError;

/// The first pause: a child that is restarted is back within it.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause: a host that is back is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Patience with a host that is away: pauses double from 50 ms to 2 s, for a given time since it last answered.
#[derive(Debug, Clone)]
pub struct Retry {
    patience: Duration,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Retry {
    /// Gives up when nothing has succeeded for `patience`.
    pub fn new(patience: Duration) -> Retry {
        Retry { patience, failing_since: None, pause: PAUSE_MIN }
    }

    /// Forgets the failures so far.
    pub fn succeeded(&mut self) {
        if self.failing_since.take().is_some() {
            say(format_args!("the host answers again"));
        }
        self.pause = PAUSE_MIN;
    }

    /// Waits until it is time to try again, or gives the error back: it does not pass, or patience is at its end.
    pub async fn wait_after(&mut self, error: ClientError) -> Result<(), ClientError> {
        if !error.is_passing() {
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
            say(format_args!("{}; trying again for up to {seconds} s", error.while_waiting()));
        }
        tokio::time::sleep(pause).await;
        Ok(())
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

/// Tells whoever waits, once when it begins and once when it is over.
fn say(text: fmt::Arguments<'_>) {
    // Nobody's loss if nobody reads it.
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
    fn pauses_double_up_to_a_limit_until_patience_ends() {
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
    fn who_waits_is_told_what_happened_and_not_what_to_do() {
        let (url, detail) = ("http://h/v1".to_owned(), "unexpected EOF".to_owned());
        let cases = [
            (
                ClientError::Unreachable { url: url.clone(), detail: detail.clone() },
                "no exesdb answers at http://h/v1",
            ),
            (ClientError::Lost { url: url.clone(), detail }, "the connection to the host broke"),
            (ClientError::TimedOut { url, seconds: 7 }, "the host did not respond within 7 s"),
        ];
        for (error, said) in cases {
            assert_eq!(error.while_waiting(), said);
        }
    }

    #[tokio::test]
    async fn what_does_not_pass_is_not_tried_again() {
        let error = || ClientError::Unreadable { url: String::new(), detail: String::new() };
        let mut retry = Retry::new(ms(10_000));
        assert!(retry.wait_after(error()).await.is_err());
        assert!(retry.failing_since.is_none(), "the host answered");
        let away = || ClientError::Unreachable { url: String::new(), detail: String::new() };
        assert!(retry.wait_after(away()).await.is_ok());
        assert!(Retry::new(ms(0)).wait_after(away()).await.is_err());
    }
}
