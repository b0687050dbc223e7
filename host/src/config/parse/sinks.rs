//! The sinks of a store, as the configuration file has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use exesdb_plugin::{AllowedHost, Grants};

use super::settings::parse_settings;
use crate::config::model::{ComponentSource, SinkConfig};
use crate::config::schema::{self, SINKS_MAX};
use crate::config::source::Violation;
use crate::config::table::Table;

/// The sinks of a table, by their names. `directories` are those that the sinks before them have.
pub(super) fn parse_sinks(
    sinks: &Table<'_>,
    directories: &mut Vec<PathBuf>,
) -> Result<BTreeMap<String, SinkConfig>, Violation> {
    let mut parsed = BTreeMap::new();
    for (name, value) in sinks.entries() {
        if parsed.len() == SINKS_MAX {
            let message = format!("there are more than {SINKS_MAX} sinks; a store has at most so many");
            return Err(Violation::at(name, message));
        }
        let text = name.get_ref();
        if !schema::is_name(text) {
            let expected = schema::NAME.expected;
            return Err(Violation::at(name, format!("the sink's name is {text:?}; it must be {expected}")));
        }
        let table = sinks.inner(text, value)?.check_keys(&schema::SINK_TABLE)?;
        let sink = parse_sink(&table)?;
        if let Some((directory, value)) =
            sink.grants.directory.as_ref().zip(table.get(schema::DIRECTORY.name))
        {
            if directories.iter().any(|other| directory.starts_with(other) || other.starts_with(directory)) {
                let message = format!(
                    "directory is {}, and another sink has that, or a part of it; give each sink a directory of its own",
                    &table.source.text[value.span()]
                );
                return Err(Violation::at(value, message));
            }
            directories.push(directory.clone());
        }
        parsed.insert(text.to_string(), sink);
    }
    Ok(parsed)
}

fn parse_sink(table: &Table<'_>) -> Result<SinkConfig, Violation> {
    let required = |key: &'static schema::Text| {
        let missing =
            || table.violation(format!("the sink has no {}; it must be {}", key.name, key.expected));
        let value = table.get(key.name).ok_or_else(missing)?;
        Ok((table.source.string(key.name, value, key.expected)?, value))
    };
    let (given, value) = required(&schema::SINK_COMPONENT)?;
    let wrong = || table.source.wrong(schema::SINK_COMPONENT.name, value, schema::SINK_COMPONENT.expected);
    let component = match given.strip_prefix("builtin:") {
        Some(builtin) if schema::SINK_BUILTINS.contains(&builtin) => {
            ComponentSource::Builtin(builtin.to_owned())
        }
        // It would be a file of that name.
        None if !given.is_empty() && !schema::SINK_BUILTINS.contains(&given) => {
            ComponentSource::File(table.source.resolve(given))
        }
        _ => return Err(wrong()),
    };
    let component_place = table.source.place(&value.span());
    let (subscription, value) = required(&schema::SINK_SUBSCRIPTION)?;
    let is_short = (1..=schema::SUBSCRIPTION_BYTES_MAX).contains(&subscription.len());
    if !is_short || subscription.chars().any(char::is_control) {
        let schema::Text { name, expected, .. } = schema::SINK_SUBSCRIPTION;
        return Err(table.source.wrong(name, value, expected));
    }
    let hosts =
        table.names(&schema::SINK_ALLOWED_HOSTS, |text| Some(AllowedHost::parse(text)?.to_string()))?;
    let directory = table.text(&schema::DIRECTORY)?;
    let grants = Grants {
        allowed_hosts: hosts.iter().filter_map(|host| AllowedHost::parse(host)).collect(),
        directory: directory.map(|directory| table.source.resolve(directory)),
    };
    let settings = table.table(schema::SETTINGS)?;
    Ok(SinkConfig {
        component,
        component_place,
        subscription: subscription.to_owned(),
        batch_events: table.number(&schema::BATCH_EVENTS)?.unwrap_or(schema::BATCH_EVENTS.default),
        grants,
        directory_place: table.place(schema::DIRECTORY.name),
        settings: settings.map(|table| parse_settings("the sink", &table)).transpose()?.unwrap_or_default(),
    })
}
