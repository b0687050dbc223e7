//! The members that a group should have, and how it gets them, step by step.
//!
//! On each node there is a coordinator for each of its groups. It does something only while the node leads the group, and
//! then one thing at a time: what it does next depends only on the registry and on the group as it is then. So whoever leads
//! next goes on.

mod decide;
mod driver;

pub use self::decide::{Action, Decision, Situation, decide, voters_wanted};
pub use self::driver::coordinate;
