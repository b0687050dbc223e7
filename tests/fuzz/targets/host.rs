//! What the host reads: its configuration, and requests and responses on its control socket.

use exesdb::config::Config;
use exesdb::control::{Request, Response};
use exesdb_fuzz::{fuzz, fuzz_file};

#[test]
fn fuzzed_configurations_are_read_or_refused() {
    let folder = tempfile::tempdir().expect("there is room for a test's folder");
    let file = folder.path().join("exesdb.toml");
    fuzz_file("configuration", &file, |_| match Config::load(&file) {
        Ok(config) => assert!(!config.stores.is_empty(), "a host without a store"),
        Err(error) => {
            assert!(error.to_string().contains("exesdb.toml"), "{error} does not name the file")
        }
    });
}

#[test]
fn fuzzed_control_lines_are_read_or_refused() {
    fuzz("control", |line| {
        if let Ok(request) = serde_json::from_slice::<Request>(line) {
            let again = serde_json::to_vec(&request).expect("a request can be written");
            assert_eq!(
                serde_json::from_slice::<Request>(&again).expect("what was written can be read"),
                request
            );
        }
        if let Ok(response) = serde_json::from_slice::<Response>(line) {
            let again = serde_json::to_vec(&response).expect("a response can be written");
            assert_eq!(
                serde_json::from_slice::<Response>(&again).expect("what was written can be read"),
                response
            );
        }
    });
}
