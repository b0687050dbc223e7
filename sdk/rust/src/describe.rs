//! The description of a component: its name, the version of its state, and its settings. `exesdb:host/describe`.

pub use crate::bindings::described::exports::exesdb::host::describe::{
    Description, Guest, SettingDefault, SettingSpec,
};

/// The description of a component without settings.
#[must_use]
pub fn description(name: &str, state_version: u32) -> Description {
    Description { name: name.to_owned(), state_version, settings: Vec::new() }
}

impl Description {
    /// Adds a setting.
    #[must_use]
    pub fn setting(mut self, key: &str, default: SettingDefault, meaning: &str) -> Self {
        self.settings.push(SettingSpec { key: key.to_owned(), default, meaning: meaning.to_owned() });
        self
    }
}

/// Exports the description that a function returns. Use it once per component. It expands to nothing on targets other than
/// WebAssembly.
///
/// ```
/// use exesdb_sdk::describe::{Description, SettingDefault, description};
///
/// fn describe() -> Description {
///     description("acme/snapshots", 1).setting("level", SettingDefault::Number(3), "How well data is packed")
/// }
///
/// exesdb_sdk::describe_component!(describe);
/// ```
#[macro_export]
macro_rules! describe_component {
    ($describe:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Described;
            impl $crate::describe::Guest for Described {
                fn describe() -> $crate::describe::Description {
                    $describe()
                }
            }
            $crate::bindings::described::export_described!(
                Described with_types_in $crate::bindings::described
            );
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() -> $crate::describe::Description = $describe;
    };
}
