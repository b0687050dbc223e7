//! The schema written down for people: the example in `exesdb serve --help`, and `docs/configuration.md`.

use std::fmt::Write as _;

use super::schema::{self, Key, Number, Table};

/// Where comments begin in the example, and where its lines end at the latest.
const COMMENT_COLUMN: usize = 34;
const LINE_CHARS_MAX: usize = 118;

/// Components declare their settings themselves: this is the one that a built-in component has.
const SETTINGS_EXAMPLE: [(&str, &str); 2] = [
    ("[store.settings.streams]", "A component declares its settings with their types and defaults."),
    (
        "index-correlation = false",
        "Whether events appended from now on are found by the `$correlationId` and `$causationId` in their metadata.",
    ),
];

/// Sinks, which a store has none of by default.
const SINKS_EXAMPLE: &str = r#"[[store]]
name = "main"

[store.sinks.billing]
component = "builtin:webhook"
subscription = "billing"          # exesdb subscription create billing --type paid
allowed_hosts = ["127.0.0.1:8080"]

[store.sinks.billing.settings]
url = "http://127.0.0.1:8080/paid"
secret = "not this one"

[store.sinks.audit]
component = "builtin:ndjson-file"
subscription = "audit"
directory = "./audit"

[store.sinks.audit.settings]
file = "audit.ndjson""#;

/// A node of a cluster, which a host is not by default.
const CLUSTER_EXAMPLE: &str = r#"[cluster]
name = "node-1"
listen = "0.0.0.0:2114"
advertise = "10.0.0.1:2114"
peers = ["10.0.0.2:2114", "10.0.0.3:2114"]
zone = "a""#;

/// A configuration file with every default.
pub fn example_file() -> String {
    let mut lines = Vec::new();
    for table in [&schema::TOP_TABLE, &schema::STORE_TABLE, &schema::COMPONENTS_TABLE] {
        push_table(&mut lines, table);
    }
    lines.push(String::new());
    for (text, comment) in SETTINGS_EXAMPLE {
        push_commented(&mut lines, text, comment);
    }
    push_table(&mut lines, &schema::LIMITS_TABLE);
    lines.push(String::new());
    push_commented(
        &mut lines,
        "[store.limits.gateway]",
        "What each instance of one component (streams, snapshots, subscriptions, gateway or sink) may use instead.",
    );
    lines.push(format!("{} = {}", schema::MEMORY_MIB.name, schema::MEMORY_MIB.default));
    lines.join("\n")
}

fn push_table(lines: &mut Vec<String>, table: &Table) {
    if !table.header.is_empty() {
        lines.push(String::new());
        push_commented(lines, table.header, table.meaning);
    }
    for key in table.keys {
        let comment = match key {
            Key::Number(number) => format!("{} From {}.", number.meaning, range(number)),
            // The comment of the table says it for all of them.
            Key::Component(_) => String::new(),
            _ => key.meaning().to_owned(),
        };
        push_commented(lines, &format!("{} = {}", key.name(), default(*key)), &comment);
    }
}

/// Adds a line with a comment, which may need more lines.
fn push_commented(lines: &mut Vec<String>, text: &str, comment: &str) {
    let mut line = text.to_owned();
    let mut is_first = true;
    for word in comment.split_whitespace() {
        if is_first || line.chars().count() + 1 + word.chars().count() > LINE_CHARS_MAX {
            if !is_first {
                lines.push(std::mem::take(&mut line));
            }
            line = format!("{line:COMMENT_COLUMN$}#");
            is_first = false;
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
}

/// A key's default, as it is written in the file.
fn default(key: Key) -> String {
    match key {
        Key::Text(key) => format!("{:?}", key.default),
        Key::Names(_) => "[]".to_owned(),
        Key::Number(key) => key.default.to_string(),
        Key::Flag(key) => key.default.to_string(),
        Key::Component(key) => format!("\"builtin:{}\"", key.builtin),
    }
}

fn range(number: &Number) -> String {
    let Number { min, max, unit, .. } = number;
    format!("{min} to {max} {unit}").trim_end().to_owned()
}

/// The text of `docs/configuration.md`.
pub fn page() -> String {
    let mut page = format!(
        "\
# Configuration

`exesdb serve --config FILE` (or `EXESDB_CONFIG`) reads a TOML file. Without one, the host serves one store, `{store}`, with every
default. A command line option or environment variable takes precedence over the file, and the file over the default.
An unknown key, a wrong type and a number out of range are errors with their line and column.

A file with every default:

```toml
{example}
```
",
        store = schema::DEFAULT_STORE,
        example = example_file(),
    );
    write!(page, "\n## {}\n\n", schema::TOP_TABLE.meaning).expect("a String takes all");
    push_keys(&mut page, &schema::TOP_TABLE);
    for table in [&schema::STORE_TABLE, &schema::COMPONENTS_TABLE, &schema::LIMITS_TABLE, &schema::SINK_TABLE]
    {
        write!(page, "\n## `{}`\n\n{}\n\n", table.header, table.meaning).expect("a String takes all");
        push_keys(&mut page, table);
    }
    write!(page, "\n```toml\n{SINKS_EXAMPLE}\n```\n").expect("a String takes all");
    for table in [&schema::CLUSTER_TABLE, &schema::TLS_TABLE] {
        write!(page, "\n## `{}`\n\n{}\n\n", table.header, table.meaning).expect("a String takes all");
        push_keys(&mut page, table);
    }
    write!(
        page,
        "\n```toml\n{CLUSTER_EXAMPLE}\n```\n\n[cluster.md](cluster.md) says how to run a cluster.\n"
    )
    .expect("a String takes all");
    page.push_str("\n## Limits of one component\n\nA component can have limits of its own, where they differ from those of the store:\n\n");
    for table in &schema::COMPONENT_LIMITS {
        let keys: Vec<String> = table.keys.iter().map(|key| format!("`{}`", key.name())).collect();
        writeln!(page, "- `{}`: {}", table.header, keys.join(", ")).expect("a String takes all");
    }
    let (role_setting, index) = (SETTINGS_EXAMPLE[0], SETTINGS_EXAMPLE[1]);
    write!(
        page,
        "
## Settings

{declares} They are under `[store.settings.streams]`, `.snapshots`, `.subscriptions` or `.gateway`,
or `[store.sinks.NAME.settings]`, and are checked when the component is loaded. Of the built-in components, `streams` has one:

- `{index}`: {meaning}

[sinks.md](sinks.md) has those of the built-in sinks.

## Bounds

| of | at most | why |
|---|---|---|
| the file | {file} bytes | A larger file is the wrong file. |
| stores | {stores} | Each has a database with threads and files of its own. |
| component instances of all stores | {instances} | The engine's pool has room for so many. |
| names in `allowed_hosts` or `allowed_origins` | {names} | People write them by hand. |
| hosts in `allowed_hosts` of a sink | {names} | People write them by hand. |
| addresses in `peers` | {names} | A few are enough to find the cluster. |
| sinks of a store | {sinks} | Each has an instance, and a consumer of a subscription. |
| settings of a component | {settings} | It gets them as one list. |
| a setting's text | {setting} bytes | Larger data belongs in a file. |
",
        declares = role_setting.1,
        index = index.0,
        meaning = index.1,
        file = schema::FILE_BYTES_MAX,
        stores = schema::STORES_MAX,
        instances = schema::STORE_INSTANCES_MAX,
        names = schema::NAMES_MAX,
        sinks = schema::SINKS_MAX,
        settings = schema::SETTINGS_MAX,
        setting = schema::SETTING_BYTES_MAX,
    )
    .expect("a String takes all");
    page
}

fn push_keys(page: &mut String, table: &Table) {
    page.push_str("| key | default | values | what it is | why these bounds |\n|---|---|---|---|---|\n");
    for key in table.keys {
        let (values, why_bounded) = match key {
            Key::Text(text) => (text.expected.to_owned(), ""),
            Key::Names(names) => (format!("a list, each {}", names.expected), ""),
            Key::Number(number) => (range(number), number.why_bounded),
            Key::Flag(_) => ("true or false".to_owned(), ""),
            Key::Component(component) => {
                (format!("\"builtin:{}\" or the path of a component file", component.builtin), "")
            }
        };
        let (name, default, meaning) = (key.name(), default(*key), key.meaning());
        writeln!(page, "| `{name}` | `{default}` | {values} | {meaning} | {why_bounded} |")
            .expect("a String takes all");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{CLUSTER_EXAMPLE, SINKS_EXAMPLE, example_file, page};
    use crate::config::model::Config;
    use crate::config::parse::parse;
    use crate::config::source::SourceText;

    #[test]
    fn the_example_has_every_default() {
        let source = SourceText { file: Path::new("exesdb.toml"), text: &example_file() };
        let mut config = parse(source).map_err(|violation| source.error(violation)).unwrap();
        config.store_place = None;
        let store = &mut config.stores[0];
        assert_eq!((store.component_places.len(), store.limit_places.len()), (4, 7));
        store.component_places.clear();
        store.limit_places.clear();
        store.settings.clear();
        assert_eq!(config, Config::default());
        assert!(example_file().lines().all(|line| line.chars().count() <= super::LINE_CHARS_MAX));
    }

    #[test]
    fn the_example_of_sinks_can_be_read() {
        let source = SourceText { file: Path::new("exesdb.toml"), text: SINKS_EXAMPLE };
        let config = parse(source).map_err(|violation| source.error(violation)).unwrap();
        let sinks = &config.stores[0].sinks;
        assert_eq!(sinks.keys().collect::<Vec<_>>(), ["audit", "billing"]);
        assert_eq!(sinks["audit"].batch_events, super::schema::BATCH_EVENTS.default);
    }

    #[test]
    fn the_example_of_a_node_can_be_read() {
        let source = SourceText { file: Path::new("exesdb.toml"), text: CLUSTER_EXAMPLE };
        let config = parse(source).map_err(|violation| source.error(violation)).unwrap();
        let cluster = config.cluster.expect("it is one of a node");
        assert_eq!((cluster.peers.len(), cluster.log_retain_mib), (2, 128));
    }

    #[test]
    fn the_page_in_docs_is_up_to_date() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        if std::env::var_os("EXESDB_WRITE_DOCS").is_some() {
            std::fs::write(&file, page()).unwrap();
        }
        assert!(
            std::fs::read_to_string(&file).is_ok_and(|text| text == page()),
            "docs/configuration.md differs from the schema of the configuration; \
             `EXESDB_WRITE_DOCS=1 cargo test --release --workspace --lib the_page_in_docs` writes it anew"
        );
    }
}
