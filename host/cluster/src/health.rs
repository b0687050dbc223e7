//! What a node says about itself, which decides whether its replicas should lead.

/// State of a node, as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The log's writer has not finished a write for long.
    pub is_log_stuck: bool,
    /// The disk has too little room for more than what frees some.
    pub is_disk_full: bool,
    /// The node is about to leave.
    pub is_draining: bool,
}
