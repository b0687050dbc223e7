//! Scavenging and verification of a persistence component's data: `exesdb:store/maintenance`.

pub mod cursor;

use std::marker::PhantomData;

use crate::batch::BatchBuilder;
use crate::panic;
use crate::types::{Batch, Error};
use crate::view::{Entry, HostView};

/// The maintenance functions of a persistence component.
pub use crate::bindings::store::maintenance::exports::exesdb::store::maintenance::Guest as Maintenance;
pub use crate::bindings::store::maintenance::exports::exesdb::store::maintenance::{
    Cursor, Finding, ScavengeStep, VerifyStep,
};

/// Findings that one step names, as the interface says. Further ones are counted.
pub const FINDINGS_MAX: usize = 100;

/// What one step of verifying has found so far, and its repairs.
#[derive(Debug, Default)]
pub struct Findings {
    repair: bool,
    named: Vec<Finding>,
    count: u64,
    repairs: Vec<Batch>,
}

impl Findings {
    /// Nothing yet. Without `repair`, the repairs are left out.
    #[must_use]
    pub fn new(repair: bool) -> Self {
        Self { repair, ..Self::default() }
    }

    /// Whether repairs are wanted.
    #[must_use]
    pub fn is_repairing(&self) -> bool {
        self.repair
    }

    /// Adds a finding at a place, with what would repair it.
    pub fn add(&mut self, place: String, problem: impl Into<String>, repair: Option<BatchBuilder>) {
        self.count += 1;
        let repair = repair.filter(|_| self.repair);
        if self.named.len() < FINDINGS_MAX {
            let is_repaired = repair.is_some();
            self.named.push(Finding { place, problem: problem.into(), is_repaired });
        }
        self.repairs.extend(repair.map(BatchBuilder::build));
    }

    /// Adds a finding about an entry.
    pub fn entry(
        &mut self,
        keyspace: &str,
        key: &[u8],
        problem: impl Into<String>,
        repair: Option<BatchBuilder>,
    ) {
        self.add(format!("keyspace `{keyspace}`, key `{}`", key.escape_ascii()), problem, repair);
    }

    /// Adds a finding about an entry that belongs to nothing. Its repair removes it if it is still as it was read.
    pub fn orphan(&mut self, keyspace: &str, entry: Entry<'_>, problem: impl Into<String>) {
        let mut batch = BatchBuilder::new();
        batch.require(keyspace, entry.key, Some(entry.value));
        batch.delete(keyspace, entry.key);
        self.entry(keyspace, entry.key, problem, Some(batch));
    }

    /// The result of the step, which has examined so many entries, and after which the next one goes on there.
    #[must_use]
    pub fn step(self, examined: u64, next: Option<Cursor>) -> VerifyStep {
        VerifyStep { batches: self.repairs, next, examined, findings: self.named, found: self.count }
    }
}

/// Wraps the registered component in what the SDK does for each call.
#[doc(hidden)]
pub struct Registered<P>(PhantomData<P>);

impl<P: Maintenance> Maintenance for Registered<P> {
    fn scavenge(view: &HostView, from: Option<Cursor>) -> Result<ScavengeStep, Error> {
        panic::install_hook();
        P::scavenge(view, from)
    }

    fn verify(view: &HostView, from: Option<Cursor>, repair: bool) -> Result<VerifyStep, Error> {
        panic::install_hook();
        P::verify(view, from, repair)
    }
}
