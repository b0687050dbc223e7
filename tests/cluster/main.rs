//! Clusters of real processes, over real sockets, while nodes are killed, stopped, moved and misconfigured: what was acknowledged
//! is there once, at the place that was told, on every node.
//!
//! | module | |
//! |---|---|
//! | `nodes` | the processes, made with the commands that an operator uses |
//! | `load`, `record` | clients that append and read through any node, and what they were told |
//! | `check` | what has to hold of it |
//! | `demo` | `exesdb cluster local` |
//! | `reads` | what reads of each level see, who serves what, and what is refused |
//! | `failover`, `kills`, `nemesis`, `netns` | trouble under load |
//! | `tree` | every child of the tree is killed |
//! | `emitters` | durable subscriptions and sinks while leaders are killed |
//! | `refusals` | nodes that must not be let in |
//!
//! `EXESDB_TEST_SEED` repeats the choices of a run. Threads and elections take other ways each time, so a seed makes a failure
//! likely to recur, not certain.

mod check;
mod demo;
mod emitters;
mod failover;
mod kills;
mod load;
mod nemesis;
mod netns;
mod nodes;
mod reads;
mod record;
mod refusals;
mod tree;

use crate::check::{Findings, findings};
use crate::load::Load;
use crate::nodes::Nodes;

/// Lines about violations that are printed.
const PRINTED_MAX: usize = 40;

/// Ends a load, waits until all nodes have everything, and checks what was recorded.
///
/// # Panics
///
/// When something is wrong, which is printed.
#[track_caller]
fn judge(nodes: &Nodes, load: Load) {
    let history = load.finish();
    nodes.redundant();
    nodes.caught_up();
    let events = nodes.events_from(0);
    let Findings { violations, acknowledged, refused, unknown, reads, searched, not_searched } =
        findings(&history, &events);
    println!(
        "{} events; {acknowledged} appends acknowledged, {refused} refused, {unknown} unknown, {} attempts repeated; {reads} reads; \
         {searched} operations searched in windows, {not_searched} not",
        events.first().map_or(0, |(_, events)| events.len()),
        history.repeated,
    );
    violations.iter().take(PRINTED_MAX).for_each(|violation| println!("{violation}"));
    assert!(violations.is_empty(), "something is wrong: {} lines", violations.len());
    assert!(acknowledged > 0 && reads > 0 && searched > 0, "the load did something");
}
