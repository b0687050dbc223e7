//! Limits, each with its unit and its reason.

use std::time::Duration;

/// How long a certificate is valid. Ten years: nobody has to renew one in a store's usual life, and who wants less brings an
/// authority.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How long before now a certificate begins to be valid: clocks of nodes may differ by as much.
pub const CERTIFICATE_EARLY: Duration = Duration::from_secs(86_400);

/// Largest file of a certificate or key, in bytes: a chain of a hundred certificates.
pub const PEM_BYTES_MAX: u64 = 256 * 1024;

/// Longest name of a node, in bytes: the longest DNS name.
pub const NODE_NAME_BYTES_MAX: usize = 253;

/// Longest request for a certificate, in bytes: ten times what a node sends.
pub const CERTIFICATE_REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Longest token, in characters: the addresses of 64 nodes.
pub const TOKEN_CHARS_MAX: usize = 16 * 1024;

/// How long a token is good for.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Most tokens of one node that are good at a time: nobody adds more nodes within an hour.
pub const INVITATIONS_MAX: usize = 64;

const _: () = assert!(NODE_NAME_BYTES_MAX <= exesdb_cluster::limits::NODE_NAME_BYTES_MAX);
