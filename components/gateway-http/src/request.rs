//! The head of a request.

use std::borrow::Cow;

use crate::problem::Problem;

/// The parts of a request's head that the gateway reads.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The HTTP method, such as `GET`.
    pub method: &'a str,
    /// Path and query as received: `/v1/stores/main/events?from=3`.
    pub target: &'a str,
    /// Names and values in the order received.
    pub headers: &'a [(String, Vec<u8>)],
}

impl<'a> RequestHead<'a> {
    /// The value of a header. Several headers of the same name are joined into one list.
    ///
    /// # Errors
    /// [`crate::problem::Kind::InvalidArgument`] if it is not UTF-8.
    pub fn header(&self, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        let mut found: Option<Cow<'a, str>> = None;
        for (_, value) in self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)) {
            let value =
                std::str::from_utf8(value).map_err(|_| Problem::invalid(name, "is not UTF-8"))?.trim();
            found = Some(match found {
                None => Cow::Borrowed(value),
                Some(before) => Cow::Owned(format!("{before}, {value}")),
            });
        }
        Ok(found)
    }
}
