//! Who a node is.

use serde::{Deserialize, Serialize};

/// This node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Id of its cluster.
    pub cluster: u128,
    /// Its id in the registry.
    pub node: u64,
    /// Its name, which its certificate has.
    pub name: String,
    /// Random number that its log was made with.
    pub incarnation: u64,
}

/// Another node, as its certificate and its hello say, and as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its id in the registry.
    pub node: u64,
    /// Its name, which its certificate has.
    pub name: String,
    /// Random number that its log was made with.
    pub incarnation: u64,
}

/// Ids of clusters as text: JSON of others would round such numbers.
pub(crate) mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{id:032x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}
