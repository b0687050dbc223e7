//! The format of `exesdb.toml`, and its errors.
//!
//! ```toml
//! data = "./exesdb-data"
//! listen = "127.0.0.1:2113"
//! allowed_hosts = ["db.example.org"]
//! allowed_origins = ["https://app.example.org"]
//!
//! [[store]]
//! name = "main"
//! gateway_pool_size = 3
//! writers = 4
//! readers = 2
//! snapshot_workers = 2
//! disk_reserve_mib = 256
//! pubsub = true
//!
//! [store.components]
//! streams = "builtin:streams"
//! snapshots = "builtin:snapshots"
//! gateway = "components/my-gateway.wasm"
//!
//! [store.settings.streams]
//! index-correlation = true
//!
//! [store.settings.gateway]
//! greeting = "hello"
//!
//! [store.limits]
//! call_cpu_ms = 1000
//! call_wall_ms = 30000
//! memory_mib = 64
//! mailbox = 1024
//! response_wall_ms = 40000
//! gateway_instances_per_worker = 64
//!
//! [store.limits.gateway]
//! memory_mib = 128
//! ```
//!
//! Settings are the component's own: it declares them with their types and defaults, and they are checked when it is
//! loaded. Of the components that ship, `streams` has one: `index-correlation`, with which events appended from then on can be found by `$correlationId` and `$causationId` in
//! their metadata.
//!
//! Every value is read with its place in the text, so that an error can point at it. Tables refuse unknown keys.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Spanned, Value};

use exesdb_plugin::{INSTANCES_MAX, MEMORY_BYTES_MAX, SettingValue};

use super::{ComponentSource, Components, Config, Limits, Place, Setting, StoreConfig, parse_listen, web};

/// The largest configuration file, in bytes: thousands of stores' worth; more is the wrong file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Stores of one process: each owns a database with its own threads and files.
const STORES_MAX: usize = 256;
/// The longest store name, in bytes: it is a directory name and a URL segment.
const STORE_NAME_BYTES_MAX: usize = 64;
/// Workers and instances of a pool: far more than there are cores to run them.
const POOL_SIZE: RangeInclusive<i64> = 1..=64;
/// Milliseconds of CPU per call. A minute is where a client has long given up.
const CALL_CPU_MS: RangeInclusive<i64> = 1..=60_000;
/// Milliseconds from a persistence call to its answer, the disk's part included. Ten minutes is no disk.
const CALL_WALL_MS: RangeInclusive<i64> = 10..=600_000;
/// Milliseconds until a gateway's response begins. Ten minutes is where a client has long given up.
const RESPONSE_WALL_MS: RangeInclusive<i64> = 10..=600_000;
/// MiB per instance: what the engine's pool has room for.
const MEMORY_MIB: RangeInclusive<i64> = 1..=(MEMORY_BYTES_MAX >> 20) as i64;
/// MiB of the disk that are kept free: a journal has 64, and a tebibyte is no reserve any more.
const DISK_RESERVE_MIB: RangeInclusive<i64> = 64..=1 << 20;
/// Calls that wait for an instance: each may hold a request of 4 MiB.
const MAILBOX: RangeInclusive<i64> = 1..=65_536;
/// Gateway instances of a worker: each holds its memory for as long as its request lives.
const GATEWAY_INSTANCES: RangeInclusive<i64> = 1..=4_096;
/// Names of one list: each is written by hand.
const NAMES_MAX: usize = 64;
/// Settings of one component: they are handed over as one list.
const SETTINGS_MAX: usize = 256;
/// A setting's value, in bytes: larger data belongs in a file.
const SETTING_BYTES_MAX: usize = 64 << 10;

/// Why a configuration cannot be used. Its text is complete: where, what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    /// Line and column, from 1, and the text of the line; none when the file could not be read at all.
    place: Option<(usize, usize, String)>,
    message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        let Some((line, column, text)) = &self.place else {
            return write!(f, "{file}: {}", self.message);
        };
        let gutter = " ".repeat(line.to_string().len());
        write!(f, "{file}:{line}:{column}: {}\n{gutter} |\n{line} | {text}\n", self.message)?;
        write!(f, "{gutter} | {}^", " ".repeat(column - 1))
    }
}

impl std::error::Error for ConfigError {}

/// A rule that a text breaks, and the bytes of the text that break it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    span: Range<usize>,
    message: String,
}

impl Fault {
    fn at<T>(value: &Spanned<T>, message: impl Into<String>) -> Fault {
        Fault { span: value.span(), message: message.into() }
    }

    /// The error as the operator sees it: the span as line and column of `text`.
    pub(super) fn in_file(self, file: &Path, text: &str) -> ConfigError {
        let place = line_and_column(text, self.span.start);
        ConfigError { file: file.to_owned(), place: Some(place), message: self.message }
    }
}

/// The text of a configuration file.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let fail = |message: String| ConfigError { file: path.to_owned(), place: None, message };
    let file = std::fs::File::open(path)
        .map_err(|error| fail(format!("cannot be opened ({error}); give --config a readable file")))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(format!("cannot be read ({error}); give --config a readable file")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fail(format!("is larger than {FILE_BYTES_MAX} bytes; is it a configuration file?")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        fail(format!("is not UTF-8 at byte {offset}; save it as UTF-8"))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    data: Option<Spanned<Value>>,
    listen: Option<Spanned<Value>>,
    allowed_hosts: Option<Spanned<Value>>,
    allowed_origins: Option<Spanned<Value>>,
    store: Option<Spanned<Vec<Spanned<RawStore>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStore {
    name: Option<Spanned<Value>>,
    gateway_pool_size: Option<Spanned<Value>>,
    writers: Option<Spanned<Value>>,
    readers: Option<Spanned<Value>>,
    snapshot_workers: Option<Spanned<Value>>,
    disk_reserve_mib: Option<Spanned<Value>>,
    pubsub: Option<Spanned<Value>>,
    #[serde(default)]
    components: RawComponents,
    #[serde(default)]
    settings: RawSettings,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawComponents {
    streams: Option<Spanned<Value>>,
    snapshots: Option<Spanned<Value>>,
    gateway: Option<Spanned<Value>>,
}

type RawSettingTable = BTreeMap<Spanned<String>, Spanned<Value>>;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    #[serde(default)]
    streams: RawSettingTable,
    #[serde(default)]
    snapshots: RawSettingTable,
    #[serde(default)]
    gateway: RawSettingTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    call_cpu_ms: Option<Spanned<Value>>,
    call_wall_ms: Option<Spanned<Value>>,
    memory_mib: Option<Spanned<Value>>,
    mailbox: Option<Spanned<Value>>,
    response_wall_ms: Option<Spanned<Value>>,
    gateway_instances_per_worker: Option<Spanned<Value>>,
    #[serde(default)]
    streams: RawPersistenceLimits,
    #[serde(default)]
    snapshots: RawPersistenceLimits,
    #[serde(default)]
    gateway: RawGatewayLimits,
}

/// Limits of one persistence component, where they differ from the store's.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawPersistenceLimits {
    call_cpu_ms: Option<Spanned<Value>>,
    call_wall_ms: Option<Spanned<Value>>,
    memory_mib: Option<Spanned<Value>>,
    mailbox: Option<Spanned<Value>>,
}

/// Limits of the gateway, where they differ from the store's.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawGatewayLimits {
    call_cpu_ms: Option<Spanned<Value>>,
    response_wall_ms: Option<Spanned<Value>>,
    memory_mib: Option<Spanned<Value>>,
}

/// A configuration file's text, and where it lies.
#[derive(Clone, Copy)]
struct Text<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Text<'_> {
    /// A path of the file, which is relative to the file's folder.
    fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let (line, column, _) = line_and_column(self.text, span.start);
        Place { file: self.file.to_owned(), line, column }
    }
}

/// Line and column, from 1, of a byte of a text, and the text of the line.
fn line_and_column(text: &str, at: usize) -> (usize, usize, String) {
    let start = text.floor_char_boundary(at.min(text.len()));
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = text[line_start..start].chars().count() + 1;
    (line, column, text[line_start..].lines().next().unwrap_or("").to_owned())
}

/// The configuration that the text of `file` describes. Component files are looked at when they are loaded, so that one
/// that is missing keeps its store from starting, and no other.
pub(super) fn parse(text: &str, file: &Path) -> Result<Config, Fault> {
    let source = Text { file, text };
    let raw: RawConfig = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        if has_one_store(text) {
            let message = "store is one table; write [[store]], in two brackets, for each store";
            return Fault { span, message: message.to_owned() };
        }
        Fault { span, message: error.message().replace('\n', "; ") }
    })?;
    let defaults = Config::default();
    let data = match &raw.data {
        None => defaults.data,
        Some(value) => source.resolve(string("data", "a directory such as \"./exesdb-data\"", value)?),
    };
    let listen = match &raw.listen {
        None => defaults.listen,
        Some(value) => {
            let right = "an address and a port such as \"127.0.0.1:2113\"";
            let text = string("listen", right, value)?;
            parse_listen(text).map_err(|why| Fault::at(value, format!("listen is \"{text}\"; {why}")))?
        }
    };
    let stores = match &raw.store {
        None => defaults.stores,
        Some(stores) => parse_stores(stores, source)?,
    };
    let allowed_hosts = names("allowed_hosts", &raw.allowed_hosts, web::HOST, web::host)?;
    let allowed_origins = names("allowed_origins", &raw.allowed_origins, web::ORIGIN, web::origin)?;
    Ok(Config { data, listen, allowed_hosts, allowed_origins, stores })
}

/// Whether the text has `[store]` where each store is a `[[store]]`.
fn has_one_store(text: &str) -> bool {
    text.parse::<toml::Table>().is_ok_and(|table| table.get("store").is_some_and(Value::is_table))
}

fn parse_stores(raw: &Spanned<Vec<Spanned<RawStore>>>, text: Text<'_>) -> Result<Vec<StoreConfig>, Fault> {
    let tables = raw.get_ref();
    if tables.is_empty() {
        return Err(Fault::at(raw, "store is empty; write at least one [[store]] table, or leave it out"));
    }
    if tables.len() > STORES_MAX {
        let message = format!("there are {} stores; at most {STORES_MAX} fit one process", tables.len());
        return Err(Fault::at(&tables[STORES_MAX], message));
    }
    let mut stores: Vec<StoreConfig> = Vec::with_capacity(tables.len());
    let mut instances = 0;
    for table in tables {
        let store = parse_store(table, text)?;
        instances += store.instances();
        if instances > INSTANCES_MAX {
            let message = format!(
                "with this store there may be {instances} component instances at a time; at most {INSTANCES_MAX} fit one process: lower gateway_instances_per_worker or a pool"
            );
            return Err(Fault::at(table, message));
        }
        if stores.iter().any(|earlier| earlier.name == store.name) {
            let message =
                format!("name is \"{}\", which an earlier store has; names must differ", store.name);
            let span = table.get_ref().name.as_ref().map_or(table.span(), Spanned::span);
            return Err(Fault { span, message });
        }
        stores.push(store);
    }
    Ok(stores)
}

fn parse_store(table: &Spanned<RawStore>, text: Text<'_>) -> Result<StoreConfig, Fault> {
    let raw = table.get_ref();
    let Some(name) = &raw.name else {
        return Err(Fault::at(table, "the store has no name; add a line such as name = \"main\""));
    };
    let mut store = StoreConfig::named(store_name(name)?);
    pool_size("gateway_pool_size", &raw.gateway_pool_size, &mut store.gateway_pool_size)?;
    pool_size("writers", &raw.writers, &mut store.writers)?;
    pool_size("readers", &raw.readers, &mut store.readers)?;
    pool_size("snapshot_workers", &raw.snapshot_workers, &mut store.snapshot_workers)?;
    if let Some(value) = &raw.disk_reserve_mib {
        let reserve = integer("disk_reserve_mib", DISK_RESERVE_MIB, value)?;
        store.disk_reserve_mib = u32::try_from(reserve).expect("DISK_RESERVE_MIB lies within u32");
    }
    if let Some(value) = &raw.pubsub {
        store.pubsub = match value.get_ref() {
            Value::Boolean(pubsub) => *pubsub,
            other => return Err(Fault::at(value, wrong("pubsub", other, "true or false"))),
        };
    }
    (store.components, store.component_places) = parse_components(&raw.components, text)?;
    store.limits = parse_limits(&raw.limits)?;
    store.component_limits = parse_component_limits(&raw.limits, &store.limits)?;
    store.limit_places = limit_places(&raw.limits, text);
    let settings = &raw.settings;
    let by_component =
        [("streams", &settings.streams), ("snapshots", &settings.snapshots), ("gateway", &settings.gateway)];
    for (component, table) in by_component {
        if !table.is_empty() {
            store.settings.insert(component.to_owned(), parse_settings(component, table, text)?);
        }
    }
    Ok(store)
}

fn parse_components(
    raw: &RawComponents,
    text: Text<'_>,
) -> Result<(Components, BTreeMap<String, Place>), Fault> {
    let mut places = BTreeMap::new();
    let mut source = |key: &str, value: &Option<Spanned<Value>>, default: ComponentSource| {
        let Some(value) = value else { return Ok(default) };
        let ComponentSource::Builtin(builtin) = default else {
            unreachable!("every default component is built in")
        };
        places.insert(key.to_owned(), text.place(&value.span()));
        let right = format!("\"builtin:{builtin}\" or the path of a component file");
        let given = string(key, &right, value)?;
        match given.strip_prefix("builtin:") {
            Some(name) if name == builtin => Ok(ComponentSource::Builtin(builtin)),
            None if !given.is_empty() => Ok(ComponentSource::File(text.resolve(given))),
            _ => Err(Fault::at(value, format!("{key} is \"{given}\"; it must be {right}"))),
        }
    };
    let defaults = Components::default();
    let components = Components {
        streams: source("streams", &raw.streams, defaults.streams)?,
        snapshots: source("snapshots", &raw.snapshots, defaults.snapshots)?,
        gateway: source("gateway", &raw.gateway, defaults.gateway)?,
    };
    Ok((components, places))
}

fn parse_limits(raw: &RawLimits) -> Result<Limits, Fault> {
    let mut limits = Limits::default();
    limit("call_cpu_ms", &raw.call_cpu_ms, CALL_CPU_MS, &mut limits.call_cpu_ms)?;
    limit("call_wall_ms", &raw.call_wall_ms, CALL_WALL_MS, &mut limits.call_wall_ms)?;
    limit("response_wall_ms", &raw.response_wall_ms, RESPONSE_WALL_MS, &mut limits.response_wall_ms)?;
    limit("memory_mib", &raw.memory_mib, MEMORY_MIB, &mut limits.memory_mib)?;
    limit("mailbox", &raw.mailbox, MAILBOX, &mut limits.mailbox)?;
    limit(
        "gateway_instances_per_worker",
        &raw.gateway_instances_per_worker,
        GATEWAY_INSTANCES,
        &mut limits.gateway_instances_per_worker,
    )?;
    Ok(limits)
}

/// The limits of each component: the store's, but for what the component's own table says.
fn parse_component_limits(raw: &RawLimits, store: &Limits) -> Result<BTreeMap<String, Limits>, Fault> {
    let mut found = BTreeMap::new();
    for (component, table) in [("streams", &raw.streams), ("snapshots", &raw.snapshots)] {
        let mut limits = *store;
        limit("call_cpu_ms", &table.call_cpu_ms, CALL_CPU_MS, &mut limits.call_cpu_ms)?;
        limit("call_wall_ms", &table.call_wall_ms, CALL_WALL_MS, &mut limits.call_wall_ms)?;
        limit("memory_mib", &table.memory_mib, MEMORY_MIB, &mut limits.memory_mib)?;
        limit("mailbox", &table.mailbox, MAILBOX, &mut limits.mailbox)?;
        found.insert(component.to_owned(), limits);
    }
    let mut limits = *store;
    limit("call_cpu_ms", &raw.gateway.call_cpu_ms, CALL_CPU_MS, &mut limits.call_cpu_ms)?;
    limit("response_wall_ms", &raw.gateway.response_wall_ms, RESPONSE_WALL_MS, &mut limits.response_wall_ms)?;
    limit("memory_mib", &raw.gateway.memory_mib, MEMORY_MIB, &mut limits.memory_mib)?;
    found.insert("gateway".to_owned(), limits);
    found.retain(|_, limits| limits != store);
    Ok(found)
}

/// Where the file sets those limits that can keep a component from starting.
fn limit_places(raw: &RawLimits, text: Text<'_>) -> BTreeMap<(&'static str, &'static str), Place> {
    let RawLimits { streams, snapshots, gateway, .. } = raw;
    let set = [
        ("", "memory_mib", &raw.memory_mib),
        ("", "call_cpu_ms", &raw.call_cpu_ms),
        ("", "call_wall_ms", &raw.call_wall_ms),
        ("streams", "memory_mib", &streams.memory_mib),
        ("streams", "call_cpu_ms", &streams.call_cpu_ms),
        ("streams", "call_wall_ms", &streams.call_wall_ms),
        ("snapshots", "memory_mib", &snapshots.memory_mib),
        ("snapshots", "call_cpu_ms", &snapshots.call_cpu_ms),
        ("snapshots", "call_wall_ms", &snapshots.call_wall_ms),
        ("gateway", "memory_mib", &gateway.memory_mib),
        ("gateway", "call_cpu_ms", &gateway.call_cpu_ms),
    ];
    let place = |(component, key, value): (&'static str, &'static str, &Option<Spanned<Value>>)| {
        Some(((component, key), text.place(&value.as_ref()?.span())))
    };
    set.into_iter().filter_map(place).collect()
}

fn limit(
    key: &str,
    value: &Option<Spanned<Value>>,
    range: RangeInclusive<i64>,
    field: &mut u32,
) -> Result<(), Fault> {
    if let Some(value) = value {
        *field = u32::try_from(integer(key, range, value)?).expect("limit ranges lie within u32");
    }
    Ok(())
}

/// The settings that the file has for a component. Whether the component has such settings shows when it is loaded.
fn parse_settings(
    component: &str,
    table: &RawSettingTable,
    text: Text<'_>,
) -> Result<BTreeMap<String, Setting>, Fault> {
    let mut settings = BTreeMap::new();
    for (key, value) in table {
        if settings.len() == SETTINGS_MAX {
            let message =
                format!("{component} has more than {SETTINGS_MAX} settings; put them into fewer keys");
            return Err(Fault::at(key, message));
        }
        let given = match value.get_ref() {
            Value::String(text) if text.len() > SETTING_BYTES_MAX => {
                let (key, bytes) = (key.get_ref(), text.len());
                let message = format!("{key} has {bytes} bytes; at most {SETTING_BYTES_MAX} fit a setting");
                return Err(Fault::at(value, message));
            }
            Value::String(text) => SettingValue::Text(text.clone()),
            Value::Boolean(flag) => SettingValue::Flag(*flag),
            Value::Integer(number) => SettingValue::Number(*number),
            other => {
                let right = "a string, a whole number, true or false";
                return Err(Fault::at(value, wrong(key.get_ref(), other, right)));
            }
        };
        let setting = Setting {
            value: given,
            key_place: text.place(&key.span()),
            value_place: text.place(&value.span()),
        };
        settings.insert(key.get_ref().clone(), setting);
    }
    Ok(settings)
}

/// A store's name, if it is one.
fn store_name(value: &Spanned<Value>) -> Result<&str, Fault> {
    let name = string("name", &right_name(), value)?;
    check_name(name).map_err(|message| Fault::at(value, message))?;
    Ok(name)
}

/// Whether a text is a store's name: 1 to 64 of `a-z 0-9 -`.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > STORE_NAME_BYTES_MAX || !name.bytes().all(allowed) {
        return Err(format!("name is {name:?}; it must be {}", right_name()));
    }
    Ok(())
}

fn right_name() -> String {
    format!("1 to {STORE_NAME_BYTES_MAX} characters of a-z, 0-9 and -")
}

fn pool_size(key: &str, value: &Option<Spanned<Value>>, field: &mut u16) -> Result<(), Fault> {
    if let Some(value) = value {
        *field = u16::try_from(integer(key, POOL_SIZE, value)?).expect("POOL_SIZE lies within u16");
    }
    Ok(())
}

fn integer(key: &str, range: RangeInclusive<i64>, value: &Spanned<Value>) -> Result<i64, Fault> {
    match value.get_ref() {
        Value::Integer(number) if range.contains(number) => Ok(*number),
        other => {
            let right = format!("a whole number from {} to {}", range.start(), range.end());
            Err(Fault::at(value, wrong(key, other, &right)))
        }
    }
}

fn string<'a>(key: &str, right: &str, value: &'a Spanned<Value>) -> Result<&'a str, Fault> {
    match value.get_ref() {
        Value::String(text) => Ok(text),
        other => Err(Fault::at(value, wrong(key, other, right))),
    }
}

/// A list of texts of one kind, which `read` brings into the form that they are compared in.
fn names(
    key: &str,
    value: &Option<Spanned<Value>>,
    right: &str,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Fault> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Value::Array(list) = value.get_ref() else {
        return Err(Fault::at(value, wrong(key, value.get_ref(), &format!("a list of texts, each {right}"))));
    };
    if list.len() > NAMES_MAX {
        return Err(Fault::at(value, format!("{key} has {} entries; at most {NAMES_MAX} fit", list.len())));
    }
    let one = |(index, item): (usize, &Value)| {
        let text = item.as_str().and_then(&read);
        text.ok_or_else(|| Fault::at(value, wrong(&format!("{key}[{index}]"), item, right)))
    };
    list.iter().enumerate().map(one).collect()
}

/// "`key` is this; it must be that", with tables and arrays named by their kind instead of printed.
fn wrong(key: &str, value: &Value, right: &str) -> String {
    let is = match value {
        Value::Table(_) => "a table".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::String(text) => format!("{text:?}"),
        scalar => scalar.to_string(),
    };
    format!("{key} is {is}; it must be {right}")
}

#[cfg(test)]
mod tests {
    use super::{ConfigError, FILE_BYTES_MAX, Fault, parse, read};
    use crate::config::{ComponentSource, Config, Limits, Place, StoreConfig};
    use exesdb_plugin::SettingValue;
    use std::path::{Path, PathBuf};

    fn parsed(text: &str) -> Result<Config, ConfigError> {
        parse(text, Path::new("etc/exesdb.toml"))
            .map_err(|fault: Fault| fault.in_file(Path::new("exesdb.toml"), text))
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parsed("").unwrap(), Config::default());
    }

    #[test]
    fn every_key_reaches_its_field() {
        let config = parsed(
            r#"
            data = "var"
            listen = "[::1]:80"
            allowed_hosts = ["DB.example.org", "10.0.0.1"]
            allowed_origins = ["https://app.example.org", "HTTP://LocalHost:3000"]
            [[store]]
            name = "a-1"
            gateway_pool_size = 5
            writers = 6
            readers = 7
            snapshot_workers = 8
            disk_reserve_mib = 64
            pubsub = false
            [store.components]
            streams = "there.wasm"
            snapshots = "builtin:snapshots"
            gateway = "/there.wasm"
            [store.settings.streams]
            key = "value"
            index-correlation = true
            n = -7
            [store.limits]
            call_cpu_ms = 9
            memory_mib = 10
            mailbox = 11
            gateway_instances_per_worker = 12
            response_wall_ms = 13
            [store.limits.gateway]
            memory_mib = 14
            response_wall_ms = 15
            [store.limits.snapshots]
            call_cpu_ms = 16
            call_wall_ms = 17
            mailbox = 18
            [[store]]
            name = "b"
            "#,
        )
        .unwrap();
        assert_eq!(config.data, Path::new("etc/var"));
        assert_eq!(config.listen, "[::1]:80".parse().unwrap());
        assert_eq!(config.allowed_hosts, ["db.example.org", "10.0.0.1"]);
        assert_eq!(config.allowed_origins, ["https://app.example.org", "http://localhost:3000"]);
        let store = &config.stores[0];
        let pools = [store.gateway_pool_size, store.writers, store.readers, store.snapshot_workers];
        assert_eq!((store.name.as_str(), pools, store.pubsub), ("a-1", [5, 6, 7, 8], false));
        assert_eq!(store.disk_reserve_mib, 64);
        assert_eq!(store.components.streams, ComponentSource::File(PathBuf::from("etc/there.wasm")));
        assert_eq!(store.components.snapshots, ComponentSource::Builtin("snapshots".to_owned()));
        assert_eq!(store.components.gateway, ComponentSource::File(PathBuf::from("/there.wasm")));
        let setting = |key: &str| &store.settings["streams"][key].value;
        assert_eq!(setting("key"), &SettingValue::Text("value".to_owned()));
        assert_eq!(setting("index-correlation"), &SettingValue::Flag(true));
        assert_eq!(setting("n"), &SettingValue::Number(-7));
        let place = |place: &Place| (place.file.display().to_string(), place.line, place.column);
        let file = || "etc/exesdb.toml".to_owned();
        let flag = &store.settings["streams"]["index-correlation"];
        assert_eq!(place(&flag.key_place), (file(), 20, 13));
        assert_eq!(place(&flag.value_place), (file(), 20, 33));
        assert_eq!(place(&store.component_places["streams"]), (file(), 15, 23));
        let limit = |component, key| store.limit_place(component, key).map(place);
        assert_eq!(limit("gateway", "memory_mib"), Some((file(), 29, 26)));
        assert_eq!(limit("streams", "memory_mib"), Some((file(), 24, 26)));
        assert_eq!(limit("streams", "call_wall_ms"), None);
        let limits = store.limits;
        assert_eq!((limits.call_cpu_ms, limits.memory_mib), (9, 10));
        assert_eq!((limits.mailbox, limits.gateway_instances_per_worker), (11, 12));
        assert_eq!(limits.response_wall_ms, 13);
        let gateway = Limits { memory_mib: 14, response_wall_ms: 15, ..limits };
        assert_eq!(store.limits_of("gateway"), &gateway);
        let snapshots = Limits { call_cpu_ms: 16, call_wall_ms: 17, mailbox: 18, ..limits };
        assert_eq!(store.limits_of("snapshots"), &snapshots);
        assert_eq!(store.limits_of("streams"), &limits);
        assert_eq!(config.stores[1], StoreConfig::named("b"));
    }

    #[test]
    fn errors_say_where_what_and_what_would_be_right() {
        let named = |rest: &str| format!("[[store]]\nname = \"a\"\n{rest}");
        let long = "x".repeat(65);
        let cases = [
            ("data = 3".to_owned(), "1:8: data is 3; it must be a directory"),
            ("listen = \"localhost\"".to_owned(), "1:10: listen is \"localhost\"; it must be an address"),
            ("allowed_hosts = 1".to_owned(), "1:17: allowed_hosts is 1; it must be a list of texts, each"),
            (
                "allowed_hosts = [\"a\", \"a:80\"]".to_owned(),
                "1:17: allowed_hosts[1] is \"a:80\"; it must be a name or address without a port",
            ),
            (
                "allowed_origins = [\"*\"]".to_owned(),
                "1:19: allowed_origins[0] is \"*\"; it must be an origin such as",
            ),
            ("\nlistne = 1".to_owned(), "2:1: unknown field `listne`, expected one of"),
            ("data = ".to_owned(), "1:8: "),
            ("store = []".to_owned(), "1:9: store is empty"),
            ("store = 1".to_owned(), "1:9: invalid type: integer `1`"),
            ("[store]\nname = \"a\"".to_owned(), "1:1: store is one table; write [[store]]"),
            ("[store.limits]\nmemory_mib = 1".to_owned(), "1:2: store is one table; write [[store]]"),
            ("[[store]]\nwriters = 2".to_owned(), "1:1: the store has no name"),
            ("[[store]]\nname = \"\"".to_owned(), "2:8: name is \"\"; it must be 1 to 64"),
            ("[[store]]\nname = \"A\"".to_owned(), "2:8: name is \"A\"; it must be 1 to 64"),
            ("[[store]]\nname = \"../a\"".to_owned(), "2:8: name is \"../a\""),
            (format!("[[store]]\nname = \"{long}\""), "2:8: name is "),
            (named("[[store]]\nname = \"a\""), "4:8: name is \"a\", which an earlier store has"),
            (
                named("gateway_pool_size = 0"),
                "3:21: gateway_pool_size is 0; it must be a whole number from 1 to 64",
            ),
            (named("writers = \"three\""), "3:11: writers is \"three\"; it must be a whole number"),
            (named("readers = 1.5"), "3:11: readers is 1.5"),
            (named("snapshot_workers = [1]"), "3:20: snapshot_workers is an array"),
            (
                named("disk_reserve_mib = 63"),
                "3:20: disk_reserve_mib is 63; it must be a whole number from 64",
            ),
            (named("pubsub = \"yes\""), "3:10: pubsub is \"yes\"; it must be true or false"),
            (named("redaers = 1"), "3:1: unknown field `redaers`"),
            (named("[store.components]\nstream = \"x\""), "4:1: unknown field `stream`"),
            (
                named("[store.components]\nstreams = \"builtin:gateway-http\""),
                "4:11: streams is \"builtin:gateway-http\"; it must be \"builtin:streams\"",
            ),
            (
                named("[store.components]\ngateway = \"\""),
                "4:11: gateway is \"\"; it must be \"builtin:gateway-http\" or",
            ),
            (named("[store.settings.stream]\na = \"b\""), "3:17: unknown field `stream`"),
            (
                named("[store.settings.streams]\na = 1.5"),
                "4:5: a is 1.5; it must be a string, a whole number, true or false",
            ),
            (named("[store.settings.streams]\na = [true]"), "4:5: a is an array"),
            (
                named("[store.limits]\ncall_cpu_ms = -1"),
                "4:15: call_cpu_ms is -1; it must be a whole number from 1",
            ),
            (
                named("gateway_pool_size = 64\n[store.limits]\ngateway_instances_per_worker = 1000"),
                "1:1: with this store there may be 64008",
            ),
            (named("[store.limits]\ncall_wall_ms = 1"), "4:16: call_wall_ms is 1"),
            (named("[store.limits]\nmemory_mib = 1025"), "4:14: memory_mib is 1025"),
            (named("[store.limits]\nmailbox = {}"), "4:11: mailbox is a table"),
            (named("[store.limits.gateway]\nmailbox = 1"), "4:1: unknown field `mailbox`, expected one of"),
            (named("[store.limits.streams]\nmemory_mib = 0"), "4:14: memory_mib is 0; it must be"),
            (named("[store.limits]\nmemory_mb = 1"), "4:1: unknown field `memory_mb`"),
            ("# ä\n[[store]]\n\"ä\" = 1".to_owned(), "3:1: unknown field `ä`"),
        ];
        for (text, expected) in cases {
            let error = parsed(&text).expect_err(&text).to_string();
            assert!(
                error.starts_with(&format!("exesdb.toml:{expected}")),
                "{text}\n{error}\nexpected {expected}"
            );
        }
    }

    #[test]
    fn an_error_shows_the_line() {
        let error = parsed("[[store]]\nname = \"a\"\nwriters = 0").unwrap_err().to_string();
        assert!(error.ends_with("\n  |\n3 | writers = 0\n  |           ^"), "{error}");
    }

    #[test]
    fn unreadable_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.toml");
        assert!(read(&missing).unwrap_err().to_string().contains("missing.toml: cannot be opened"));
        let binary = folder.path().join("binary.toml");
        std::fs::write(&binary, [b'a', 0xff]).unwrap();
        assert!(read(&binary).unwrap_err().to_string().contains("not UTF-8 at byte 1"));
        let large = folder.path().join("large.toml");
        std::fs::write(&large, vec![b'#'; usize::try_from(FILE_BYTES_MAX).unwrap() + 1]).unwrap();
        assert!(read(&large).unwrap_err().to_string().contains("is larger than"));
    }
}
