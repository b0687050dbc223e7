//! On whose behalf a call to a persistence component is made.

use std::sync::Arc;

use crate::request_control::RequestControl;
use crate::trace::Trace;

/// The caller of a persistence component.
#[derive(Clone)]
pub struct Caller {
    pub(crate) trace: Trace,
    /// The gateway request that waits for the result; none for a call of the operator.
    pub(crate) request: Option<Arc<RequestControl>>,
}

impl Caller {
    /// The operator, whose calls belong to no request.
    #[must_use]
    pub fn operator() -> Self {
        Self { trace: Trace::new(), request: None }
    }
}
