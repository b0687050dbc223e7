//! Results of version 0.2 as those of version 0.1.

use crate::bindings::next::types::{ChangeResult, Placed};
use crate::bindings::streams::AppendResult;
use crate::bindings::types::Error;

/// The result of a plain append to this stream.
pub(in crate::interfaces) fn appended(stream_id: &str, result: ChangeResult) -> Result<AppendResult, Error> {
    let mut results = transacted(&[stream_id.to_owned()], result)?;
    Ok(results.pop().expect("there is one for each stream"))
}

/// The results of a transaction that appends to these streams, in its order.
pub(in crate::interfaces) fn transacted(
    stream_ids: &[String],
    ChangeResult { placed, .. }: ChangeResult,
) -> Result<Vec<AppendResult>, Error> {
    if !placed.iter().map(|placed| &placed.stream_id).eq(stream_ids) {
        let (found, asked) = (placed.len(), stream_ids.len());
        return Err(Error::Other(format!(
            "the streams component returned places of {found} streams for appends to {asked}, or of other streams"
        )));
    }
    let result = |Placed { first_version, last_version, position, .. }| AppendResult {
        first_version,
        last_version,
        position,
    };
    Ok(placed.into_iter().map(result).collect())
}

#[cfg(test)]
mod tests {
    use super::{appended, transacted};
    use crate::bindings::next::types::{ChangeResult, Placed};
    use crate::bindings::types::Error;

    fn result(stream_ids: &[&str]) -> ChangeResult {
        let placed = |(index, stream_id): (u64, &&str)| Placed {
            stream_id: (*stream_id).to_owned(),
            first_version: 10 + index,
            last_version: 20 + index,
            position: 30 + index,
        };
        ChangeResult { placed: (0..).zip(stream_ids).map(placed).collect(), count: 0 }
    }

    #[test]
    fn a_result_is_of_the_streams_that_were_appended_to() {
        let of = |stream_ids: &[&str], found: &[&str]| {
            let stream_ids: Vec<String> = stream_ids.iter().map(|id| (*id).to_owned()).collect();
            let results = transacted(&stream_ids, result(found)).map_err(|error| match error {
                Error::Other(text) => text,
                other => panic!("{other:?}"),
            })?;
            let fields = results.iter().map(|it| (it.first_version, it.last_version, it.position));
            Ok::<_, String>(fields.collect::<Vec<_>>())
        };
        assert_eq!(of(&["s", "t"], &["s", "t"]).unwrap(), [(10, 20, 30), (11, 21, 31)]);
        for found in [&[][..], &["s"], &["t", "s"], &["s", "t", "u"], &["s", "u"]] {
            assert!(of(&["s", "t"], found).unwrap_err().starts_with("the streams component"), "{found:?}");
        }
        let one = appended("s", result(&["s"])).unwrap();
        assert_eq!((one.first_version, one.last_version, one.position), (10, 20, 30));
        for found in [&[][..], &["t"], &["s", "s"]] {
            assert!(matches!(appended("s", result(found)), Err(Error::Other(_))), "{found:?}");
        }
    }
}
