//! What a sink does at the moment, for those who look at it.

/// What a sink does at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Status {
    /// It has not looked at its subscription yet.
    #[default]
    Starting,
    /// It consumes its subscription.
    Serving,
    /// It cannot consume its subscription, for this reason.
    Waiting(String),
    /// An event failed, for this reason, and is passed again.
    Retrying(String),
    /// Its receiver is not there, for this reason.
    Unavailable(String),
    /// The same, so often that the breaker is open.
    Open(String),
}

impl Status {
    /// One word, for the telemetry.
    pub(super) fn is(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Waiting(_) => "waiting",
            Self::Retrying(_) => "retrying",
            Self::Unavailable(_) => "unavailable",
            Self::Open(_) => "open",
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Serving => None,
            Self::Waiting(reason)
            | Self::Retrying(reason)
            | Self::Unavailable(reason)
            | Self::Open(reason) => Some(reason),
        }
    }

    /// Whether this is reported after the other. That the receiver is still away is not, nor that an event failed again.
    pub(super) fn is_news_after(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Waiting(now), Self::Waiting(before)) => now != before,
            _ => self.is() != before.is(),
        }
    }

    /// What keeps the sink from delivering, if something does.
    pub(super) fn trouble(&self) -> Option<String> {
        match self {
            Self::Starting | Self::Serving => None,
            Self::Waiting(reason) => Some(format!("waits: {reason}")),
            Self::Retrying(reason) => Some(format!("an event failed and is passed again: {reason}")),
            Self::Unavailable(reason) => Some(format!("the receiver is unavailable: {reason}")),
            Self::Open(reason) => Some(format!("the receiver is unavailable, the breaker is open: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn a_change_is_news_and_another_try_is_not() {
        let (waiting, away) =
            (|why: &str| Status::Waiting(why.into()), |why: &str| Status::Unavailable(why.into()));
        for (now, before, is_news) in [
            (Status::Serving, Status::Starting, true),
            (Status::Serving, Status::Serving, false),
            (waiting("a"), Status::Serving, true),
            (waiting("a"), waiting("a"), false),
            (waiting("b"), waiting("a"), true),
            (away("a"), Status::Serving, true),
            (away("b"), away("a"), false),
            (Status::Open("a".into()), away("a"), true),
            (Status::Retrying("a".into()), Status::Serving, true),
            (Status::Retrying("b".into()), Status::Retrying("a".into()), false),
            (Status::Serving, Status::Open("a".into()), true),
        ] {
            assert_eq!(now.is_news_after(&before), is_news, "{now:?} after {before:?}");
        }
    }
}
