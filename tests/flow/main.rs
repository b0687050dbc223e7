//! What clients of a host see, over HTTP and on the command line.

mod aged;
mod append;
mod cli;
mod config;
mod copy;
mod erasure;
mod export;
mod follow;
mod format;
mod health;
mod history;
mod hostile;
mod http2;
mod import;
mod limits;
mod negotiation;
mod read;
mod retention;
mod rows;
mod slow;
mod snapshots;
mod stores;
mod streams;
mod transactions;
mod upkeep;
mod web;
