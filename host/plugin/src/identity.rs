//! Which component an instance is made of.

/// The identity of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where it comes from: `builtin:NAME` or a path.
    pub name: String,
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
}

impl Identity {
    /// The detail that the supervision tree shows.
    pub(crate) fn detail(&self) -> serde_json::Value {
        serde_json::json!({ "component": self.name, "sha256": self.digest })
    }
}
