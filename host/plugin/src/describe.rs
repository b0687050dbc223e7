//! What a component says of itself: asked once when it is loaded, without a store, and checked as all that a guest says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use exesdb_supervisor::{Registry, Telemetry};

use crate::bindings::describe as wit;
use crate::clock::Clock;
use crate::crash::Crash;
use crate::engine::Engine;
use crate::limits::Limits;
use crate::load::{ASKED, LoadError, Loaded, STARTED};
use crate::state::{State, Tenancy};
use crate::trace::Trace;

/// The interface that says it.
const INTERFACE: &str = "exesdb:host/describe@0.1.0";

/// Longest name of a component, in bytes: it is shown in messages and recorded in the store.
const NAME_BYTES_MAX: usize = 64;

/// Settings of a component: as many as a configuration may have for one.
const SETTINGS_MAX: usize = 256;

/// Longest key of a setting, in bytes.
const KEY_BYTES_MAX: usize = 64;

/// Longest text that a setting may have by default, in bytes: as a configuration may give it.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Longest sentence about a setting, in bytes.
const MEANING_BYTES_MAX: usize = 1_024;

/// What a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The same in every version of the component.
    pub name: String,
    /// Of the layout of what it keeps.
    pub state_version: u32,
    /// The settings that it has.
    pub settings: Vec<SettingSpec>,
}

/// A setting that a component has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingSpec {
    /// Its name in the configuration.
    pub key: String,
    /// Its value when the operator gives none; the operator's must be of the same type.
    pub default: SettingValue,
    /// What it does.
    pub meaning: String,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
}

/// As the component gets it.
impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Loaded {
    /// Asks the component what it is; none of one that does not say.
    ///
    /// # Errors
    ///
    /// No instance could be made, the function has another type, the call failed, or its answer breaks a rule of the
    /// interface.
    pub(crate) async fn describe(
        &self,
        engine: &Engine,
        role: &'static str,
        limits: &Limits,
    ) -> Result<Option<Description>, LoadError> {
        let Some(interface) = self.component.get_export_index(None, INTERFACE) else { return Ok(None) };
        let index = self.component.get_export_index(Some(&interface), "describe");
        let index = index.ok_or_else(|| self.lacks(role, &format!("{INTERFACE}.describe")))?;
        // A tenancy of its own, with an empty registry: there is no store that it could reach.
        let (registry, telemetry) = (Registry::new(), Telemetry::new());
        let tenancy =
            Tenancy::new("", role, BTreeMap::new(), limits.clone(), Clock::System, registry, telemetry);
        let path: Arc<str> = role.into();
        let mut store = State::store(engine, &self.identity, &tenancy, &path);
        State::begin_call(&mut store, vec![Trace::new()]);
        let mut doing = STARTED;
        let asked = async {
            let instance = self.pre.instantiate_async(&mut store).await.map_err(NoAnswer::Crash)?;
            let describe = instance
                .get_typed_func::<(), (wit::Description,)>(&mut store, &index)
                .map_err(NoAnswer::OtherType)?;
            doing = ASKED;
            describe.call_async(&mut store, ()).await.map_err(NoAnswer::Crash)
        };
        let answer = tokio::time::timeout(Duration::from_millis(limits.call_wall_ms), asked).await;
        let crash = match answer {
            Ok(Ok((description,))) => {
                let name = || self.identity.name.clone();
                let refused = |reason| LoadError::Describe { name: name(), role, reason };
                return checked(description).map(Some).map_err(refused);
            }
            Ok(Err(NoAnswer::OtherType(error))) => return Err(self.mistyped(role, &error)),
            Ok(Err(NoAnswer::Crash(error))) => store.data().crash(&error),
            Err(_) => Crash::timeout(limits.call_wall_ms),
        };
        Err(self.not_started(role, doing, &crash, limits))
    }
}

/// Why a component gave no answer.
enum NoAnswer {
    /// Its function has another type than the interface says.
    OtherType(wasmtime::Error),
    /// The instance ended.
    Crash(wasmtime::Error),
}

/// The description, if it keeps to the rules of the interface.
fn checked(description: wit::Description) -> Result<Description, String> {
    let wit::Description { name, state_version, settings } = description;
    check_name("the name", &name, NAME_BYTES_MAX, "-_./")?;
    if settings.len() > SETTINGS_MAX {
        return Err(format!("it declares {} settings; at most {SETTINGS_MAX} are allowed", settings.len()));
    }
    let mut keys = BTreeSet::new();
    let mut specs = Vec::with_capacity(settings.len());
    for setting in settings {
        check_name("a setting's key", &setting.key, KEY_BYTES_MAX, "-_")?;
        if !keys.insert(setting.key.clone()) {
            return Err(format!("it declares the setting {} twice", setting.key));
        }
        if setting.meaning.len() > MEANING_BYTES_MAX {
            return Err(format!(
                "the meaning of setting {} has more than {MEANING_BYTES_MAX} bytes",
                setting.key
            ));
        }
        let default = match setting.default {
            wit::SettingDefault::Flag(flag) => SettingValue::Flag(flag),
            wit::SettingDefault::Number(number) => SettingValue::Number(number),
            wit::SettingDefault::Text(text) if text.len() > TEXT_BYTES_MAX => {
                return Err(format!(
                    "the default of setting {} has more than {TEXT_BYTES_MAX} bytes",
                    setting.key
                ));
            }
            wit::SettingDefault::Text(text) => SettingValue::Text(text),
        };
        specs.push(SettingSpec { key: setting.key, default, meaning: setting.meaning });
    }
    Ok(Description { name, state_version, settings: specs })
}

fn check_name(what: &str, name: &str, bytes_max: usize, marks: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || marks.contains(c);
    if name.is_empty() || name.len() > bytes_max || !name.chars().all(allowed) {
        let shown: String = name.chars().take(bytes_max).collect();
        return Err(format!(
            "{what} is {shown:?}; it must have 1 to {bytes_max} characters of a-z, 0-9 and {marks}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{SettingValue, checked, wit};

    fn setting(key: &str, default: wit::SettingDefault) -> wit::SettingSpec {
        wit::SettingSpec { key: key.into(), default, meaning: "what it does".into() }
    }

    fn description(name: &str, settings: Vec<wit::SettingSpec>) -> wit::Description {
        wit::Description { name: name.into(), state_version: 3, settings }
    }

    #[test]
    fn a_description_that_keeps_to_the_rules_is_taken() {
        let settings = vec![
            setting("a-b_1", wit::SettingDefault::Flag(true)),
            setting("n", wit::SettingDefault::Number(-1)),
            setting("t", wit::SettingDefault::Text("x".into())),
        ];
        let taken = checked(description("acme/snapshots.v2", settings)).expect("it keeps to the rules");
        assert_eq!((taken.name.as_str(), taken.state_version), ("acme/snapshots.v2", 3));
        let defaults: Vec<_> = taken.settings.into_iter().map(|spec| spec.default).collect();
        assert_eq!(
            defaults,
            [SettingValue::Flag(true), SettingValue::Number(-1), SettingValue::Text("x".into())]
        );
    }

    #[test]
    fn hostile_descriptions_are_refused() {
        let flag = || wit::SettingDefault::Flag(false);
        let table = [
            (description("", vec![]), "the name is \"\""),
            (description(&"x".repeat(65), vec![]), "1 to 64 characters"),
            (description("a\nb", vec![]), "the name is \"a\\nb\""),
            (description("a", vec![setting("A", flag())]), "a setting's key is \"A\""),
            (description("a", vec![setting("k", flag()), setting("k", flag())]), "setting k twice"),
            (
                description("a", (0..257).map(|number| setting(&format!("k{number}"), flag())).collect()),
                "257 settings",
            ),
            (
                description("a", vec![setting("k", wit::SettingDefault::Text("x".repeat(65_537)))]),
                "more than 65536 bytes",
            ),
            (
                description(
                    "a",
                    vec![wit::SettingSpec { meaning: "x".repeat(1_025), ..setting("k", flag()) }],
                ),
                "more than 1024 bytes",
            ),
        ];
        for (hostile, part) in table {
            let refusal = checked(hostile).expect_err(part);
            assert!(refusal.contains(part), "{part}: {refusal}");
        }
    }
}
