//! What makes a process a member of a cluster: who it is, who else there is, and what its groups should look like.
//!
//! ```text
//! genesis     the first node: its identity, the group `$cluster`, a group for each store
//! join        every other node: what it asks, what the leader decides, what it writes down
//! identity    the data directory of a member, and what is checked before it starts
//! registry    the content of `$cluster`: nodes, stores, replicas, and how it changes
//! coordinator of each group that this node leads: which members it should have
//! status      what an operator sees: nodes, replicas, findings
//! ```
//!
//! # Guarantees
//!
//! - A replica id names one replica on one node with one log, and is never used again.
//! - A node that lost its log does not come back under its name.
//! - Two changes of the registry that were decided on the same state cannot both happen.
//! - Initialising and joining can be repeated after a kill at any point: they go on, or say that they are done.
//!
//! # Deliberately absent
//!
//! Sockets, certificates and tokens, components, HTTP, the configuration file. The host joins this crate with the one that
//! talks to peers.

pub mod coordinator;
pub mod finding;
pub mod genesis;
mod id;
pub mod identity;
pub mod join;
pub mod limits;
mod names;
pub mod registry;
pub mod status;

pub use id::{ClusterId, Incarnation, MalformedId};
pub use names::{Addresses, Invalid};

/// Number of the group whose content is the [registry](registry::Registry).
pub const CLUSTER_GROUP: u64 = 1;

/// Name of that group, in lists of stores, and of its folder. No store can have it.
pub const CLUSTER_NAME: &str = "$cluster";

/// What this version understands. A cluster uses a feature once the level of all its nodes has it.
pub const FEATURE_LEVEL: u32 = 1;
