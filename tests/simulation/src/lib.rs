//! Simulated clusters: whole nodes of `host/cluster` in one thread, where a seed decides everything that happens.
//!
//! [`run`] plays one seed: nodes, network and clocks are [turmoil]'s, logs and stores are in memory and forget what was not
//! synced when a node loses power. A [plan](plan::Plan) says who is cut off, stopped, slowed down, replaced and when, clients
//! append and read meanwhile, and everything that they and the replicas see is [recorded](history::History). Then all is
//! repaired, the replicas have to become equal, and every [property](invariants) is checked over the record.
//!
//! # How to run it
//!
//! In this folder, because its flags are needed:
//!
//! ```sh
//! cargo test --release                                                # a minute or two; seeds alone: some seconds
//! EXESDB_SIMULATION_SEEDS=10000 cargo test --release --test seeds     # the long form
//! EXESDB_TEST_SEED=77 EXESDB_SIMULATION_SEEDS=1 cargo test --release --test seeds   # one seed again
//! ```
//!
//! The first seed is `EXESDB_TEST_SEED`, or drawn at random, and the following ones count up from it.
//!
//! # How to read a failure
//!
//! It names the seed, the property and what broke it, then the last events of the [trace](trace): time, node, what happened.
//! Played again, a seed does the same thing, event by event: one in [`PLAYED_TWICE`] is played twice to show that.
//! `EXESDB_SIMULATION_TRACE` sets how many events are kept.

pub mod clients;
pub mod committed;
pub mod disk;
pub mod faults;
pub mod history;
pub mod home;
pub mod invariants;
pub mod network;
pub mod node;
pub mod operator;
pub mod plan;
pub mod simulation;
pub mod trace;

pub use faults::Fault;
pub use simulation::{Played, run};

/// One in so many seeds is played twice: 50 of 10,000.
pub const PLAYED_TWICE: u64 = 200;
