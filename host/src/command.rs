//! The subcommands, one file each: options and what they do. Below them, what several of them share.

pub mod append;
pub mod backup;
pub mod cluster;
pub mod completions;
pub mod connection;
pub mod consume;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod export;
pub mod filter;
pub mod follow;
pub mod import;
pub mod incomplete;
pub mod kill;
pub mod listen;
pub mod read;
pub mod restart;
pub mod restore;
pub mod retention;
pub mod scavenge;
pub mod serve;
pub mod snapshot;
pub mod streams;
pub mod subscription;
pub mod transact;
pub mod tree;

mod json;
mod new_file;
mod print;
mod progress;
