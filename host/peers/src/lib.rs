//! Connections between the nodes of a cluster.
#![expect(dead_code, reason = "the connections that use the rest follow")]

mod address;
pub mod authority;
mod credentials;
mod invitations;
pub mod limits;
mod name;
mod pem;
mod token;

pub use address::{AddressError, check_address};
pub use authority::{Authority, AuthorityError, CertificateRequest, RequestError};
pub use credentials::{Credentials, CredentialsError};
pub use invitations::{InvitationError, Invitations};
pub use name::{NameError, check_node_name};
pub use token::{Secret, Token, TokenError};
