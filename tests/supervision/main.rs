//! What is restarted when a part of the host ends, and what clients notice.

mod breaker;
mod consumers;
mod crashes;
mod emitters;
mod gateway;
mod kill;
mod limits;
mod loading;
mod ownership;
mod parking;
mod persistence;
mod shares;
mod steps;
mod storm;
mod wasi;
mod wasi_http;
