//! The readers of foreign bytes, one target each. Journals are read by `exesdb-storage` alone: their target is a test of
//! that crate.

mod dumps;
mod gateway;
mod host;
mod packed;
mod patterns;
mod streams;
