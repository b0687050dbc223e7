//! Checks the arguments of requests, which come from clients.

use exesdb_pattern::Pattern;
use exesdb_sdk::arguments::{check_stream_id, check_text};
use exesdb_sdk::subscriptions::{NewSubscription, Selector, Settings, Subscribed};
use exesdb_sdk::types::{Error, EventFilter, Field, check_options, invalid, too_large};

use crate::dispatch::REASON_BYTES_MAX;
use crate::layout::{Definition, encode_definition};

/// Maximum length of a subscription's name in bytes: a stream and a group have to fit into it, as in `stream::group`.
pub const NAME_BYTES_MAX: usize = 512;

/// Maximum bytes of a stored definition. It is read for each change of the subscription.
pub const DEFINITION_BYTES_MAX: usize = 64 << 10;

pub(crate) fn check_name(argument: &str, name: &str) -> Result<(), Error> {
    Ok(check_text(argument, name, NAME_BYTES_MAX)?)
}

pub(crate) fn check_new(new: &NewSubscription) -> Result<(), Error> {
    check_name("name", &new.name)?;
    check_selector(&new.selector)?;
    check_settings("settings", &new.settings)
}

/// The host tries a filter before, because the streams component knows what it can filter.
fn check_selector(selector: &Selector) -> Result<(), Error> {
    match &selector.source {
        Subscribed::OneStream(stream_id) => check_stream_id("selector.stream", stream_id)?,
        Subscribed::All(Some(filter)) => {
            check_options(&filter.options)?;
            if bytes_of(filter) >= DEFINITION_BYTES_MAX {
                return Err(too_large(format!("the filter has {DEFINITION_BYTES_MAX} bytes or more")));
            }
        }
        Subscribed::All(None) => {}
    }
    match selector.pattern.as_deref().map(Pattern::parse) {
        Some(Err(wrong)) => Err(invalid("selector.pattern", wrong)),
        _ => Ok(()),
    }
}

fn bytes_of(filter: &EventFilter) -> usize {
    let of_query = filter.query.iter().flat_map(|item| item.types.iter().chain(&item.tags));
    let ids = [&filter.stream_pattern, &filter.type_pattern, &filter.correlation_id, &filter.causation_id];
    let texts = of_query.chain(&filter.stream_prefixes).chain(ids.into_iter().flatten());
    let of_texts: usize = texts.map(String::len).sum();
    of_texts + bytes_of_options(&filter.options)
}

fn bytes_of_options(options: &[Field]) -> usize {
    options.iter().map(|field| field.name.len() + field.value.len()).sum()
}

pub(crate) fn check_settings(argument: &str, settings: &Settings) -> Result<(), Error> {
    // The WIT says what they mean.
    for (name, value, least, most) in [
        ("ack-timeout-ms", settings.ack_timeout_ms, 100, u32::MAX),
        ("retries-max", settings.retries_max, 0, 1_000),
        ("consumers-max", settings.consumers_max, 1, 1_000),
        ("buffer-events", settings.buffer_events, 1, 10_000),
        ("checkpoint-events-max", settings.checkpoint_events_max, 1, 10_000),
        ("checkpoint-ms", settings.checkpoint_ms, 10, u32::MAX),
        ("checkpoint-events-min", settings.checkpoint_events_min, 0, 10_000),
    ] {
        if !(least..=most).contains(&value) {
            let name = format!("{argument}.{name}");
            return Err(invalid(name, format!("is {value}; it must be at least {least} and at most {most}")));
        }
    }
    if bytes_of_options(&settings.options) >= DEFINITION_BYTES_MAX {
        return Err(too_large(format!("{argument}.options has {DEFINITION_BYTES_MAX} bytes or more")));
    }
    check_options(&settings.options)
}

pub(crate) fn check_reason(argument: &str, reason: &str) -> Result<(), Error> {
    if reason.len() <= REASON_BYTES_MAX {
        return Ok(());
    }
    Err(invalid(argument, format!("has {} bytes; it may have {REASON_BYTES_MAX}", reason.len())))
}

/// The value of a new definition, if it is not too large. One that halts has a reason more.
pub(crate) fn checked_definition(definition: &Definition) -> Result<Vec<u8>, Error> {
    let value = encode_definition(definition);
    if value.len() <= DEFINITION_BYTES_MAX {
        return Ok(value);
    }
    Err(too_large(format!(
        "selector and settings take {} bytes, over the limit of {DEFINITION_BYTES_MAX} bytes",
        value.len()
    )))
}
