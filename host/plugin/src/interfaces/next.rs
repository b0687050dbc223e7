//! Version 0.2 of the contract.

mod config;
mod logging;
mod store;
mod types;
pub(crate) mod views;
