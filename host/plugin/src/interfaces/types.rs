//! Interfaces that have types and no functions.

use crate::bindings::gateway::requests;
use crate::bindings::store::{batches, decisions, fields, places, snapshot_types, subscription_types, types};
use crate::state::State;

impl fields::Host for State {}
impl places::Host for State {}
impl batches::Host for State {}
impl types::Host for State {}
impl decisions::Host for State {}
impl snapshot_types::Host for State {}

impl subscription_types::Host for State {}
impl requests::Host for State {}
