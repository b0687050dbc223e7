//! Walks the numbers of imported rows: each belongs to a stream, and is at most the number of events that the stream ever
//! had.

use exesdb_sdk::batch::BatchBuilder;
use exesdb_sdk::types::Error;
use exesdb_sdk::view::View;

use super::orphans::continue_after;
use super::{STEP_ENTRIES, Step};
use crate::layout::{Head, IMPORTS, ImportedRows, STREAMS, stream_of_import};

/// Runs one step of `imports`.
pub(super) fn walk<V: View>(step: &mut Step<'_, V>, start: Vec<u8>) -> Result<Option<Vec<u8>>, Error> {
    let page = step.page(IMPORTS, start, STEP_ENTRIES)?;
    step.examined += page.len() as u64;
    let streams = page.entries().map(|entry| stream_of_import(entry.key));
    let keys: Vec<Vec<u8>> = streams.map(|id| id.unwrap_or_default().as_bytes().to_vec()).collect();
    let known: Vec<Vec<u8>> = keys.iter().filter(|key| !key.is_empty()).cloned().collect();
    let mut heads = step.view.get_all(STREAMS, &known)?.into_iter();
    for (entry, stream) in page.entries().zip(keys) {
        let head = if stream.is_empty() { None } else { heads.next().flatten() };
        let imported = ImportedRows::decode(entry.value).filter(|_| !stream.is_empty());
        let Some(ImportedRows { rows, leading_rows }) = imported else {
            step.orphan(
                IMPORTS,
                entry,
                "it is no stream and source with a number of rows; imports fail at it",
            );
            continue;
        };
        match head.as_deref().map(Head::decode) {
            // The walk of the heads reports it.
            Some(Err(_)) => {}
            None => {
                let problem = "there is no such stream; if there was one, its head is lost";
                step.entry(IMPORTS, entry.key, problem, None);
            }
            Some(Ok(there)) if rows > there.next_version() => {
                let versions = there.next_version();
                let problem = format!(
                    "it says {rows} rows, and the stream has had {versions} events at most; an import may take new rows \
                     for hidden ones"
                );
                let mut batch = BatchBuilder::new();
                batch.require(STREAMS, &stream, head.as_deref());
                batch.require(IMPORTS, entry.key, Some(entry.value));
                let right = ImportedRows { rows: versions, leading_rows: leading_rows.min(versions) };
                batch.put(IMPORTS, entry.key, &right.encode());
                step.entry(IMPORTS, entry.key, problem, Some(batch));
            }
            Some(Ok(_)) => {}
        }
    }
    Ok(continue_after(&page, page.len()))
}
