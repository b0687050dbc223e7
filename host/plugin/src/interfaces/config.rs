//! `exesdb:host/config`.

use crate::bindings::config::{Host, Setting};
use crate::state::State;

impl Host for State {
    fn get(&mut self, key: String) -> Option<String> {
        self.context.settings.get(&key).cloned()
    }

    fn all(&mut self) -> Vec<Setting> {
        let setting = |(key, value): (&String, &String)| Setting { key: key.clone(), value: value.clone() };
        self.context.settings.iter().map(setting).collect()
    }
}
