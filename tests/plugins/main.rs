//! Runs the commands of `docs/plugins.md`, for each language, with the tools that it names. So components that toolchains
//! build with their default settings load, serve, and report errors as the document says.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use exesdb_test_support::skip;
use exesdb_tests::{binary, keep_compiled, own_loopback, root, take_compiled};
use serde_json::Value;

/// Time limit for the commands of a language, in seconds. They fetch tools, and build and compile a component.
const PATIENCE_SECONDS: &str = "1500";

/// The address in the document, which the test replaces by its own.
const ADDRESS: &str = "127.0.0.1";

/// The output of the document's commands.
struct Played {
    stdout: String,
    /// The records of the host's log.
    log: Vec<Value>,
}

impl Played {
    /// The JSON documents in the output, in order: responses of the gateway and telemetry events.
    fn responses(&self) -> Vec<Value> {
        let documents = serde_json::Deserializer::from_str(&self.stdout).into_iter::<Value>();
        documents.map_while(Result::ok).collect()
    }
}

/// The commands of a section of the document.
fn commands(document: &str, section: &str) -> String {
    let heading = format!("\n## {section}\n");
    let (_, rest) =
        document.split_once(&heading).unwrap_or_else(|| panic!("there is no section {section:?}"));
    let text = rest.split("\n## ").next().unwrap_or(rest);
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    let commands: String = blocks.collect();
    assert!(!commands.is_empty(), "the section {section:?} has no commands");
    commands
}

/// Fails if a tool is missing, with the name of its package.
fn need(tool: &str, arguments: &[&str], package: &str) {
    let found = Command::new(tool).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(found.is_ok_and(|status| status.success()), "`{tool}` is missing; install {package}");
}

/// A folder for the caches of tools.
fn kept(name: &str) -> PathBuf {
    let folder = root().join("target/tmp/plugins").join(name);
    std::fs::create_dir_all(&folder).expect("the build's folder can be written");
    folder
}

/// Runs the document's commands for a language.
fn play(language: &str, address: IpAddr) -> Played {
    need("curl", &["--version"], "curl");
    let document = std::fs::read_to_string(root().join("docs/plugins.md")).expect("the document is there");
    let commands = [commands(&document, language), commands(&document, "Run it")].concat();
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}",
        commands.replace(ADDRESS, &address.to_string())
    );
    let folder = exesdb_tests::folder();
    let visits = folder.path().join("visits");
    let data = visits.join("exesdb-data");
    std::fs::create_dir_all(&data).expect("the test's folder can be written");
    // Not in the cache of the other tests: these components are large, and every test would copy them.
    let compiled = kept("compiled");
    take_compiled(&compiled, &data);
    // A kept target folder makes later builds fast.
    std::os::unix::fs::symlink(kept("rust"), visits.join("target"))
        .expect("the test's folder can be written");
    let binaries = binary().parent().expect("a binary lies in a folder").to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(binaries).chain(std::env::split_paths(&path)))
        .expect("a path has no colon");
    let output = Command::new("timeout")
        .args(["--kill-after=10", PATIENCE_SECONDS, "bash", "-c", &script])
        .current_dir(folder.path())
        .env("SRC", root())
        .env("PATH", path)
        .env("EXESDB_LISTEN", format!("{address}:2113"))
        .env("npm_config_cache", kept("npm"))
        .env("PIP_CACHE_DIR", kept("pip"))
        .env_remove("EXESDB_DATA")
        .env_remove("EXESDB_URL")
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .output()
        .expect("`timeout` and `bash` are there");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n--- printed\n{stdout}\n--- logged\n{stderr}", output.status);
    keep_compiled(&data, &compiled);
    // Other programs write to stderr, too, and not always whole lines.
    let record = |line: &str| serde_json::from_str(&line[line.find("{\"timestamp\"")?..]).ok();
    let log = stderr.lines().filter_map(record).collect();
    Played { stdout: of_the_gateway(&stdout), log }
}

/// The output from the first response of a running host on; the output of the build comes before that.
fn of_the_gateway(stdout: &str) -> String {
    let start = stdout.find("{\"status\":\"ready\"").or_else(|| stdout.find("{\"components\":"));
    let start = start.unwrap_or_else(|| panic!("the host was never ready:\n{stdout}"));
    stdout[start..].to_owned()
}

/// Checks what the document says about the gateway. `denial` and `exception` are error texts of the language.
fn check(played: &Played, denial: &str, exception: &str) {
    let responses = played.responses();
    let shown = || format!("{responses:#?}\n{}", played.stdout);
    assert_eq!(responses.len(), 7, "{}", shown());
    assert_eq!(responses[0]["status"], "ready", "{}", shown());
    assert_eq!((&responses[1]["version"], &responses[2]["version"]), (&0.into(), &1.into()), "{}", shown());
    assert_eq!((&responses[3]["visits"], &responses[3]["served"]), (&2.into(), &3.into()), "{}", shown());
    assert!(responses[4]["denied"].as_str().is_some_and(|text| text.contains(denial)), "{}", shown());
    let incident = responses[5]["incident"].as_str().expect("a crash has an incident");
    assert_eq!(responses[6]["detail"]["incident"], incident, "{}", shown());
    assert_eq!(responses[6]["detail"]["component"], "gateway", "{}", shown());

    let of = |key: &str, wanted: &str| {
        let found = played.log.iter().find(|record| record[key].as_str() == Some(wanted));
        found.unwrap_or_else(|| panic!("no record has {key}={wanted}: {:#?}", played.log))
    };
    // The output of the component is in the log.
    assert_eq!(of("message", "recorded visit 1 of Grace")["level"], "INFO");
    let crash = of("incident", incident);
    assert_eq!((&crash["level"], &crash["store"]), (&"WARN".into(), &"main".into()), "{crash:#}");
    let words = format!("{} {}", crash["reason"], crash["stderr"]);
    assert!(words.contains(exception), "{exception:?} is not in {crash:#}");
}

/// Whether the target `wasm32-wasip2` can be installed. `.ci/run` says so where it cannot.
fn has_rust_target(section: &str) -> bool {
    if let Some(reason) = std::env::var_os("EXESDB_SKIP_RUST_PLUGIN") {
        skip(&format!("the section {section} of docs/plugins.md"), &reason.to_string_lossy());
        return false;
    }
    need("rustup", &["--version"], "rustup (https://rustup.rs)");
    true
}

#[test]
fn the_rust_section_works_as_written() {
    if !has_rust_target("Rust") {
        return;
    }
    let played = play("Rust", own_loopback(1));
    check(&played, "No such file or directory", "the visits cannot be counted");
    let crash = &played.responses()[6]["detail"];
    let frames = crash["backtrace"].as_array().expect("there is a backtrace");
    let is_own = |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("src/lib.rs:"));
    assert!(frames.iter().any(is_own), "{crash:#}");
}

#[test]
fn the_section_of_rust_on_steps_works_as_written() {
    if !has_rust_target("Rust, on steps") {
        return;
    }
    let played = play("Rust, on steps", own_loopback(4));
    let responses = played.responses();
    let shown = || format!("{responses:#?}\n{}", played.stdout);
    assert!(responses.len() >= 7, "{}", shown());
    assert_eq!((&responses[1]["version"], &responses[2]["version"]), (&0.into(), &1.into()), "{}", shown());
    assert_eq!(responses[3]["visits"], 2, "{}", shown());
    assert_eq!(responses[4]["error"], "there is nothing at /secret", "{}", shown());
    // Made twice, in two instances.
    let traps: Vec<&Value> = responses[6..].iter().map(|trap| &trap["detail"]).collect();
    assert_eq!(traps.len(), 2, "{}", shown());
    assert_eq!(traps[1]["incident"], responses[5]["incident"], "{}", shown());
    assert!(traps.iter().all(|trap| trap["component"] == "gateway"), "{}", shown());
}

#[test]
fn the_javascript_section_works_as_written() {
    need("node", &["--version"], "Node.js 20 or later (Debian: nodejs)");
    need("npm", &["--version"], "npm");
    let played = play("JavaScript", own_loopback(2));
    check(&played, "TypeError: NetworkError", "the visits cannot be counted");
}

#[test]
fn the_python_section_works_as_written() {
    need(
        "python3",
        &["-m", "venv", "--help"],
        "Python 3.10 or later with its module venv (Debian: python3-venv)",
    );
    let played = play("Python", own_loopback(3));
    check(&played, "FileNotFoundError", "RuntimeError: the visits cannot be counted");
}

#[test]
fn the_versions_in_the_document_are_those_that_are_pinned() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).expect("the file is there");
    let document = read("docs/plugins.md");
    let pins: [(&str, &str, &str); 3] = [
        ("rust-toolchain.toml", "channel = \"1.95.0\"", "Rust 1.95.0"),
        ("sdk/examples/javascript/package.json", "componentize-js\": \"0.23.0\"", "0.23.0"),
        ("sdk/examples/python/requirements.txt", "componentize-py==0.25.1", "0.25.1"),
    ];
    for (file, pin, said) in pins {
        assert!(read(file).contains(pin), "{file} pins another version than {pin}");
        assert!(document.contains(said), "the document does not say {said}");
    }
}
