//! Replicated stores: a Raft group for each store, whose entries a [`Replica`](exesdb_storage::Replica) applies.
//!
//! A [`Group`] is one replica of one group, in one process. It takes commits while it is the ready leader, applies what the
//! group has agreed on, and talks to the other replicas through a [`Transport`]. Its log is a [`GroupLog`], its data is in a
//! [`ReplicaHome`]; both exist in memory, for tests and simulations. In files they are the part of the group in a
//! [`NodeLog`](log::NodeLog), and a folder.
//!
//! ```text
//! Group::propose -> proposer    commits that wait become one entry
//!                   raft        log, then the other replicas, until a majority has it
//!                   machine     the replica applies it; the outcomes go back up
//! Group::receive <- transport   messages of peers, each checked before the engine sees it
//! election                      who campaigns, who is ready, who falls silent
//! ```
//!
//! # Guarantees
//!
//! - A commit is acknowledged after a majority has it in its log, synced, and this replica has applied it.
//! - After an error other than [`ProposeError::Unknown`] nothing of the commit was or will be applied.
//! - A [`Term`](exesdb_storage::Term) names one time of leadership of one replica. What is fenced by it is applied under no
//!   other leader.
//! - What a peer sends is a claim: it is refused with a typed error unless it is well-formed and fits the group.
//!
//! # Deliberately absent
//!
//! Sockets, TLS, components, which node has which replica. The engine is openraft, and no type of it leaves this crate.

mod election;
mod entry;
mod error;
#[cfg(feature = "faults")]
mod fault;
mod group;
mod health;
pub mod home;
mod kept;
pub mod limits;
pub mod log;
mod log_store;
mod machine;
mod members;
mod network;
mod proposer;
mod read_index;
mod receive;
mod retention;
mod snapshot;
mod transport;
mod types;
mod wire;

pub use election::Campaigns;
pub use entry::LogEntryError;
pub use error::{ChangeError, ProposeError, ReadError, Refused, StartError, TransferError};
#[cfg(feature = "faults")]
pub use fault::Fault;
pub use group::{Group, Metrics, Options, Role};
pub use health::Health;
pub use home::{HomeError, ReplicaHome};
pub use kept::Execution;
pub use log::GroupLog;
pub use members::{Member, Members, MembersError, genesis};
pub use proposer::Accepted;
pub use transport::{Peer, SendError, SnapshotBody, Transport};
pub use wire::{Addressed, WireError, addressed};
