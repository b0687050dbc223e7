//! Supervisors whose children come and go while they run: OTP's simple_one_for_one and Elixir's
//! DynamicSupervisor.

use std::sync::Arc;

use serde_json::Value;

use crate::spec::{ChildSpec, Growth, Strategy, SupervisorSpec};

impl SupervisorSpec {
    /// OTP's simple_one_for_one: all children are made by `template` from the argument given to
    /// [`Handle::start_instance`](crate::Handle::start_instance), and are addressed by their
    /// [`Pid`](crate::Pid).
    pub fn simple(
        id: impl Into<String>,
        template: impl Fn(Value) -> ChildSpec + Send + Sync + 'static,
    ) -> SupervisorSpec {
        let growth = Growth::Simple(Arc::new(template));
        SupervisorSpec { growth, ..SupervisorSpec::new(id, Strategy::SimpleOneForOne) }
    }

    /// Elixir's DynamicSupervisor: as [`SupervisorSpec::simple`], and children may also be started by a
    /// specification of their own ([`Handle::start_child`](crate::Handle::start_child)), are addressed by id
    /// too (ids are unique), and there are at most `max_children` of them.
    pub fn dynamic(
        id: impl Into<String>,
        template: impl Fn(Value) -> ChildSpec + Send + Sync + 'static,
        max_children: usize,
    ) -> SupervisorSpec {
        let growth = Growth::Dynamic { template: Arc::new(template), max_children };
        SupervisorSpec { growth, ..SupervisorSpec::new(id, Strategy::SimpleOneForOne) }
    }
}
