//! The sink that ships with exesdb and writes events to a file: one line of JSON for each, in the form of exports.
//!
//! A batch is done when its lines are on the disk. So an event can be in the file more than once, if something failed between
//! that and the acknowledgement; a reader tells repetitions by the `position`. [`log`] has the rules of the file, and
//! [`folder`] is what they need of a directory.

pub mod folder;
pub mod log;
pub mod settings;

use std::cell::RefCell;

use exesdb_sdk::config;
use exesdb_sdk::describe::{Description, SettingDefault, description};
use exesdb_sdk::packed::Events;
use exesdb_sdk::sinks::{Batch, Failure, Outcome, Sink, unavailable};

use crate::folder::Granted;
use crate::log::Log;
use crate::settings::Settings;

/// The component.
pub struct NdjsonFile;

thread_local! {
    /// The file while the instance lives.
    static LOG: RefCell<Option<Log<Granted>>> = const { RefCell::new(None) };
}

impl Sink for NdjsonFile {
    fn check() -> Result<(), String> {
        opened().map(drop)
    }

    fn deliver(batch: Batch) -> Outcome {
        LOG.with_borrow_mut(|log| {
            let log = match log {
                Some(log) => log,
                none => match opened() {
                    Ok(opened) => none.insert(opened),
                    Err(why) => return Outcome::failed(0, Failure::Broken(why)),
                },
            };
            let (count, lines) = lines(&batch.events);
            match log.append(&lines) {
                Ok(()) => Outcome::done(count),
                Err(why) => Outcome::failed(0, unavailable(why)),
            }
        })
    }
}

fn opened() -> Result<Log<Granted>, String> {
    let Settings { file, rotate_bytes } = Settings::read(config::get)?;
    let granted = Granted::find().ok_or("it was granted no directory; set `directory`")?;
    Ok(Log::new(granted, file, rotate_bytes))
}

/// The number of events, and a line for each.
///
/// # Panics
///
/// If these are no events, which the host checks.
#[must_use]
pub fn lines(events: &[u8]) -> (u32, Vec<u8>) {
    let (mut count, mut lines) = (0, Vec::with_capacity(exesdb_json::text_bytes(events)));
    for event in Events::new(events) {
        let (position, envelope) = event.expect("the host checks what it passes");
        exesdb_json::push_line(&mut lines, position, &envelope);
        count += 1;
    }
    (count, lines)
}

/// Describes the component. It has no state in the store.
#[must_use]
pub fn describe() -> Description {
    description("ndjson-file", 0)
        .setting(
            settings::FILE,
            SettingDefault::Text(settings::FILE_DEFAULT.to_owned()),
            "The name of the file in the granted directory.",
        )
        .setting(
            settings::ROTATE_BYTES,
            SettingDefault::Number(settings::ROTATE_BYTES_DEFAULT),
            "A file that would get larger is renamed to FILE.000001 and so on, and another one begun; 0 for never.",
        )
}

#[cfg(feature = "export")]
exesdb_sdk::sink_plugin!(NdjsonFile);
#[cfg(feature = "export")]
exesdb_sdk::describe_component!(describe);

#[cfg(test)]
mod tests {
    use exesdb_sdk::config::Given;
    use exesdb_sdk::events::EventData;
    use exesdb_sdk::sinks::testing::{Event, batch, check};

    use super::{NdjsonFile, describe, lines};

    #[test]
    fn each_event_is_a_line_with_its_place() {
        let event = |content_type: &str, data: &[u8]| EventData {
            id: "i".into(),
            event_type: "t".into(),
            content_type: content_type.into(),
            data: data.into(),
            ..EventData::default()
        };
        let batch = batch([
            Event::new("s", event("application/json", b"{\"a\": 1}")).at(41).version(7).created(1),
            Event::new("t", event("image/png", b"\xff")),
        ]);
        let (count, lines) = lines(&batch.events);
        let text = String::from_utf8(lines).expect("lines are text");
        let found: Vec<&str> = text.lines().collect();
        assert_eq!((count, found.len(), text.ends_with('\n')), (2, 2, true));
        for (line, parts) in [
            (found[0], ["\"stream\":\"s\"", "\"version\":7", "\"position\":41", "\"data\":{\"a\": 1}"]),
            (found[1], ["\"stream\":\"t\"", "\"version\":0", "\"position\":42", "\"data_base64\":\"/w==\""]),
        ] {
            for part in parts {
                assert!(line.contains(part), "{line} has not {part}");
            }
        }
    }

    #[test]
    fn wrong_settings_are_refused_before_the_directory_is_looked_for() {
        for (name, value) in [("file", "../events"), ("rotate_bytes", "-1")] {
            let given = Given::defaults(&describe()).setting(name, value);
            let why = given.during(check::<NdjsonFile>).expect_err("the setting is wrong");
            assert!(why.contains(name), "{why}");
        }
    }
}
