//! A sink for tests. It logs what it is given, and the type of an event says what it does with it.
//!
//! | type | the sink |
//! |---|---|
//! | `trap` | panics |
//! | `loop` | loops forever |
//! | `beyond` | says that more events are done than it was given |
//! | `nothing` | says that no event is done, and not why |
//! | `long-reason` | gives a reason that is too long |
//! | `reject`, `fail`, `away`, `broken` | returns that failure |
//! | `write` | writes outside of its directory and within it, and logs the results |
//! | `call` | sends requests to a host that it was not granted, and to the one in the event's data, and logs the results |
//! | others | is done with it |
//!
//! What it says of its settings depends on the hosts that it was granted: `refuse.test`, `trap.test` and `long.test` are mistakes.

use std::hint::black_box;

use exesdb_sdk::packed::{Envelope, Events};
use exesdb_sdk::sinks::wasip2::filesystem::preopens;
use exesdb_sdk::sinks::wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};
use exesdb_sdk::sinks::wasip2::http::outgoing_handler;
use exesdb_sdk::sinks::wasip2::http::types::{Fields, OutgoingRequest, Scheme};
use exesdb_sdk::sinks::{Batch, Failure, Outcome, Sink, unavailable};
use exesdb_sdk::{config, logging};

struct Probe;

impl Sink for Probe {
    fn check() -> Result<(), String> {
        let allowed = config::about("allowed-hosts").unwrap_or_default();
        for host in allowed.lines() {
            match host {
                "refuse.test" => return Err("no\nlevel=error forged".to_owned()),
                "trap.test" => panic!("the probe traps in its check"),
                "long.test" => return Err("x".repeat(1_025)),
                _ => {}
            }
        }
        Ok(())
    }

    fn deliver(batch: Batch) -> Outcome {
        let mut done = 0;
        for event in Events::new(&batch.events) {
            let (position, event) = event.expect("the host checks what it passes");
            let failure = match event.event_type {
                "trap" => panic!("the probe traps, as the event says"),
                "loop" => loop {
                    black_box(());
                },
                "beyond" => return Outcome::done(u32::MAX),
                "nothing" => return Outcome::done(0),
                "long-reason" => Failure::Rejected("x".repeat(1_025)),
                "reject" => Failure::Rejected("no\nlevel=error forged".to_owned()),
                "fail" => Failure::Failed("it failed".to_owned()),
                "away" => unavailable("nobody is there"),
                "broken" => Failure::Broken("the probe is broken".to_owned()),
                "write" => {
                    written().iter().for_each(|line| logging::info(line));
                    done += 1;
                    continue;
                }
                "call" => {
                    called(&event).iter().for_each(|line| logging::info(line));
                    done += 1;
                    continue;
                }
                _ => {
                    logging::info(&format!("the probe took {position} of {}", batch.subscription));
                    done += 1;
                    continue;
                }
            };
            return Outcome::failed(done, failure);
        }
        Outcome::done(done)
    }
}

/// Tries to open files for writing, outside of the granted directory and within it.
fn written() -> Vec<String> {
    let directories = preopens::get_directories();
    let mut lines =
        vec![format!("directories: {:?}", directories.iter().map(|(_, name)| name).collect::<Vec<_>>())];
    let Some((directory, _)) = directories.first() else { return lines };
    let open = |path: &str, follow: PathFlags| {
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let opened: Result<Descriptor, _> = directory.open_at(follow, path, OpenFlags::CREATE, flags);
        opened
            .and_then(|file| file.write(b"written by the probe", 0))
            .map_err(|error| error.name().to_owned())
    };
    for path in ["../outside", "/outside", "inside/../../outside", "link", "folder-link/outside", "within"] {
        lines.push(format!("write {path}: {:?}", open(path, PathFlags::SYMLINK_FOLLOW)));
    }
    // A link that it makes itself leads nowhere, either.
    let linked = directory.symlink_at("../outside", "own-link").map_err(|error| error.name().to_owned());
    lines
        .push(format!("link: {linked:?}, write own-link: {:?}", open("own-link", PathFlags::SYMLINK_FOLLOW)));
    lines
}

/// Sends requests to a host that was not granted, and to the one in the data.
fn called(event: &Envelope<'_>) -> Vec<String> {
    let granted = std::str::from_utf8(event.data).unwrap_or_default().trim_matches('"');
    let port = granted.rsplit(':').next().unwrap_or_default();
    let targets = [granted.to_owned(), format!("localhost:{port}"), format!("{granted}@localhost:{port}")];
    let mut lines = Vec::new();
    for authority in targets {
        lines.push(format!("call {}: {}", authority.replace(port, "PORT"), call(&authority, Scheme::Http)));
    }
    lines.push(format!("call over TLS: {}", call(granted, Scheme::Https)));
    lines
}

fn call(authority: &str, scheme: Scheme) -> String {
    let request = OutgoingRequest::new(Fields::new());
    let is_set = request.set_scheme(Some(&scheme)).is_ok()
        && request.set_authority(Some(authority)).is_ok()
        && request.set_path_with_query(Some("/")).is_ok();
    if !is_set {
        return "invalid".to_owned();
    }
    let future = match outgoing_handler::handle(request, None) {
        Ok(future) => future,
        Err(error) => return format!("{error:?}"),
    };
    future.subscribe().block();
    match future.get() {
        Some(Ok(Ok(response))) => format!("status {}", response.status()),
        other => format!("{other:?}"),
    }
}

exesdb_sdk::sink_plugin!(Probe);
