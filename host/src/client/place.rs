//! Where a read begins, as people write it and as the gateway's message ids have it.

use std::fmt::Write as _;
use std::str::FromStr;

use exesdb_storage::HistoryId;

/// A version of a stream, or a position of the store with the history that it belongs to: `41`, `41@00f1e2d3c4b5a697`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The version or position.
    pub number: u64,
    /// The history of a position; none if it is not known.
    pub history: Option<HistoryId>,
}

impl Place {
    /// A version, or a position of which nothing more is known.
    pub fn of(number: u64) -> Place {
        Place { number, history: None }
    }

    /// Appends the parameters of a read from here on.
    pub(super) fn push(&self, url: &mut String) {
        let _ = write!(url, "from={}", self.number);
        if let Some(history) = self.history {
            let _ = write!(url, "&history={history}");
        }
    }

    /// Whether it can be a place in a stream (`stream`) or the store: a version has no history.
    pub fn check(&self, stream: Option<&str>) -> Result<(), String> {
        match (stream, self.history) {
            (Some(_), Some(history)) => {
                Err(format!("a version of a stream belongs to no history: leave out `@{history}`"))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (number, history) = match text.split_once('@') {
            None => (text, None),
            Some((number, history)) => (number, Some(history.parse()?)),
        };
        let number = number.parse().map_err(|_| {
            "write the version (of a stream) or position (of the store) to begin with; a position may be followed by \
             `@` and its history"
                .to_owned()
        })?;
        Ok(Place { number, history })
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn places_are_read_and_written() {
        for (text, parameters) in
            [("41", "from=41"), ("41@00F1e2d3c4b5a697", "from=41&history=00f1e2d3c4b5a697")]
        {
            let mut url = String::new();
            text.parse::<Place>().unwrap().push(&mut url);
            assert_eq!(url, parameters);
        }
        for text in ["", "@00f1e2d3c4b5a697", "41@", "41@x", "x@00f1e2d3c4b5a697", "-1"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        let place: Place = "41@00f1e2d3c4b5a697".parse().unwrap();
        assert!(place.check(None).is_ok());
        assert!(place.check(Some("s")).unwrap_err().contains("@00f1e2d3c4b5a697"));
        assert!(Place::of(41).check(Some("s")).is_ok());
    }
}
