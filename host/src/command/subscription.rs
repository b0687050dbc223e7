//! `exesdb subscription`: creates, lists, describes, changes and removes durable subscriptions.

use anyhow::ensure;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::connection::GatewayOptions;
use super::print;
use crate::client::{Client, ParkedScope};
use crate::output::{Output, printable};

/// What `--stream` calls the whole store.
const ALL: &str = "$all";

/// Options of `subscription`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb subscription create invoices --type order-placed --tag country:BE
  exesdb subscription create audit --from end --strategy pinned
  exesdb subscription create large --payload '{\"currency\":\"EUR\"}'
  exesdb subscription info invoices
  exesdb subscription parked invoices
  exesdb subscription replay invoices

`exesdb consume NAME` takes the events. A subscription remembers how far its consumers have come.")]
pub struct SubscriptionOptions {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What is done.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Create a durable subscription. If it is there already, with the same selector and settings, nothing is changed.
    Create(Box<CreateOptions>),
    /// List durable subscriptions.
    List(ListOptions),
    /// Describe a durable subscription: how far it has come, its lag, its consumers.
    Info(NameOptions),
    /// Change settings of a durable subscription.
    Update(UpdateOptions),
    /// Deliver nothing until it is resumed.
    Pause(NameOptions),
    /// Go on with one that was paused or has halted.
    Resume(NameOptions),
    /// Remove a durable subscription, with what is parked.
    Delete(NameOptions),
    /// List parked events, with the reason of each.
    Parked(ParkedOptions),
    /// Deliver parked events once more.
    Replay(ScopeOptions),
    /// Forget parked events. One that the checkpoint has not passed is delivered again when the subscription starts anew.
    Truncate(ScopeOptions),
}

/// A subscription.
#[derive(Debug, Args)]
pub struct NameOptions {
    /// The name of the subscription.
    pub name: String,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `subscription list`.
#[derive(Debug, Args)]
pub struct ListOptions {
    /// Only names that begin with this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub prefix: String,

    /// Print each subscription as one JSON object per line.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `subscription create`.
#[derive(Debug, Args)]
pub struct CreateOptions {
    /// The name of the subscription.
    pub name: String,

    /// Only events of this stream; without it, or with `$all`, of the whole store.
    #[arg(long, value_name = "STREAM", conflicts_with_all = ["types", "tags", "regex", "stream_prefixes"])]
    pub stream: Option<String>,

    /// Only events of this type; given several times, of one of them.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,

    /// Only events that have this tag; given several times, all of them.
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,

    /// Only events of streams whose names begin with this; given several times, with one of them.
    #[arg(long = "stream-prefix", value_name = "TEXT")]
    pub stream_prefixes: Vec<String>,

    /// Only events whose type matches this regular expression.
    #[arg(long, value_name = "REGEX")]
    pub regex: Option<String>,

    /// Only events that have all of this JSON object, such as {"type":"placed","metadata":{"by":"web"}}.
    #[arg(long, value_name = "JSON", value_parser = parse_object)]
    pub pattern: Option<Value>,

    /// Only events whose data have all of this JSON.
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    pub payload: Option<Value>,

    /// Where it begins, inclusive: a version of the stream, a position of the store, or `end`.
    #[arg(long, value_name = "N|end", default_value = "0", value_parser = parse_from)]
    pub from: Value,

    /// The settings.
    #[command(flatten)]
    pub settings: SettingsOptions,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Settings of a subscription.
#[derive(Debug, Args)]
pub struct SettingsOptions {
    /// Which consumer gets an event.
    #[arg(long, value_parser = ["round-robin", "dispatch-to-single", "pinned", "pinned-by-correlation"])]
    pub strategy: Option<String>,

    /// What happens to an event that ends instances of the subscriptions component or of a sink, or that a sink rejects.
    #[arg(long, value_parser = ["park", "halt"])]
    pub poison: Option<String>,

    /// How long a consumer may take for an event, in milliseconds, before it is delivered again.
    #[arg(long, value_name = "MS")]
    pub ack_timeout: Option<u32>,

    /// How often an event is delivered again before it is parked.
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,

    /// Consumers at the same time.
    #[arg(long, value_name = "N")]
    pub consumers_max: Option<u32>,

    /// Events that are read at a time; a read has at most 1,000.
    #[arg(long, value_name = "N")]
    pub buffer_events: Option<u32>,

    /// The checkpoint is stored when so many events were acknowledged since the last one.
    #[arg(long, value_name = "N")]
    pub checkpoint_events_max: Option<u32>,

    /// The checkpoint is stored after this many milliseconds, if enough events were acknowledged.
    #[arg(long, value_name = "MS")]
    pub checkpoint_ms: Option<u32>,

    /// How many events are enough for that.
    #[arg(long, value_name = "N")]
    pub checkpoint_events_min: Option<u32>,
}

/// Numbers among the settings: the option's name, and the setting's.
const NUMBERS: [(&str, &str); 7] = [
    ("--ack-timeout", "ack_timeout_ms"),
    ("--retries", "retries_max"),
    ("--consumers-max", "consumers_max"),
    ("--buffer-events", "buffer_events"),
    ("--checkpoint-events-max", "checkpoint_events_max"),
    ("--checkpoint-ms", "checkpoint_ms"),
    ("--checkpoint-events-min", "checkpoint_events_min"),
];

/// Options of `subscription update`.
#[derive(Debug, Args)]
pub struct UpdateOptions {
    /// The name of the subscription.
    pub name: String,

    /// The settings.
    #[command(flatten)]
    pub settings: SettingsOptions,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `subscription parked`.
#[derive(Debug, Args)]
pub struct ParkedOptions {
    /// The name of the subscription.
    pub name: String,

    /// Print each parked event as one JSON object per line; `event` is the event itself, if the store still has it.
    #[arg(long)]
    pub json: bool,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

/// Options of `subscription replay` and `truncate`.
#[derive(Debug, Args)]
pub struct ScopeOptions {
    /// The name of the subscription.
    pub name: String,

    /// From this place on, inclusive.
    #[arg(long, value_name = "PLACE")]
    pub from: Option<u64>,

    /// Up to this place, inclusive.
    #[arg(long, value_name = "PLACE")]
    pub up_to: Option<u64>,

    /// The store.
    #[command(flatten)]
    pub gateway: GatewayOptions,
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))
}

fn parse_object(text: &str) -> Result<Value, String> {
    match parse_json(text)? {
        object @ Value::Object(_) => Ok(object),
        _ => Err("write a JSON object, such as {\"type\":\"placed\"}".to_owned()),
    }
}

fn parse_from(text: &str) -> Result<Value, String> {
    match text {
        "end" => Ok(json!("end")),
        number => number.parse::<u64>().map(Value::from).map_err(|_| "write a number or end".to_owned()),
    }
}

/// The selector of the options, as the gateway reads it.
fn selector(options: &CreateOptions) -> Result<Value, anyhow::Error> {
    let mut selector = Map::new();
    let mut insert = |name: &str, value: Value| {
        selector.insert(name.to_owned(), value);
    };
    if let Some(stream) = options.stream.as_deref().filter(|stream| *stream != ALL) {
        insert("stream", json!(stream));
    }
    if !options.types.is_empty() || !options.tags.is_empty() {
        insert("query", json!([{ "types": options.types, "tags": options.tags }]));
    }
    if !options.stream_prefixes.is_empty() {
        insert("stream_prefixes", json!(options.stream_prefixes));
    }
    if let Some(regex) = &options.regex {
        insert("type_pattern", json!(regex));
    }
    let pattern = match (options.pattern.clone(), options.payload.clone()) {
        (Some(Value::Object(pattern)), Some(_)) if pattern.contains_key("data") => {
            anyhow::bail!("--payload is the member `data` of --pattern: give one of them");
        }
        (Some(Value::Object(mut pattern)), Some(payload)) => {
            pattern.insert("data".to_owned(), payload);
            Some(Value::Object(pattern))
        }
        (pattern, None) => pattern,
        (None | Some(_), Some(payload)) => Some(json!({ "data": payload })),
    };
    if let Some(pattern) = pattern {
        insert("pattern", pattern);
    }
    Ok(Value::Object(selector))
}

impl SettingsOptions {
    fn settings(&self) -> Value {
        let mut settings = Map::new();
        let texts = [("strategy", &self.strategy), ("poison", &self.poison)];
        for (name, text) in texts {
            if let Some(text) = text {
                settings.insert(name.to_owned(), json!(text.replace('-', "_")));
            }
        }
        let numbers = [
            self.ack_timeout,
            self.retries,
            self.consumers_max,
            self.buffer_events,
            self.checkpoint_events_max,
            self.checkpoint_ms,
            self.checkpoint_events_min,
        ];
        for ((_, name), number) in NUMBERS.into_iter().zip(numbers) {
            if let Some(number) = number {
                settings.insert(name.to_owned(), json!(number));
            }
        }
        Value::Object(settings)
    }
}

/// The name of a subscription's field in terms of the command line.
fn argument_name(field: &str, is_payload: bool) -> Option<String> {
    let name = field.rsplit_once('.').map_or(field, |(_, name)| name);
    let name = name.split('[').next().unwrap_or(name);
    let option = match name {
        "types" => "--type",
        "tags" => "--tag",
        "stream_prefixes" => "--stream-prefix",
        "type_pattern" => "--regex",
        "pattern" if is_payload => "--payload",
        "pattern" => "--pattern",
        "stream" => "--stream",
        "from" => "--from",
        "name" => "the name",
        setting => NUMBERS.iter().find(|(_, name)| *name == setting)?.0,
    };
    Some(option.to_owned())
}

/// Does what the options say.
pub async fn run(options: SubscriptionOptions) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    match options.action {
        Action::Create(options) => {
            let new = json!({
                "selector": selector(&options)?,
                "from": options.from,
                "settings": options.settings.settings(),
            });
            let is_payload = options.pattern.is_none();
            let created = options.gateway.client().create_subscription(&options.name, &new).await;
            let created = created.map_err(|error| error.renamed(|field| argument_name(field, is_payload)))?;
            let name = printable(&options.name);
            let done = if created { "created" } else { "was there already, with the same settings" };
            output.line(format!("{name}: {done}"))?;
        }
        Action::List(options) => list(&options, &mut output).await?,
        Action::Info(options) => {
            let info = options.gateway.client().describe_subscription(&options.name).await?;
            let info: Value = serde_json::from_str(info.get())?;
            output.line(serde_json::to_string_pretty(&info)?)?;
        }
        Action::Update(options) => {
            let settings = options.settings.settings();
            ensure!(
                settings.as_object().is_some_and(|given| !given.is_empty()),
                "give a setting to change; see --help"
            );
            let updated = options.gateway.client().update_subscription(&options.name, &settings).await;
            updated.map_err(|error| error.renamed(|field| argument_name(field, false)))?;
            output.line(format!("{}: changed", printable(&options.name)))?;
        }
        Action::Pause(options) => {
            options.gateway.client().pause_subscription(&options.name).await?;
            output.line(format!("{}: paused", printable(&options.name)))?;
        }
        Action::Resume(options) => {
            options.gateway.client().resume_subscription(&options.name).await?;
            output.line(format!("{}: resumed", printable(&options.name)))?;
        }
        Action::Delete(options) => {
            options.gateway.client().delete_subscription(&options.name).await?;
            output.line(format!("{}: deleted", printable(&options.name)))?;
        }
        Action::Parked(options) => parked(&options, &mut output).await?,
        Action::Replay(options) => {
            let scope = ParkedScope { from: options.from, up_to: options.up_to };
            let count = options.gateway.client().replay_parked(&options.name, scope).await?;
            output.line(format!("{count} parked events are delivered once more"))?;
        }
        Action::Truncate(options) => {
            let scope = ParkedScope { from: options.from, up_to: options.up_to };
            let count = options.gateway.client().truncate_parked(&options.name, scope).await?;
            output.line(format!("{count} parked events are forgotten"))?;
        }
    }
    output.flush()
}

async fn list(options: &ListOptions, output: &mut Output) -> anyhow::Result<()> {
    let client: Client = options.gateway.client();
    let mut after: Option<String> = None;
    loop {
        let page = client.subscriptions(&options.prefix, after.as_deref()).await?;
        for subscription in &page.subscriptions {
            let value: Value = serde_json::from_str(subscription.get())?;
            let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            if options.json {
                output.line(subscription.get().to_owned())?;
            } else {
                let parked = value["parked"].as_u64().unwrap_or_default();
                let checkpoint = value["checkpoint"].as_u64().unwrap_or_default();
                let name = printable(&text("name")).to_string();
                output.line(format!("{name}  {}  at {checkpoint}, {parked} parked", text("state")))?;
            }
            after = Some(text("name"));
        }
        if !page.more {
            return Ok(());
        }
    }
}

/// A parked event as `--json` prints it, with the event as the gateway wrote it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    parked: &'a Value,
    event: Option<&'a RawValue>,
}

async fn parked(options: &ParkedOptions, output: &mut Output) -> anyhow::Result<()> {
    let client = options.gateway.client();
    let described = client.describe_subscription(&options.name).await?;
    let described: Value = serde_json::from_str(described.get())?;
    let stream = described["selector"]["stream"].as_str();
    let mut from = 0;
    loop {
        let page = client.parked(&options.name, from).await?;
        for parked in page["parked"].as_array().into_iter().flatten() {
            let place = parked["place"].as_u64().unwrap_or_default();
            let event = client.event_at(stream, place).await?;
            if options.json {
                output.line(serde_json::to_string(&Shown { parked, event: event.as_deref() })?)?;
            } else {
                let deliveries = parked["deliveries"].as_u64().unwrap_or_default();
                let reason = printable(parked["reason"].as_str().unwrap_or_default()).to_string();
                output.line(format!("{place}  delivered {deliveries} times: {reason}"))?;
                match event {
                    Some(event) => output.line(format!("  {}", print::line(&event)?))?,
                    None => output.line("  the store does not have the event any more")?,
                }
            }
            from = place.saturating_add(1);
        }
        if page["more"] != true {
            return Ok(());
        }
    }
}
