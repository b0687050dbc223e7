//! The settings of a component, as the configuration file has them.

use std::collections::BTreeMap;

use exesdb_plugin::SettingValue;
use toml::de::DeValue;

use crate::config::model::Setting;
use crate::config::schema::{SETTING_BYTES_MAX, SETTINGS_MAX};
use crate::config::source::Violation;
use crate::config::table::{Table, integer};

/// The settings of a component. Whether it declares such settings is checked when it is loaded.
pub(super) fn parse_settings(role: &str, table: &Table<'_>) -> Result<BTreeMap<String, Setting>, Violation> {
    let mut settings = BTreeMap::new();
    for (key, value) in table.entries() {
        let name = key.get_ref();
        if settings.len() == SETTINGS_MAX {
            let message = format!("{role} has more than {SETTINGS_MAX} settings; put them into fewer keys");
            return Err(Violation::at(key, message));
        }
        let given = match value.get_ref() {
            DeValue::String(text) if text.len() > SETTING_BYTES_MAX => {
                let bytes = text.len();
                let message = format!("{name} has {bytes} bytes; at most {SETTING_BYTES_MAX} fit a setting");
                return Err(Violation::at(value, message));
            }
            DeValue::String(text) => Some(SettingValue::Text(text.clone().into_owned())),
            DeValue::Boolean(flag) => Some(SettingValue::Flag(*flag)),
            _ => integer(value).map(SettingValue::Number),
        };
        let expected = "a string, a whole number, true or false";
        let given = given.ok_or_else(|| table.source.wrong(name, value, expected))?;
        let place = |span| table.source.place(&span);
        let setting =
            Setting { value: given, key_place: place(key.span()), value_place: place(value.span()) };
        settings.insert(name.clone().into_owned(), setting);
    }
    Ok(settings)
}
