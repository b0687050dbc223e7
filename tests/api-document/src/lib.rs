//! Checks a gateway's responses against its OpenAPI document, in the tests of the gateway component and in the end-to-end
//! tests.
//!
//! [`Document::check_head`] looks up what the document says of a request and a status, checks the headers, and returns
//! the [`BodyCheck`] that takes the body as it comes. The schemas are checked by [`Document::check`], which knows the part
//! of JSON Schema that the document uses and complains about every keyword that it does not know.

mod body;
mod frame;
mod message;
mod response;
mod schema;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub use body::BodyCheck;
pub use frame::{Frame, take_frame};
pub use message::{Message, Messages};
pub use response::{Exchange, Head};

/// The methods of a path.
const METHODS: [&str; 8] = ["get", "head", "post", "put", "delete", "options", "patch", "trace"];

/// An OpenAPI document.
#[derive(Debug, Clone)]
pub struct Document(Value);

/// One method of one path.
#[derive(Debug, Clone)]
pub struct Operation<'a> {
    /// The path with its parameters in braces.
    pub template: &'a str,
    /// The method in capitals.
    pub method: String,
    /// The part that all methods of the path share.
    pub item: &'a Value,
    /// The description of this method.
    pub operation: &'a Value,
}

impl Operation<'_> {
    /// Whether the host itself responds, instead of a gateway component.
    pub fn is_of_host(&self) -> bool {
        self.item["x-served-by"] == "host"
    }
}

impl Document {
    /// Parses a document.
    ///
    /// # Errors
    ///
    /// When the text is not JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// The whole document.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Resolves references, and references to references.
    ///
    /// # Panics
    ///
    /// When the target of a reference does not exist.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.resolve(self.target(reference)),
            None => value,
        }
    }

    /// The target of a reference, which may be a reference itself.
    ///
    /// # Panics
    ///
    /// When the target does not exist.
    pub(crate) fn target(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').expect("references stay in the document");
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// Every method of every path.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let paths = object(&self.0["paths"]).iter();
        paths
            .flat_map(|(template, item)| {
                METHODS.iter().filter_map(move |method| {
                    let operation = item.get(method)?;
                    Some(Operation { template, method: method.to_uppercase(), item, operation })
                })
            })
            .collect()
    }

    /// The parameters of an operation and its path that are in `path`, `query` or `header`.
    pub fn parameters<'a>(&'a self, operation: &Operation<'a>, place: &str) -> Vec<&'a Value> {
        [operation.item, operation.operation]
            .into_iter()
            .filter_map(|owner| owner.get("parameters")?.as_array())
            .flatten()
            .map(|parameter| self.resolve(parameter))
            .filter(|parameter| parameter["in"] == place)
            .collect()
    }
}

/// The fields of an object.
///
/// # Panics
///
/// When the value is not an object.
pub fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("this is an object")
}

/// The texts in a list; empty if the value is not a list.
pub fn strings(value: Option<&Value>) -> BTreeSet<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}
