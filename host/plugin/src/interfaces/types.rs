//! `exesdb:store/types`: types only, no functions.

use crate::bindings::types::Host;
use crate::state::State;

impl Host for State {}
