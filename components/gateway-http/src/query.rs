//! Query parameters and percent-encoding.

use std::borrow::Cow;

use crate::problem::{Problem, quoted};

pub use exesdb_json::number;

/// The parameters of a query: each one is known, and given once unless it is repeatable.
#[derive(Debug)]
pub struct Query<'a> {
    parameters: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// Parses the text after the question mark. `+` is a space, as in HTML forms.
    ///
    /// # Errors
    /// [`crate::problem::Kind::InvalidArgument`] for a parameter that is not in `known`, that is given twice, or whose
    /// value is not percent-encoded UTF-8. Unknown parameters are refused so that a misspelt one is not ignored.
    pub fn parse(query: &'a str, known: &'static [&'static str]) -> Result<Self, Problem> {
        Self::parse_repeated(query, known, &[])
    }

    /// As [`Query::parse`], but the parameters in `repeatable` may be given more than once.
    ///
    /// # Errors
    /// As [`Query::parse`].
    pub fn parse_repeated(
        query: &'a str,
        known: &'static [&'static str],
        repeatable: &'static [&'static str],
    ) -> Result<Self, Problem> {
        let mut parameters: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(&name) = known.iter().chain(repeatable).find(|known| **known == name) else {
                let all = [known, repeatable].concat();
                let known = if all.is_empty() {
                    "this route has none".to_owned()
                } else {
                    format!("this route has {}", all.join(", "))
                };
                let detail = format!("is not a known query parameter; {known}");
                return Err(Problem::invalid(quoted(name).trim_matches('`'), detail));
            };
            if !repeatable.contains(&name) && parameters.iter().any(|(other, _)| *other == name) {
                return Err(Problem::invalid(name, "must be given only once"));
            }
            let value = form_decode(value).map_err(|bad| Problem::invalid(name, bad))?;
            parameters.push((name, value));
        }
        Ok(Self { parameters })
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_ref())
    }

    /// All values of a parameter, in the order given.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.parameters.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value.as_ref())
    }

    /// A parameter that is a number from `least` to `most`.
    ///
    /// # Errors
    /// [`crate::problem::Kind::InvalidArgument`] if it is not.
    pub fn number(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match number(text) {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Problem::invalid(
                name,
                format!("must be an integer from {least} to {most}, not {}", quoted(text)),
            )),
        }
    }

    /// A parameter that is `true` or `false`, by default false.
    ///
    /// # Errors
    /// [`crate::problem::Kind::InvalidArgument`] if it is not.
    pub fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(name, "must be `true` or `false`")),
        }
    }
}

fn form_decode(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode(&spaced).map(|decoded| Cow::Owned(decoded.into_owned()));
    }
    percent_decode(text)
}

/// Decodes the `%XX` triples of a text.
///
/// # Errors
/// A message if a `%` is not followed by two hexadecimal digits, or the result is not UTF-8.
pub fn percent_decode(text: &str) -> Result<Cow<'_, str>, &'static str> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err("a `%` must be followed by two hexadecimal digits");
        };
        decoded.push((high << 4 | low) as u8);
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| "is not UTF-8 when percent-decoded")
}

#[cfg(test)]
mod tests {
    use super::{Query, number, percent_decode};

    #[test]
    fn percent_encoded_text_is_decoded() {
        for (text, expected) in [
            ("plain", Some("plain")),
            ("a%2Fb", Some("a/b")),
            ("%e2%82%ac", Some("€")),
            ("%E2%82%AC", Some("€")),
            ("€", Some("€")),
            ("a+b", Some("a+b")),
            ("%00", Some("\0")),
            ("%", None),
            ("%2", None),
            ("%g0", None),
            ("%+1", None),
            ("%ff", None),
            ("%c3%28", None),
            ("%ed%a0%80", None),
            ("%2\u{20ac}", None),
        ] {
            assert_eq!(percent_decode(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn only_digits_are_a_number() {
        for (text, expected) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999999999999", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1.0", None),
            ("1e3", None),
            (" 1", None),
            ("\u{661}", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn parameters_must_be_known_and_given_once() {
        let query = Query::parse("&from=3&&after=a+b%2Bc&", &["from", "after"]).unwrap();
        assert_eq!(query.number("from", 0, 9).unwrap(), Some(3));
        assert_eq!(query.get("after"), Some("a b+c"));
        assert_eq!(query.get("count"), None);
        let query = Query::parse_repeated("tag=a&from=1&tag=b", &["from"], &["tag"]).unwrap();
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query.all("type").count(), 0);
        assert!(Query::parse_repeated("from=1&from=1", &["from"], &["tag"]).is_err());
        for (text, field) in [
            ("form=3", "form"),
            ("from=1&from=1", "from"),
            ("from=%", "from"),
            ("from=%ff", "from"),
            ("fr%6Fm=1", "fr%6Fm"),
            ("%00\0=1", "%00\\0"),
            ("=1", ""),
        ] {
            let problem = Query::parse(text, &["from"]).unwrap_err();
            assert!(problem.detail.starts_with(&format!("{field}: ")), "{text}: {}", problem.detail);
        }
        for text in ["from=", "from", "from=10", "from=-1", "from=x"] {
            let query = Query::parse(text, &["from"]).unwrap();
            assert!(query.number("from", 0, 9).unwrap_err().detail.starts_with("from: "), "{text}");
        }
    }
}
