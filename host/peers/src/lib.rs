//! Connections between the nodes of a cluster: messages of groups, snapshots, clients' requests that another node answers, and
//! how a node joins.
//!
//! ```text
//! Peers::transport -> links     one link per node: a task keeps its connection for messages; two others are made when needed
//!                     dial      TCP, TLS 1.3 with certificates of the cluster, hello
//!                     server    the other side: hello, then frames, snapshots, relays, calls
//!                  -> endpoint  the group that a message names
//! ```
//!
//! Each node makes the connections for what it asks, and each kind has its own, so that no snapshot and no client delays a
//! heartbeat. HTTP/2 runs in them: `frame` describes what the first kind carries, `docs/cluster.md` everything that is on the wire.
//!
//! # Guarantees
//!
//! - A node speaks only with nodes that have a certificate of the cluster's authority for the name that they give, and that the
//!   registry knows under that name, with that log. The registry is asked again while a connection lasts.
//! - A refusal has a name and says what to do. Both sides show it.
//! - What a peer sends is a claim. It is bounded before it is kept, and no claim ends more than its own connection.
//! - Nothing waits without bound: what cannot be sent is refused at once.
//!
//! # Deliberately absent
//!
//! The registry ([`Admission`]), what the host does for others ([`Services`]), discovery, Raft.

mod address;
pub mod authority;
mod body;
mod clock;
mod control;
mod credentials;
mod dial;
mod endpoint;
mod frame;
mod hello;
mod identity;
mod invitations;
mod join;
pub mod limits;
mod link;
mod links;
mod meter;
mod name;
mod node;
mod pace;
mod peers;
mod pem;
mod queue;
mod relay;
mod server;
mod services;
mod snapshot;
mod status;
mod task;
mod token;
mod transport;

pub use address::{AddressError, check_address};
pub use authority::{Authority, AuthorityError, CertificateRequest, RequestError};
pub use body::{Body, BodyError};
pub use control::CallError;
pub use credentials::{Credentials, CredentialsError};
pub use endpoint::{Attached, Endpoint};
pub use hello::{Admission, FEATURE_LEVEL, PROTOCOLS, Refusal, Registered};
pub use identity::{Identity, Remote};
pub use invitations::{InvitationError, Invitations};
pub use join::{JoinError, JoinRefusal, JoinRequest, JoinResponse, join};
pub use name::{NameError, check_node_name};
pub use peers::{Peers, StartError};
pub use relay::{RELAYED, RelayError};
pub use services::{ControlRequest, ControlResponse, Services};
pub use status::NodeStatus;
pub use token::{Secret, Token, TokenError};
