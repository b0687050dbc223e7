//! Holds what a gateway says against its OpenAPI document: of the tests of the gateway component, and of every response
//! that the end-to-end tests get.
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
pub use frame::{Frame, FramedEvent, take_frame};
pub use message::{Message, Messages};
pub use response::{Exchange, Head};

/// The methods that a path of the document can have.
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
    /// What all methods of the path have in common.
    pub item: &'a Value,
    /// What is said of this one.
    pub operation: &'a Value,
}

impl Operation<'_> {
    /// Whether the host answers and not a gateway component.
    pub fn is_of_host(&self) -> bool {
        self.item["x-served-by"] == "host"
    }
}

impl Document {
    /// The document that a text is.
    ///
    /// # Errors
    ///
    /// When the text is no JSON.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// All of it.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Follows references to the value that is meant.
    ///
    /// # Panics
    ///
    /// When one leads nowhere.
    pub fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.resolve(self.target(reference)),
            None => value,
        }
    }

    /// What a reference names, which may be a reference itself.
    ///
    /// # Panics
    ///
    /// When it leads nowhere.
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

    /// The parameters of an operation and of its path, by where they are.
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

/// An object's fields.
///
/// # Panics
///
/// When it is none.
pub fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("this is an object")
}

/// The texts in a list; none without a list.
pub fn strings(value: Option<&Value>) -> BTreeSet<&str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}
