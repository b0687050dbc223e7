//! The host's side of the contract, one file per interface. What a guest passes is a claim: it is checked here or
//! by the component that it is handed to, and a mistake is answered with the interface's error, never with a trap.

mod clock;
mod config;
mod history;
mod keyspaces;
mod live;
mod logging;
mod snapshots;
mod streams;
mod types;
