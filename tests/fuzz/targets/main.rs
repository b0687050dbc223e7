//! The readers of foreign bytes, one target each. What only one crate reads has its target among the tests of that crate:
//! journals in `exesdb-storage`, segments in `exesdb-log`, messages, members and entries in `exesdb-cluster`.

mod dumps;
mod gateway;
mod host;
mod packed;
mod patterns;
mod streams;
