//! Changes of streams' heads alone: retention and deletion.

use std::collections::{HashMap, HashSet};

use exesdb_sdk::types::{ChangeResult, Decision, Error, Planned};
use exesdb_sdk::view::View;

use crate::correlation::CorrelationIndex;
use crate::entries::{Entries, Origin};
use crate::known::read_heads;
use crate::layout::Head;

/// Decides requests, each of which changes one head. `check` checks a request's arguments, and `next` gives the head after
/// it. A request for a stream that an earlier one of the list changes is left to the next list.
pub(crate) fn decide<R>(
    view: &impl View,
    requests: &[R],
    stream_of: impl Fn(&R) -> &str,
    check: impl Fn(&R) -> Result<(), Error>,
    next: impl Fn(&R, Option<&Head>) -> Result<Head, Error>,
) -> Vec<Decision> {
    let heads = match read_heads(view, requests.iter().map(&stream_of)) {
        Ok(heads) => heads.into_iter().collect::<HashMap<_, _>>(),
        // What the arguments alone refuse does not need what cannot be read.
        Err(error) => {
            let refused = |request| check(request).err().unwrap_or_else(|| error.clone());
            return requests.iter().map(|request| Decision::Done(Err(refused(request)))).collect();
        }
    };
    let mut changed: HashSet<&str> = HashSet::new();
    let decisions = requests.iter().map(|request| {
        if let Err(error) = check(request) {
            return Decision::Done(Err(error));
        }
        let stream_id = stream_of(request);
        if changed.contains(stream_id) {
            return Decision::Later;
        }
        let decided = heads[stream_id].clone().and_then(|head| Ok((head, next(request, head.as_ref())?)));
        let (head, next) = match decided {
            Ok((head, next)) if head != Some(next) => (head, next),
            Ok(_) => return Decision::Done(Ok(ChangeResult { placed: Vec::new(), count: 0 })),
            Err(error) => return Decision::Done(Err(error)),
        };
        changed.insert(stream_id);
        let mut entries = Entries::new(CorrelationIndex::Off);
        entries.require_head(stream_id, head.as_ref());
        entries.put_head(stream_id, head.as_ref(), &next, Origin::Known(next.origin));
        match entries.build() {
            Ok(batch) => Decision::Commit(Planned { batch, placed: Vec::new(), count: 0 }),
            Err(error) => Decision::Done(Err(error)),
        }
    });
    decisions.collect()
}
