//! The sink that ships with exesdb and sends events to an HTTP server: one request for each event, or for several.
//!
//! The rules are pure and have their tests: [`settings`] reads the settings, [`request`](mod@request) makes a request of
//! events and signs it, [`response`] says what follows from a response, and [`deliver`] goes through a batch. [`client`] sends.

pub mod client;
pub mod deliver;
pub mod request;
pub mod response;
pub mod settings;

use exesdb_sdk::config;
use exesdb_sdk::describe::{Description, SettingDefault, description};
use exesdb_sdk::sinks::{Batch, Failure, Outcome, Sink};

use crate::client::Client;
use crate::settings::Settings;

/// The component.
pub struct Webhook;

impl Sink for Webhook {
    fn check() -> Result<(), String> {
        let allowed = config::about("allowed-hosts").unwrap_or_default();
        Settings::read(config::get)?.url.permitted_by(&allowed)
    }

    fn deliver(batch: Batch) -> Outcome {
        match Settings::read(config::get) {
            Ok(settings) => deliver::deliver(&batch, &settings, &mut Client::begin()),
            Err(why) => Outcome::failed(0, Failure::Broken(why)),
        }
    }
}

/// Describes the component. It has no state in the store.
#[must_use]
pub fn describe() -> Description {
    let text = |text: &str| SettingDefault::Text(text.to_owned());
    description("webhook", 0)
        .setting(settings::URL, text(""), "Where requests are sent to, required: http://HOST[:PORT][/PATH].")
        .setting(
            settings::SECRET,
            text(""),
            "The key of the signature in exesdb-signature; without one there is none.",
        )
        .setting(
            settings::EVENTS_PER_REQUEST,
            SettingDefault::Number(settings::EVENTS_PER_REQUEST_DEFAULT),
            "Events of a request. With 1, the body is an object; with more, an array.",
        )
        .setting(
            settings::TIMEOUT_MS,
            SettingDefault::Number(settings::TIMEOUT_MS_DEFAULT),
            "How long a request may take until its response begins, in milliseconds.",
        )
        .setting(
            settings::HEADERS,
            text(""),
            "Further headers of each request, a line for each: name: value.",
        )
}

#[cfg(feature = "export")]
exesdb_sdk::sink_plugin!(Webhook);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);

#[cfg(test)]
mod tests {
    use exesdb_sdk::config::Given;
    use exesdb_sdk::events::EventData;
    use exesdb_sdk::sinks::testing::{batch, check, deliver};
    use exesdb_sdk::sinks::{Failure, Outcome};

    use super::{Webhook, describe};

    #[test]
    fn the_settings_and_the_allowed_hosts_are_checked() {
        for (url, allowed, wrong) in [
            ("http://a.org/x", "a.org", ""),
            ("http://a.org/x", "b.org\na.org:80", ""),
            ("http://a.org/x", "b.org", "`allowed_hosts`"),
            ("http://a.org/x", "", "`allowed_hosts`"),
            ("", "a.org", "`url`"),
        ] {
            let given = Given::defaults(&describe()).setting("url", url).about("allowed-hosts", allowed);
            match given.during(check::<Webhook>) {
                Ok(()) => assert_eq!(wrong, "", "{url} with {allowed:?}"),
                Err(why) => {
                    assert!(!wrong.is_empty() && why.contains(wrong), "{url} with {allowed:?}: {why}")
                }
            }
        }
        let given = Given::defaults(&describe()).setting("url", "http://a.org");
        assert!(given.during(check::<Webhook>).unwrap_err().contains("`allowed_hosts`"));
    }

    #[test]
    fn nothing_is_delivered_with_wrong_settings() {
        let given = Given::defaults(&describe()).setting("url", "http://a").setting("timeout_ms", "0");
        let outcome = given.during(|| deliver::<Webhook>(batch([("s", EventData::default())])));
        match outcome {
            Outcome { done: 0, failure: Some(Failure::Broken(why)) } => {
                assert!(why.contains("`timeout_ms`"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}
