//! The configuration that a file describes.
//!
//! [`super::schema`] has the keys, and `docs/configuration.md` shows the format. Every value is read with its place in
//! the text, so that an error can point at it. Tables refuse unknown keys.

mod cluster;
mod settings;
mod sinks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use self::cluster::parse_cluster;
use self::settings::parse_settings;
use self::sinks::parse_sinks;
use super::listen::parse_listen;
use super::model::{ComponentSource, Components, Config, Limits, StoreConfig};
use super::schema::{self, STORE_INSTANCES_MAX, STORES_MAX};
use super::source::{self, ConfigError, Place, SourceText, Violation};
use super::table::{Table, Value};
use super::web;

impl Config {
    /// Reads and checks a configuration file. Relative paths in it are relative to its directory.
    ///
    /// # Errors
    ///
    /// Name the file, line and column, what is wrong and what would be right.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = source::read(path)?;
        let source = SourceText { file: path, text: &text };
        parse(source).map_err(|violation| source.error(violation))
    }
}

/// Component files are not looked at: one that is missing keeps its store from starting, and no other.
pub(super) fn parse(source: SourceText<'_>) -> Result<Config, Violation> {
    let document = DeTable::parse(source.text).map_err(|error| Violation {
        span: error.span().unwrap_or(0..0),
        message: error.message().replace('\n', "; "),
    })?;
    let table = Table::top(&document, source)?;
    let mut config = Config::default();
    if let Some(data) = table.text(&schema::DATA)? {
        config.data = source.resolve(data);
    }
    if let Some(text) = table.text(&schema::LISTEN)? {
        config.listen = parse_listen(text).map_err(|why| {
            Violation::at(table.get("listen").expect("it was read"), format!("listen is \"{text}\"; {why}"))
        })?;
    }
    config.allowed_hosts = table.names(&schema::ALLOWED_HOSTS, web::host)?;
    config.allowed_origins = table.names(&schema::ALLOWED_ORIGINS, web::origin)?;
    if let Some(stores) = table.get(schema::STORE) {
        config.stores = parse_stores(&table, stores)?;
        config.store_place = table.place(schema::STORE);
    }
    if let Some(cluster) = table.table(schema::CLUSTER)? {
        config.cluster = Some(parse_cluster(&cluster.check_keys(&schema::CLUSTER_TABLE)?)?);
    }
    Ok(config)
}

fn parse_stores<'a>(top: &Table<'a>, value: &'a Value<'a>) -> Result<Vec<StoreConfig>, Violation> {
    let tables = match value.get_ref() {
        DeValue::Array(tables) => tables,
        DeValue::Table(_) => {
            let message = "store is one table; write [[store]], in two brackets, for each store";
            return Err(Violation::at(value, message));
        }
        _ => {
            let is = &top.source.text[value.span()];
            return Err(Violation::at(value, format!("store is {is}; write [[store]] for each store")));
        }
    };
    if tables.is_empty() {
        let message = "store is empty; write at least one [[store]] table, or leave it out";
        return Err(Violation::at(value, message));
    }
    if tables.len() > STORES_MAX {
        let message = format!("there are {} stores; at most {STORES_MAX} fit one process", tables.len());
        return Err(Violation::at(&tables[STORES_MAX], message));
    }
    let mut stores: Vec<StoreConfig> = Vec::with_capacity(tables.len());
    let mut instances = 0;
    let mut directories = Vec::new();
    for value in tables.iter() {
        let table = top.inner(schema::STORE, value)?.check_keys(&schema::STORE_TABLE)?;
        let store = parse_store(&table, &mut directories)?;
        instances += store.instances();
        if instances > STORE_INSTANCES_MAX {
            return Err(table.violation(format!(
                "with this store there may be {instances} component instances at a time; at most \
                 {STORE_INSTANCES_MAX} fit one process: lower gateway_instances_per_worker or a pool"
            )));
        }
        if stores.iter().any(|earlier| earlier.name == store.name) {
            let message =
                format!("name is \"{}\", which an earlier store has; names must differ", store.name);
            return Err(Violation::at(table.get(schema::NAME.name).unwrap_or(value), message));
        }
        stores.push(store);
    }
    Ok(stores)
}

fn parse_store(table: &Table<'_>, directories: &mut Vec<PathBuf>) -> Result<StoreConfig, Violation> {
    let Some(name) = table.text(&schema::NAME)? else {
        return Err(table.violation("the store has no name; add a line such as name = \"main\""));
    };
    schema::check_name(name)
        .map_err(|message| Violation::at(table.get(schema::NAME.name).expect("it was read"), message))?;
    let mut store = StoreConfig::named(name);
    for (key, field) in [
        (&schema::GATEWAY_POOL_SIZE, &mut store.gateway_pool_size),
        (&schema::WRITERS, &mut store.writers),
        (&schema::READERS, &mut store.readers),
        (&schema::SNAPSHOT_WORKERS, &mut store.snapshot_workers),
        (&schema::SUBSCRIPTION_WORKERS, &mut store.subscription_workers),
        (&schema::EMITTER_POOL_SIZE, &mut store.emitter_pool_size),
        (&schema::SUBSCRIPTIONS_MAX, &mut store.subscriptions_max),
        (&schema::DISK_RESERVE_MIB, &mut store.disk_reserve_mib),
    ] {
        if let Some(number) = table.number(key)? {
            *field = number;
        }
    }
    if let Some(pubsub) = table.flag(&schema::PUBSUB)? {
        store.pubsub = pubsub;
    }
    if let Some(components) = table.table(schema::COMPONENTS)? {
        parse_components(&components.check_keys(&schema::COMPONENTS_TABLE)?, &mut store)?;
    }
    if let Some(limits) = table.table(schema::LIMITS)? {
        parse_limits(&limits.check_keys(&schema::LIMITS_TABLE)?, &mut store)?;
    }
    if let Some(settings) = table.table(schema::SETTINGS)? {
        let settings = settings.check_keys(&schema::SETTINGS_TABLE)?;
        for role in schema::ROLES {
            if let Some(table) = settings.table(role)? {
                store.settings.insert(role.to_owned(), parse_settings(role, &table)?);
            }
        }
    }
    if let Some(sinks) = table.table(schema::SINKS)? {
        store.sinks = parse_sinks(&sinks, directories)?;
    }
    Ok(store)
}

fn parse_components(table: &Table<'_>, store: &mut StoreConfig) -> Result<(), Violation> {
    let Components { streams, snapshots, subscriptions, gateway } = &mut store.components;
    let places = [
        (&schema::STREAMS, streams),
        (&schema::SNAPSHOTS, snapshots),
        (&schema::SUBSCRIPTIONS, subscriptions),
        (&schema::GATEWAY, gateway),
    ];
    for (key, component) in places {
        let Some(value) = table.get(key.name) else { continue };
        let expected = format!("\"builtin:{}\" or the path of a component file", key.builtin);
        let given = table.source.string(key.name, value, &expected)?;
        match given.strip_prefix("builtin:") {
            Some(builtin) if builtin == key.builtin => {}
            None if !given.is_empty() => *component = ComponentSource::File(table.source.resolve(given)),
            _ => return Err(table.source.wrong(key.name, value, &expected)),
        }
        store.component_places.insert(key.name.to_owned(), table.source.place(&value.span()));
    }
    Ok(())
}

/// The store's limits, and those of each component: the store's, unless the component's own table says otherwise.
fn parse_limits(table: &Table<'_>, store: &mut StoreConfig) -> Result<(), Violation> {
    let places = &mut store.limit_places;
    set_limits(table, "", &mut store.limits, places)?;
    for (role, schema) in schema::LIMITED.into_iter().zip(&schema::COMPONENT_LIMITS) {
        let Some(own) = table.table(role)? else { continue };
        let mut limits = store.limits;
        set_limits(&own.check_keys(schema)?, role, &mut limits, places)?;
        if limits != store.limits {
            store.component_limits.insert(role.to_owned(), limits);
        }
    }
    Ok(())
}

fn set_limits(
    table: &Table<'_>,
    role: &'static str,
    limits: &mut Limits,
    places: &mut BTreeMap<(&'static str, &'static str), Place>,
) -> Result<(), Violation> {
    for (key, field) in Limits::FIELDS {
        let (Some(limit), Some(place)) = (table.number(key)?, table.place(key.name)) else { continue };
        *field(limits) = limit;
        places.insert((role, key.name), place);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::config::model::{ComponentSource, Config, Limits, StoreConfig};
    use crate::config::source::{ConfigError, Place, SourceText};
    use exesdb_plugin::{Grants, SettingValue};
    use std::path::{Path, PathBuf};

    fn parsed(text: &str) -> Result<Config, ConfigError> {
        let source = |file| SourceText { file: Path::new(file), text };
        parse(source("etc/exesdb.toml")).map_err(|violation| source("exesdb.toml").error(violation))
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parsed("").unwrap(), Config::default());
    }

    #[test]
    fn every_key_sets_its_field() {
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
            [store.limits.sink]
            memory_mib = 19
            [store.sinks.s-1]
            component = "builtin:webhook"
            subscription = "a b"
            batch_events = 20
            allowed_hosts = ["Hooks.example.org", "[::1]:8080"]
            directory = "there"
            [store.sinks.s-1.settings]
            url = "http://a"
            [store.sinks.t]
            component = "there.wasm"
            subscription = "c"
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
        assert_eq!(store.limits_of("sink"), &Limits { memory_mib: 19, ..limits });
        let sink = &store.sinks["s-1"];
        assert_eq!(sink.component, ComponentSource::Builtin("webhook".to_owned()));
        assert_eq!((sink.subscription.as_str(), sink.batch_events), ("a b", 20));
        let hosts: Vec<String> = sink.grants.allowed_hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["hooks.example.org", "[::1]:8080"]);
        assert_eq!(sink.grants.directory.as_deref(), Some(Path::new("etc/there")));
        assert_eq!(sink.settings["url"].value, SettingValue::Text("http://a".to_owned()));
        assert_eq!(place(&sink.component_place).1, 38);
        let other = &store.sinks["t"];
        assert_eq!(other.component, ComponentSource::File(PathBuf::from("etc/there.wasm")));
        assert_eq!((other.batch_events, &other.grants), (100, &Grants::default()));
        assert_eq!(config.stores[1], StoreConfig::named("b"));
    }

    #[test]
    fn errors_have_the_place_the_mistake_and_what_is_expected() {
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
            ("store = 1".to_owned(), "1:9: store is 1; write [[store]]"),
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
            (named("settings = 1"), "3:12: settings is 1; it must be a table"),
            ("store = [1]".to_owned(), "1:10: store is 1; it must be a table"),
            (named("writers = 0x41"), "3:11: writers is 0x41; it must be a whole number from 1 to 64"),
            (
                named("writers = 99999999999999999999"),
                "3:11: writers is 99999999999999999999; it must be a whole number from 1 to 64",
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
                "1:1: with this store there may be 64106",
            ),
            (named("[store.limits]\ncall_wall_ms = 1"), "4:16: call_wall_ms is 1"),
            (named("[store.limits]\nmemory_mib = 1025"), "4:14: memory_mib is 1025"),
            (named("[store.limits]\nmailbox = {}"), "4:11: mailbox is a table"),
            (named("[store.limits.gateway]\nmailbox = 1"), "4:1: unknown field `mailbox`, expected one of"),
            (named("[store.limits.streams]\nmemory_mib = 0"), "4:14: memory_mib is 0; it must be"),
            (named("[store.limits]\nmemory_mb = 1"), "4:1: unknown field `memory_mb`"),
            (named("sinks = 1"), "3:9: sinks is 1; it must be a table"),
            (named("[store.sinks.A]"), "3:14: the sink's name is \"A\"; it must be 1 to 64"),
            (named("[store.sinks.a]"), "3:1: the sink has no component; it must be \"builtin:webhook\""),
            (
                named("[store.sinks.a]\ncomponent = \"builtin:streams\""),
                "4:13: component is \"builtin:streams\"; it must be \"builtin:webhook\", \"builtin:ndjson-file\" or",
            ),
            (named("[store.sinks.a]\ncomponent = \"webhook\""), "4:13: component is \"webhook\"; it must be"),
            (
                named("[store.sinks.a]\ncomponent = \"x.wasm\""),
                "3:1: the sink has no subscription; it must be the name of a durable subscription",
            ),
            (
                named("[store.sinks.a]\ncomponent = \"x.wasm\"\nsubscription = \"\""),
                "5:16: subscription is \"\"; it must be the name",
            ),
            (
                named(
                    "[store.sinks.a]\ncomponent = \"x.wasm\"\nsubscription = \"s\"\nallowed_hosts = [\"http://a\"]",
                ),
                "6:17: allowed_hosts[0] is \"http://a\"; it must be a host such as",
            ),
            (
                named("[store.sinks.a]\ncomponent = \"x.wasm\"\nsubscription = \"s\"\nbatch_events = 1001"),
                "6:16: batch_events is 1001; it must be a whole number from 1 to 1000",
            ),
            (
                named(
                    "[store.sinks.a]\ncomponent = \"x.wasm\"\nsubscription = \"s\"\ndirectory = \"d/e\"\n\
                     [store.sinks.b]\ncomponent = \"x.wasm\"\nsubscription = \"s\"\ndirectory = \"./d/\"",
                ),
                "10:13: directory is \"./d/\", and another sink has that, or a part of it; give each sink",
            ),
            (named("[store.sinks.a]\nhosts = []"), "4:1: unknown field `hosts`, expected one of `component`"),
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
}
