//! Streams to which the export adds events, as they were before the import.

use std::collections::HashMap;
use std::io::BufRead;

use crate::client::{Client, ClientError, Retry, StreamInfo, StreamState};
use crate::command::export::format::{Counts, ExportReader, Line, StreamLine};
use crate::command::progress;

/// A stream to which the export adds events.
#[derive(Debug)]
pub(super) struct ContinuedStream {
    pub(super) line: StreamLine,
    /// The stream here before the import; none if it did not exist.
    pub(super) there: Option<StreamInfo>,
    /// The time of the export's event at the last version of the stream here, once that event was read.
    pub(super) at_last: Option<String>,
}

/// Finds the streams that have to be prepared before events are added to them: those with a line that exist here and end
/// earlier, and those that were deleted and started again. In an import into a new store they are few.
pub(super) async fn find(
    client: &Client,
    input: impl BufRead,
    counts: &Counts,
    retry: &mut Retry,
) -> anyhow::Result<HashMap<String, ContinuedStream>> {
    let mut continued = HashMap::new();
    if counts.streams == 0 {
        return Ok(continued);
    }
    let progress = progress::bar(counts.streams, "streams");
    let (_, mut reader) = ExportReader::begin(input)?;
    while let Some(line) = reader.next_line()? {
        let Line::Stream(line) = line else { continue };
        progress.inc(1);
        // The export has no events of the others.
        if line.state != StreamState::Live {
            continue;
        }
        let there = info(client, retry, &line.stream).await?;
        let is_continued = match &there {
            Some(there) => there.last_version < line.last_version,
            None => line.life_begins.is_some(),
        };
        if is_continued {
            continued.insert(line.stream.clone(), ContinuedStream { line, there, at_last: None });
        }
    }
    progress.finish_and_clear();
    Ok(continued)
}

/// Returns what is known of a stream; none if it does not exist.
pub(super) async fn info(
    client: &Client,
    retry: &mut Retry,
    stream: &str,
) -> Result<Option<StreamInfo>, ClientError> {
    match retry.run(async || client.stream_info(stream).await).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
