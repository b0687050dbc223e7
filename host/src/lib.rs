//! The `exesdb` binary as a library.

pub mod cli;
pub mod client;
pub mod cluster;
pub mod command;
pub mod config;
pub mod control;
mod data_directory;
mod file_limit;
pub mod logging;
pub mod maintenance;
pub mod offline;
pub mod output;
pub mod readiness;
pub mod serve;
mod stop_signals;
pub mod tree;
