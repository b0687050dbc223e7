//! `exesdb:host/logging` of version 0.1, for gateways.

use crate::bindings::logging::{Field, Host, Level};
use crate::bindings::next::{fields, logging as next};
use crate::state::State;

impl Host for State {
    fn log(&mut self, level: Level, message: String, fields: Vec<Field>) {
        let level = match level {
            Level::Trace => next::Level::Trace,
            Level::Debug => next::Level::Debug,
            Level::Info => next::Level::Info,
            Level::Warn => next::Level::Warn,
            Level::Error => next::Level::Error,
        };
        let field = |Field { key, value }| fields::Field { name: key, value };
        next::Host::log(self, level, message, fields.into_iter().map(field).collect());
    }
}
