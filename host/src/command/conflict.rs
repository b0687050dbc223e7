//! What a person is told when a stream is not as was expected: what was expected, and what it is.

use anyhow::anyhow;

use crate::client::{Client, ClientError, ExpectedVersion, StreamInfo, StreamState};
use crate::output::printable;

/// The same error, or, if the stream was not as expected, what it is now.
pub(super) async fn explained(
    client: &Client,
    stream: &str,
    expected: ExpectedVersion,
    error: ClientError,
) -> anyhow::Error {
    if error.problem_kind() != "wrong-expected-version" {
        return error.into();
    }
    match client.stream_info(stream).await {
        Ok(info) => anyhow!("{}", text(stream, expected, Some(&info))),
        Err(missing) if missing.is_not_found() => anyhow!("{}", text(stream, expected, None)),
        // The first error is the one that matters.
        Err(_) => error.into(),
    }
}

/// What was expected, what there is, and what would be taken.
fn text(stream: &str, expected: ExpectedVersion, info: Option<&StreamInfo>) -> String {
    let stream = printable(stream);
    let expectation = match expected {
        ExpectedVersion::Any => "anything".to_owned(),
        ExpectedVersion::NoStream => "no stream (no_stream)".to_owned(),
        ExpectedVersion::StreamExists => "a stream with events (stream_exists)".to_owned(),
        ExpectedVersion::Exact(version) => format!("version {version}"),
    };
    let there = match info {
        None => "it has never had an event; no_stream or any would be taken".to_owned(),
        Some(StreamInfo { state: StreamState::Live, last_version, .. }) => {
            format!("its last event has version {last_version}")
        }
        Some(StreamInfo { state: StreamState::Deleted, last_version, .. }) => format!(
            "it was deleted, and its last event had version {last_version}; no_stream, any or {last_version} would be taken"
        ),
        Some(StreamInfo { state: StreamState::Tombstoned, .. }) => {
            "it was deleted for good; take another name".to_owned()
        }
    };
    format!("stream {stream} is not as expected: {expectation} was expected, but {there} (409)")
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::client::{ExpectedVersion, Retention, StreamInfo, StreamState};

    #[test]
    fn what_was_expected_and_what_there_is() {
        let info = |state| {
            let (retention, updated) = (Retention::default(), String::new());
            StreamInfo { state, first_version: None, last_version: 4, retention, updated }
        };
        let cases = [
            (
                ExpectedVersion::NoStream,
                Some(StreamState::Live),
                "no stream (no_stream) was expected, but its last event has version 4",
            ),
            (
                ExpectedVersion::Exact(3),
                Some(StreamState::Live),
                "version 3 was expected, but its last event has version 4",
            ),
            (
                ExpectedVersion::Exact(3),
                Some(StreamState::Deleted),
                "it was deleted, and its last event had version 4; no_stream, any or 4",
            ),
            (ExpectedVersion::StreamExists, Some(StreamState::Tombstoned), "it was deleted for good"),
            (ExpectedVersion::StreamExists, None, "it has never had an event"),
        ];
        for (expected, state, said) in cases {
            let text = text("s", expected, state.map(info).as_ref());
            assert!(text.contains(said), "{text}");
        }
    }
}
