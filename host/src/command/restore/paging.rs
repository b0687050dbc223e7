//! Cursors of pages that a component returns. A page that ends where it began would be requested again forever, so that is
//! an error.

use std::cmp::Reverse;

use anyhow::bail;
use exesdb_plugin::contract::snapshot_types::SnapshotId;
use exesdb_plugin::contract::types::PackedPage;

use crate::config::{ComponentSource, StoreConfig};

/// The start of the next page of events after one that began at `from`; none at the end.
pub(super) fn next_events(config: &StoreConfig, from: u64, page: &PackedPage) -> anyhow::Result<Option<u64>> {
    match page.next {
        _ if page.end => Ok(None),
        Some(next) if next > from => Ok(Some(next)),
        next => no_progress(
            "streams",
            &config.components.streams,
            &format!(
                "its page of events from position {from} on is not the last and goes on at {}",
                next.map_or_else(|| "no position".to_owned(), |next| format!("position {next}"))
            ),
        ),
    }
}

/// The stream after which the next page begins, after a page that began after `after`; none at the end.
pub(super) fn next_streams(
    config: &StoreConfig,
    after: Option<&str>,
    last: Option<String>,
    more: bool,
) -> anyhow::Result<Option<String>> {
    match last {
        _ if !more => Ok(None),
        Some(last) if after.is_none_or(|after| *last > *after) => Ok(Some(last)),
        last => {
            let what = format!(
                "its list of the streams after {after:?} ends with {last:?} and says that more follow"
            );
            no_progress("streams", &config.components.streams, &what)
        }
    }
}

/// The snapshot after which the next page begins, after a page that began after `after`; none at the end.
pub(super) fn next_snapshots(
    config: &StoreConfig,
    after: Option<&SnapshotId>,
    last: Option<SnapshotId>,
    more: bool,
) -> anyhow::Result<Option<SnapshotId>> {
    match last {
        _ if !more => Ok(None),
        Some(last) if after.is_none_or(|after| sort_key(&last) > sort_key(after)) => Ok(Some(last)),
        last => {
            let describe = |id: Option<&SnapshotId>| {
                id.map_or_else(
                    || "none".to_owned(),
                    |id| {
                        format!("version {} of {:?} and source {:?}", id.version, id.stream_id, id.source_id)
                    },
                )
            };
            let what = format!(
                "its list of the snapshots after {} ends with {} and says that more follow",
                describe(after),
                describe(last.as_ref())
            );
            no_progress("snapshots", &config.components.snapshots, &what)
        }
    }
}

/// The sort key of a list of snapshots.
fn sort_key(id: &SnapshotId) -> (&str, &str, Reverse<u64>) {
    (&id.stream_id, &id.source_id, Reverse(id.version))
}

fn no_progress<T>(component: &str, source: &ComponentSource, what: &str) -> anyhow::Result<T> {
    let source = match source {
        ComponentSource::Builtin(name) => format!("builtin:{name}"),
        ComponentSource::File(path) => path.display().to_string(),
    };
    bail!(
        "the component {component} ({source}) leads nowhere: {what}; nothing was restored: report this to the \
         component's author"
    )
}

#[cfg(test)]
mod tests {
    use exesdb_plugin::contract::snapshot_types::SnapshotId;
    use exesdb_plugin::contract::types::PackedPage;

    use super::{next_events, next_snapshots, next_streams};
    use crate::config::StoreConfig;

    fn error<T: std::fmt::Debug>(result: anyhow::Result<T>, component: &str) {
        let error = result.unwrap_err().to_string();
        let named = format!("the component {component} (builtin:{component}) leads nowhere");
        assert!(error.starts_with(&named), "{error}");
    }

    #[test]
    fn the_next_page_of_events_begins_later() {
        let config = StoreConfig::named("s");
        let page = |next, end| PackedPage { events: Vec::new(), next, end, last_version: None };
        assert_eq!(next_events(&config, 3, &page(Some(4), false)).unwrap(), Some(4));
        for next in [None, Some(2), Some(3), Some(4)] {
            assert_eq!(next_events(&config, 3, &page(next, true)).unwrap(), None);
        }
        for next in [None, Some(0), Some(2), Some(3)] {
            error(next_events(&config, 3, &page(next, false)), "streams");
        }
    }

    #[test]
    fn the_next_page_of_streams_begins_later() {
        let config = StoreConfig::named("s");
        let list =
            |after, last: Option<&str>, more| next_streams(&config, after, last.map(str::to_owned), more);
        assert_eq!(list(None, None, false).unwrap(), None);
        assert_eq!(list(Some("b"), Some("a"), false).unwrap(), None);
        assert_eq!(list(None, Some("a"), true).unwrap().as_deref(), Some("a"));
        assert_eq!(list(Some("a"), Some("b"), true).unwrap().as_deref(), Some("b"));
        for (after, last) in [(None, None), (Some("b"), None), (Some("b"), Some("b")), (Some("b"), Some("a"))]
        {
            error(list(after, last, true), "streams");
        }
    }

    #[test]
    fn the_next_page_of_snapshots_begins_later() {
        let config = StoreConfig::named("s");
        let id = |stream_id: &str, source_id: &str, version| SnapshotId {
            stream_id: stream_id.to_owned(),
            source_id: source_id.to_owned(),
            version,
        };
        let at = id("b", "m", 5);
        let list = |last, more| next_snapshots(&config, Some(&at), last, more);
        assert!(next_snapshots(&config, None, Some(at.clone()), true).unwrap().is_some());
        for next in [id("b", "m", 4), id("b", "n", 6), id("c", "", 9)] {
            assert_eq!(
                list(Some(next.clone()), true).unwrap().as_ref().map(|id| id.version),
                Some(next.version)
            );
        }
        assert!(list(Some(at.clone()), false).unwrap().is_none());
        for stuck in
            [None, Some(at.clone()), Some(id("b", "m", 6)), Some(id("b", "a", 1)), Some(id("a", "z", 1))]
        {
            error(list(stuck, true), "snapshots");
        }
    }
}
