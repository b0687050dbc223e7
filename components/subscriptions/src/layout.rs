//! The keys and values of the keyspaces. The crate's documentation has the table.

use exesdb_sdk::fields::{Decoder, Encoder, Malformed};
use exesdb_sdk::subscriptions::{
    ParkedEvent, Place, PoisonPolicy, Progress, Selector, Settings, Strategy, Subscribed, SubscriptionState,
};
use exesdb_sdk::types::{EventFilter, Field, QueryItem};

/// Name -> definition.
pub const SUBSCRIPTIONS: &str = "subscriptions";
/// Name -> progress.
pub const PROGRESS: &str = "progress";
/// Name, place -> parked event.
pub const PARKED: &str = "parked";
/// Name, place -> nothing: it is to be delivered once more.
pub const REPLAYED: &str = "replayed";
/// [`LAST_EPOCH`] -> the last epoch of any subscription.
pub const EPOCHS: &str = "epochs";
/// The only key of [`EPOCHS`].
pub const LAST_EPOCH: &[u8] = b"last";

/// The format of all values that this version writes and reads.
const FORMAT: u8 = 1;

/// Terminates a name in a key. Names have no control characters, so the entries of a subscription are contiguous.
const SEPARATOR: u8 = 0;

/// What is stored of a subscription, apart from its progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// What it delivers.
    pub selector: Selector,
    /// Where it began.
    pub start: Place,
    /// How it delivers that.
    pub settings: Settings,
    /// Whether it does.
    pub state: SubscriptionState,
    /// When it was created, in microseconds since 1970-01-01T00:00:00 UTC.
    pub created: u64,
    /// When it was last changed.
    pub updated: u64,
}

/// The prefix of the keys of a subscription's parked events.
#[must_use]
pub fn prefix_of(name: &str) -> Vec<u8> {
    let mut prefix = name.as_bytes().to_owned();
    prefix.push(SEPARATOR);
    prefix
}

/// The key of a parked event.
#[must_use]
pub fn parked_key(name: &str, place: Place) -> Vec<u8> {
    let mut key = prefix_of(name);
    key.extend_from_slice(&place.to_be_bytes());
    key
}

/// The name in a key that [`parked_key`] made; none if it did not.
#[must_use]
pub fn name_of(key: &[u8]) -> Option<&[u8]> {
    let (name, _) = key.split_last_chunk::<8>()?;
    name.strip_suffix(&[SEPARATOR])
}

/// The place in a key that [`parked_key`] made; none if it did not.
#[must_use]
pub fn place_of(key: &[u8]) -> Option<Place> {
    let (name, place) = key.split_last_chunk()?;
    name.ends_with(&[SEPARATOR]).then(|| Place::from_be_bytes(*place))
}

/// Encodes a definition.
#[must_use]
pub fn encode_definition(definition: &Definition) -> Vec<u8> {
    let Definition { selector, start, settings, state, created, updated } = definition;
    let mut encoder = Encoder::with_capacity(256);
    encoder.u8(FORMAT);
    encoder.u64(*created);
    encoder.u64(*updated);
    encoder.u64(*start);
    match state {
        SubscriptionState::Active => encoder.u8(0),
        SubscriptionState::Paused => encoder.u8(1),
        SubscriptionState::Halted(reason) => {
            encoder.u8(2);
            encoder.text(reason);
        }
    }
    encode_settings(&mut encoder, settings);
    encode_selector(&mut encoder, selector);
    encoder.finish()
}

/// Decodes a definition.
///
/// # Errors
///
/// [`Malformed`] if [`encode_definition`] did not write it.
pub fn decode_definition(value: &[u8]) -> Result<Definition, Malformed> {
    let mut decoder = Decoder::new(value);
    decoder.format(FORMAT)?;
    let (created, updated, start) = (decoder.u64()?, decoder.u64()?, decoder.u64()?);
    let state = match decoder.u8()? {
        0 => SubscriptionState::Active,
        1 => SubscriptionState::Paused,
        2 => SubscriptionState::Halted(decoder.text()?.to_owned()),
        other => return Err(Malformed::Format(other)),
    };
    let settings = decode_settings(&mut decoder)?;
    let selector = decode_selector(&mut decoder)?;
    decoder.end()?;
    Ok(Definition { selector, start, settings, state, created, updated })
}

fn encode_settings(encoder: &mut Encoder, settings: &Settings) {
    encoder.u8(match settings.strategy {
        Strategy::RoundRobin => 0,
        Strategy::DispatchToSingle => 1,
        Strategy::Pinned => 2,
        Strategy::PinnedByCorrelation => 3,
    });
    encoder.u8(match settings.poison {
        PoisonPolicy::Park => 0,
        PoisonPolicy::Halt => 1,
    });
    for number in [
        settings.ack_timeout_ms,
        settings.retries_max,
        settings.consumers_max,
        settings.buffer_events,
        settings.checkpoint_events_max,
        settings.checkpoint_ms,
        settings.checkpoint_events_min,
    ] {
        encoder.u64(number.into());
    }
    encode_list(encoder, &settings.options, |encoder, field| {
        encoder.text(&field.name);
        encoder.text(&field.value);
    });
}

fn decode_settings(decoder: &mut Decoder<'_>) -> Result<Settings, Malformed> {
    let strategy = match decoder.u8()? {
        0 => Strategy::RoundRobin,
        1 => Strategy::DispatchToSingle,
        2 => Strategy::Pinned,
        3 => Strategy::PinnedByCorrelation,
        other => return Err(Malformed::Format(other)),
    };
    let poison = match decoder.u8()? {
        0 => PoisonPolicy::Park,
        1 => PoisonPolicy::Halt,
        other => return Err(Malformed::Format(other)),
    };
    Ok(Settings {
        strategy,
        poison,
        ack_timeout_ms: decode_u32(decoder)?,
        retries_max: decode_u32(decoder)?,
        consumers_max: decode_u32(decoder)?,
        buffer_events: decode_u32(decoder)?,
        checkpoint_events_max: decode_u32(decoder)?,
        checkpoint_ms: decode_u32(decoder)?,
        checkpoint_events_min: decode_u32(decoder)?,
        options: decode_list(decoder, |decoder| {
            Ok(Field { name: decoder.text()?.to_owned(), value: decoder.text()?.to_owned() })
        })?,
    })
}

fn encode_selector(encoder: &mut Encoder, selector: &Selector) {
    match &selector.source {
        Subscribed::OneStream(stream_id) => {
            encoder.u8(0);
            encoder.text(stream_id);
        }
        Subscribed::All(None) => encoder.u8(1),
        Subscribed::All(Some(filter)) => {
            encoder.u8(2);
            encode_filter(encoder, filter);
        }
    }
    encode_some(encoder, selector.pattern.as_deref());
}

fn decode_selector(decoder: &mut Decoder<'_>) -> Result<Selector, Malformed> {
    let source = match decoder.u8()? {
        0 => Subscribed::OneStream(decoder.text()?.to_owned()),
        1 => Subscribed::All(None),
        2 => Subscribed::All(Some(decode_filter(decoder)?)),
        other => return Err(Malformed::Format(other)),
    };
    Ok(Selector { source, pattern: decode_some(decoder)? })
}

fn encode_filter(encoder: &mut Encoder, filter: &EventFilter) {
    let text = |encoder: &mut Encoder, text: &String| encoder.text(text);
    encode_list(encoder, &filter.query, |encoder, item| {
        encode_list(encoder, &item.types, text);
        encode_list(encoder, &item.tags, text);
    });
    encode_list(encoder, &filter.stream_prefixes, text);
    for text in [&filter.stream_pattern, &filter.type_pattern, &filter.correlation_id, &filter.causation_id] {
        encode_some(encoder, text.as_deref());
    }
    encode_list(encoder, &filter.options, |encoder, field| {
        encoder.text(&field.name);
        encoder.text(&field.value);
    });
}

fn decode_filter(decoder: &mut Decoder<'_>) -> Result<EventFilter, Malformed> {
    let text = |decoder: &mut Decoder<'_>| decoder.text().map(str::to_owned);
    Ok(EventFilter {
        query: decode_list(decoder, |decoder| {
            Ok(QueryItem { types: decode_list(decoder, text)?, tags: decode_list(decoder, text)? })
        })?,
        stream_prefixes: decode_list(decoder, text)?,
        stream_pattern: decode_some(decoder)?,
        type_pattern: decode_some(decoder)?,
        correlation_id: decode_some(decoder)?,
        causation_id: decode_some(decoder)?,
        options: decode_list(decoder, |decoder| {
            Ok(Field { name: decoder.text()?.to_owned(), value: decoder.text()?.to_owned() })
        })?,
    })
}

fn encode_list<T>(encoder: &mut Encoder, list: &[T], encode: impl Fn(&mut Encoder, &T)) {
    encoder.u64(list.len() as u64);
    list.iter().for_each(|item| encode(encoder, item));
}

fn decode_list<T>(
    decoder: &mut Decoder<'_>,
    decode: impl Fn(&mut Decoder<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    // A wrong count ends with the value, before it takes memory.
    (0..decoder.u64()?).map(|_| decode(decoder)).collect()
}

fn encode_some(encoder: &mut Encoder, text: Option<&str>) {
    encoder.u8(text.is_some().into());
    if let Some(text) = text {
        encoder.text(text);
    }
}

fn decode_some(decoder: &mut Decoder<'_>) -> Result<Option<String>, Malformed> {
    match decoder.u8()? {
        0 => Ok(None),
        1 => Ok(Some(decoder.text()?.to_owned())),
        other => Err(Malformed::Format(other)),
    }
}

fn decode_u32(decoder: &mut Decoder<'_>) -> Result<u32, Malformed> {
    u32::try_from(decoder.u64()?).map_err(|_| Malformed::Long)
}

/// A progress as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredProgress {
    /// What a client sees of it.
    pub progress: Progress,
    /// Goes up with every change, so that no two values are equal and a guard holds only if nothing has changed.
    pub revision: u64,
}

/// Encodes a progress.
#[must_use]
pub fn encode_progress(StoredProgress { progress, revision }: &StoredProgress) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(33);
    encoder.u8(FORMAT);
    encoder.u64(progress.epoch);
    encoder.u64(progress.checkpoint);
    encoder.u64(progress.parked);
    encoder.u64(*revision);
    encoder.finish()
}

/// Decodes a progress.
///
/// # Errors
///
/// [`Malformed`] if [`encode_progress`] did not write it.
pub fn decode_progress(value: &[u8]) -> Result<StoredProgress, Malformed> {
    let mut decoder = Decoder::new(value);
    decoder.format(FORMAT)?;
    let progress = Progress { epoch: decoder.u64()?, checkpoint: decoder.u64()?, parked: decoder.u64()? };
    let revision = decoder.u64()?;
    decoder.end()?;
    Ok(StoredProgress { progress, revision })
}

/// Encodes the last epoch.
#[must_use]
pub fn encode_epoch(epoch: u64) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(9);
    encoder.u8(FORMAT);
    encoder.u64(epoch);
    encoder.finish()
}

/// Decodes the last epoch.
///
/// # Errors
///
/// [`Malformed`] if [`encode_epoch`] did not write it.
pub fn decode_epoch(value: &[u8]) -> Result<u64, Malformed> {
    let mut decoder = Decoder::new(value);
    decoder.format(FORMAT)?;
    let epoch = decoder.u64()?;
    decoder.end()?;
    Ok(epoch)
}

/// Encodes a parked event, without its place.
#[must_use]
pub fn encode_parked(deliveries: u32, reason: &str, parked: u64) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(19 + reason.len());
    encoder.u8(FORMAT);
    encoder.u64(parked);
    encoder.u64(deliveries.into());
    encoder.text(reason);
    encoder.finish()
}

/// Decodes a parked event.
///
/// # Errors
///
/// [`Malformed`] if [`encode_parked`] did not write it.
pub fn decode_parked(place: Place, is_replayed: bool, value: &[u8]) -> Result<ParkedEvent, Malformed> {
    let mut decoder = Decoder::new(value);
    decoder.format(FORMAT)?;
    let parked = decoder.u64()?;
    let deliveries = decode_u32(&mut decoder)?;
    let reason = decoder.text()?.to_owned();
    decoder.end()?;
    Ok(ParkedEvent { place, deliveries, reason, parked, is_replayed })
}
