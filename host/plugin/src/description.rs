//! What a component says about itself through `exesdb:host/describe`, checked like all input from guests.

use std::collections::BTreeSet;
use std::fmt;

use crate::bindings::store::describe as wit;

/// Bytes of a component's name: it is shown in messages and recorded in the store.
const NAME_BYTES_MAX: usize = 64;

/// Settings of a component: as many as a configuration may have for one component.
const SETTINGS_MAX: usize = 256;

/// Bytes of a setting's key.
const KEY_BYTES_MAX: usize = 64;

/// Bytes of a default text: the same limit as in a configuration.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Bytes of the sentence about a setting.
const MEANING_BYTES_MAX: usize = 1_024;

/// The description of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The same in every version of the component.
    pub name: String,
    /// The version of the layout of its state.
    pub state_version: u32,
    /// The settings that it understands.
    pub settings: Vec<SettingSpec>,
}

/// A setting of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingSpec {
    /// Its name in the configuration.
    pub key: String,
    /// The value when the operator gives none. The operator's value must have the same type.
    pub default: SettingValue,
    /// What it does.
    pub meaning: String,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingValue {
    /// `true` or `false`.
    Flag(bool),
    /// An integer.
    Number(i64),
    /// A text.
    Text(String),
}

/// The text that the component reads from `exesdb:host/config`.
impl fmt::Display for SettingValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The description, unless it breaks a rule of the interface: then the rule.
pub(crate) fn checked(description: wit::Description) -> Result<Description, String> {
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
    fn a_valid_description_is_accepted() {
        let settings = vec![
            setting("a-b_1", wit::SettingDefault::Flag(true)),
            setting("n", wit::SettingDefault::Number(-1)),
            setting("t", wit::SettingDefault::Text("x".into())),
        ];
        let accepted = checked(description("acme/snapshots.v2", settings)).expect("the description is valid");
        assert_eq!((accepted.name.as_str(), accepted.state_version), ("acme/snapshots.v2", 3));
        let defaults: Vec<_> = accepted.settings.into_iter().map(|spec| spec.default).collect();
        assert_eq!(
            defaults,
            [SettingValue::Flag(true), SettingValue::Number(-1), SettingValue::Text("x".into())]
        );
    }

    #[test]
    fn invalid_descriptions_are_rejected() {
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
            let error = checked(hostile).expect_err(part);
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
