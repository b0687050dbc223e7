//! The settings of a component: what the operator wrote, checked against what the component declares.

use std::collections::BTreeMap;

use exesdb_plugin::{SettingSpec, SettingValue};

use super::model::Setting;

/// The settings that a component of this role is started with: those of the file, and the defaults of the others.
///
/// # Errors
///
/// The place in the file of the first setting that the component does not declare or that has another type, and what it
/// must be.
pub fn resolve(
    role: &str,
    declared: &[SettingSpec],
    given: &BTreeMap<String, Setting>,
) -> Result<BTreeMap<String, String>, String> {
    let mut settings: BTreeMap<String, String> =
        declared.iter().map(|spec| (spec.key.clone(), spec.default.to_string())).collect();
    for (key, setting) in given {
        let Some(spec) = declared.iter().find(|spec| spec.key == *key) else {
            let (place, declared) = (&setting.key_place, list(declared));
            return Err(format!("{place}: the {role} component has no setting `{key}`; {declared}"));
        };
        if std::mem::discriminant(&spec.default) != std::mem::discriminant(&setting.value) {
            let (place, expected) = (&setting.value_place, expected(&spec.default));
            return Err(format!("{place}: {key} is {}; it must be {expected}", written(&setting.value)));
        }
        settings.insert(key.clone(), setting.value.to_string());
    }
    Ok(settings)
}

fn list(declared: &[SettingSpec]) -> String {
    if declared.is_empty() {
        return "it declares no settings".to_owned();
    }
    let one = |spec: &SettingSpec| {
        format!("`{}` ({}, default {})", spec.key, expected(&spec.default), written(&spec.default))
    };
    format!("it has {}", declared.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// What a value of the same type must be.
fn expected(value: &SettingValue) -> &'static str {
    match value {
        SettingValue::Flag(_) => "true or false",
        SettingValue::Number(_) => "a whole number",
        SettingValue::Text(_) => "a text in quotes",
    }
}

/// A value as it is written in the file.
fn written(value: &SettingValue) -> String {
    match value {
        SettingValue::Text(text) => format!("{text:?}"),
        SettingValue::Flag(_) | SettingValue::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use exesdb_plugin::{SettingSpec, SettingValue};

    use super::resolve;
    use crate::config::model::Setting;
    use crate::config::source::Place;

    fn declared() -> Vec<SettingSpec> {
        let spec = |key: &str, default| SettingSpec { key: key.to_owned(), default, meaning: String::new() };
        vec![
            spec("flag", SettingValue::Flag(false)),
            spec("number", SettingValue::Number(7)),
            spec("text", SettingValue::Text("a".to_owned())),
        ]
    }

    fn given(key: &str, value: SettingValue) -> BTreeMap<String, Setting> {
        let place = |column| Place { file: "exesdb.toml".into(), line: 4, column };
        BTreeMap::from([(key.to_owned(), Setting { value, key_place: place(1), value_place: place(8) })])
    }

    #[test]
    fn absent_settings_have_their_defaults() {
        let settings = resolve("streams", &declared(), &given("number", SettingValue::Number(-1))).unwrap();
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(settings, [("flag", "false"), ("number", "-1"), ("text", "a")]);
    }

    #[test]
    fn unknown_settings_and_wrong_types_are_errors_with_their_places() {
        let text = |text: &str| SettingValue::Text(text.to_owned());
        let table = [
            (
                "flagg",
                SettingValue::Flag(true),
                "exesdb.toml:4:1: the streams component has no setting `flagg`; it has `flag` (true or false, default false), `number` (a whole number, default 7), `text` (a text in quotes, default \"a\")",
            ),
            ("flag", text("yes"), "exesdb.toml:4:8: flag is \"yes\"; it must be true or false"),
            ("flag", SettingValue::Number(1), "exesdb.toml:4:8: flag is 1; it must be true or false"),
            ("number", text("1"), "exesdb.toml:4:8: number is \"1\"; it must be a whole number"),
            ("text", SettingValue::Flag(true), "exesdb.toml:4:8: text is true; it must be a text in quotes"),
        ];
        for (key, value, expected) in table {
            assert_eq!(resolve("streams", &declared(), &given(key, value)).unwrap_err(), expected);
        }
        let error = resolve("gateway", &[], &given("a", SettingValue::Flag(true))).unwrap_err();
        assert!(
            error.ends_with("the gateway component has no setting `a`; it declares no settings"),
            "{error}"
        );
    }
}
