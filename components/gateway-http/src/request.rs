//! The head of a request.

use std::borrow::Cow;

use exesdb_sdk::steps::{Header, Request};

use crate::problem::Problem;

/// The parts of a request's head that the gateway reads.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The HTTP method, such as `GET`.
    pub method: &'a str,
    /// The path as received, such as `/v1/stores/main/events`.
    pub path: &'a str,
    /// The query as received, such as `from=3`; empty for none.
    pub query: &'a str,
    /// Names and values in the order received.
    pub headers: &'a [Header],
}

impl<'a> From<&'a Request> for Head<'a> {
    fn from(request: &'a Request) -> Self {
        Self {
            method: &request.method,
            path: &request.path,
            query: request.query.as_deref().unwrap_or_default(),
            headers: &request.headers,
        }
    }
}

impl<'a> Head<'a> {
    /// Whether only the head of the response is wanted.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The value of a header. Several headers of the same name are joined into one list.
    ///
    /// # Errors
    /// [`crate::problem::Kind::InvalidArgument`] if it is not UTF-8.
    pub fn header(&self, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        let mut found: Option<Cow<'a, str>> = None;
        for Header { value, .. } in
            self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name))
        {
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
