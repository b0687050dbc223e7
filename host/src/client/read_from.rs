//! The start of a read, as people write it and as the gateway's message ids have it.

use std::fmt::Write as _;
use std::str::FromStr;

use exesdb_storage::HistoryId;

/// Where a read begins: a version of a stream, or a position of the store with its history, such as `41` or
/// `41@00f1e2d3c4b5a697`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFrom {
    /// The version or position.
    pub number: u64,
    /// The history of a position; none if it is not known.
    pub history: Option<HistoryId>,
}

impl ReadFrom {
    /// A version, or a position whose history is not known.
    pub fn of(number: u64) -> ReadFrom {
        ReadFrom { number, history: None }
    }

    /// Adds the query parameters of a read from here to a URL.
    pub(super) fn push(&self, url: &mut String) {
        let _ = write!(url, "from={}", self.number);
        if let Some(history) = self.history {
            let _ = write!(url, "&history={history}");
        }
    }

    /// Checks that a start in a stream (none: in the whole store) has no history, because versions belong to none.
    pub fn check(&self, stream: Option<&str>) -> Result<(), String> {
        match (stream, self.history) {
            (Some(_), Some(history)) => {
                Err(format!("a version of a stream belongs to no history: leave out `@{history}`"))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for ReadFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<ReadFrom, String> {
        let (number, history) = match text.split_once('@') {
            None => (text, None),
            Some((number, history)) => (number, Some(history.parse()?)),
        };
        let number = number.parse().map_err(|_| {
            "write the version (of a stream) or position (of the store) to begin with; a position may be followed by \
             `@` and its history"
                .to_owned()
        })?;
        Ok(ReadFrom { number, history })
    }
}

#[cfg(test)]
mod tests {
    use super::ReadFrom;

    #[test]
    fn versions_and_positions_with_their_history_are_parsed() {
        for (text, parameters) in
            [("41", "from=41"), ("41@00F1e2d3c4b5a697", "from=41&history=00f1e2d3c4b5a697")]
        {
            let mut url = String::new();
            text.parse::<ReadFrom>().unwrap().push(&mut url);
            assert_eq!(url, parameters);
        }
        for text in ["", "@00f1e2d3c4b5a697", "41@", "41@x", "x@00f1e2d3c4b5a697", "-1"] {
            assert!(text.parse::<ReadFrom>().is_err(), "{text}");
        }
        let from: ReadFrom = "41@00f1e2d3c4b5a697".parse().unwrap();
        assert!(from.check(None).is_ok());
        assert!(from.check(Some("s")).unwrap_err().contains("@00f1e2d3c4b5a697"));
        assert!(ReadFrom::of(41).check(Some("s")).is_ok());
    }
}
