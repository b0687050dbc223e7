//! The component's settings from the store's configuration, and what the host says about itself: `exesdb:host/config`.
//!
//! Outside of a component there is no host. In tests, with the feature `testing`, `Given` says what there is:
//!
//! ```
//! use exesdb_sdk::config::{self, Given};
//! use exesdb_sdk::describe::{Description, SettingDefault, description};
//!
//! fn describe() -> Description {
//!     description("acme/sink", 0).setting("level", SettingDefault::Number(3), "How well data is packed")
//! }
//!
//! let given = Given::defaults(&describe()).about("allowed-hosts", "example.org");
//! given.during(|| {
//!     assert_eq!(config::get("level").as_deref(), Some("3"));
//!     assert_eq!(config::get("colour"), None);
//!     assert_eq!(config::about("allowed-hosts").as_deref(), Some("example.org"));
//! });
//! let given = Given::defaults(&describe()).setting("level", "9");
//! assert_eq!(given.during(|| config::get("level")).as_deref(), Some("9"));
//! ```

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::host::config::{about, get};
#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
pub use double::{Given, about, get};
#[cfg(not(any(feature = "testing", target_arch = "wasm32")))]
pub use none::{about, get};

/// Outside of a component.
#[cfg(not(any(feature = "testing", target_arch = "wasm32")))]
mod none {
    /// The value of a setting.
    ///
    /// # Panics
    ///
    /// Always: there is no host.
    #[must_use]
    pub fn get(_: &str) -> Option<String> {
        panic!("outside of a component there are no settings");
    }

    /// What the host says.
    ///
    /// # Panics
    ///
    /// Always: there is no host.
    #[must_use]
    pub fn about(_: &str) -> Option<String> {
        panic!("outside of a component there is no host");
    }
}

#[cfg(all(feature = "testing", not(target_arch = "wasm32")))]
mod double {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use crate::describe::{Description, SettingDefault};

    thread_local! {
        static GIVEN: RefCell<Option<Given>> = const { RefCell::new(None) };
    }

    /// The settings of a test, and what its host says.
    #[derive(Clone, Debug)]
    pub struct Given {
        /// Values, with the types that were declared.
        settings: BTreeMap<String, (String, SettingDefault)>,
        about: BTreeMap<String, String>,
    }

    impl Given {
        /// The settings that a component declares, with their defaults.
        #[must_use]
        pub fn defaults(description: &Description) -> Self {
            let text = |default: &SettingDefault| match default {
                SettingDefault::Flag(flag) => flag.to_string(),
                SettingDefault::Number(number) => number.to_string(),
                SettingDefault::Text(text) => text.clone(),
            };
            let setting = |spec: &crate::describe::SettingSpec| {
                (spec.key.clone(), (text(&spec.default), spec.default.clone()))
            };
            Self { settings: description.settings.iter().map(setting).collect(), about: BTreeMap::new() }
        }

        /// Sets a setting.
        ///
        /// # Panics
        ///
        /// If the component does not declare it, or with another type: the host would refuse it (H7).
        #[must_use]
        pub fn setting(mut self, name: &str, value: &str) -> Self {
            let (set, default) = self
                .settings
                .get_mut(name)
                .unwrap_or_else(|| panic!("the setting {name} is not declared (H7)"));
            let has_its_type = match default {
                SettingDefault::Flag(_) => value.parse::<bool>().is_ok(),
                SettingDefault::Number(_) => value.parse::<i64>().is_ok(),
                SettingDefault::Text(_) => true,
            };
            assert!(has_its_type, "the setting {name} is {value}, and by default {default:?} (H7)");
            value.clone_into(set);
            self
        }

        /// Adds what the host says under a name.
        #[must_use]
        pub fn about(mut self, name: &str, value: &str) -> Self {
            self.about.insert(name.to_owned(), value.to_owned());
            self
        }

        /// Has `code`, on this thread, find these settings.
        pub fn during<T>(self, code: impl FnOnce() -> T) -> T {
            let _before = Before(GIVEN.replace(Some(self)));
            code()
        }

        fn with<T>(read: impl FnOnce(&Self) -> T) -> T {
            GIVEN.with_borrow(|given| {
                read(given.as_ref().expect("settings in a test are read in `Given::during`"))
            })
        }
    }

    /// Brings back what was given before, also if the code panics.
    struct Before(Option<Given>);

    impl Drop for Before {
        fn drop(&mut self) {
            GIVEN.set(self.0.take());
        }
    }

    /// The value of a setting; none for a name that the component does not declare.
    #[must_use]
    pub fn get(name: &str) -> Option<String> {
        Given::with(|given| given.settings.get(name).map(|(value, _)| value.clone()))
    }

    /// What the host says; none for an unknown name.
    #[must_use]
    pub fn about(name: &str) -> Option<String> {
        Given::with(|given| given.about.get(name).cloned())
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::{Given, about, get};
    use crate::describe::{SettingDefault, description};

    #[test]
    fn settings_are_there_for_the_code_alone() {
        let description = description("x", 0).setting("flag", SettingDefault::Flag(true), "");
        let given = Given::defaults(&description);
        let inner = given.clone().setting("flag", "false").about("store", "main");
        given.during(|| {
            assert_eq!((get("flag").as_deref(), get("other"), about("store")), (Some("true"), None, None));
            inner.during(|| {
                assert_eq!(
                    (get("flag").as_deref(), about("store").as_deref()),
                    (Some("false"), Some("main"))
                );
            });
            assert_eq!(get("flag").as_deref(), Some("true"));
        });
        assert!(std::panic::catch_unwind(|| get("flag")).is_err());
    }

    #[test]
    fn settings_that_the_host_would_refuse_are_a_panic() {
        let description = description("x", 0)
            .setting("flag", SettingDefault::Flag(true), "")
            .setting("number", SettingDefault::Number(1), "")
            .setting("text", SettingDefault::Text(String::new()), "");
        for (name, value, is_good) in [
            ("flag", "false", true),
            ("number", "-7", true),
            ("text", "-7", true),
            ("flag", "yes", false),
            ("number", "1.5", false),
            ("other", "1", false),
        ] {
            let given = Given::defaults(&description);
            let set = std::panic::catch_unwind(|| given.setting(name, value));
            assert_eq!(set.is_ok(), is_good, "{name} {value}");
        }
    }
}
