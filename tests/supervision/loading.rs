//! Components that cannot be loaded, and the error messages.

use std::path::Path;

use exesdb_tests::{Down, Host, folder, probe, root, stderr};

/// The log of a host that is configured with a component file for a role.
fn refused(role: &str, file: &Path) -> String {
    Down::new(Some(&format!("[[store]]\nname = \"main\"\n[store.components]\n{role} = {file:?}\n"))).refused()
}

#[test]
fn unknown_imports_are_all_named_before_compilation() {
    let said = refused("streams", &probe("misfit"));
    for part in [
        "store main",
        "misfit.wasm",
        "misfit:wishes/telepathy@1.2.3 (neither of exesdb nor of WASI",
        "misfit:wishes/clairvoyance@1.2.3 (neither of exesdb nor of WASI",
        "not offered",
        "exesdb:storage/views@0.2.0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_error_names_the_kind_of_a_component_in_the_wrong_role() {
    let built = |name: &str| root().join(format!("target/components/{name}.wasm"));
    // role, component, its kind
    let table = [
        ("streams", "snapshots", "snapshots"),
        ("snapshots", "streams", "streams"),
        ("streams", "gateway-http", "gateway"),
        ("gateway", "streams", "streams"),
        ("gateway", "snapshots", "snapshots"),
    ];
    for (role, name, kind) in table {
        let file = built(name);
        let said = refused(role, &file);
        let sentence = format!("is a {kind} component and cannot be the {role}; write it as `{kind} = ...`");
        assert!(said.contains(&sentence) && said.contains(&*file.to_string_lossy()), "{said}");
    }
}

#[test]
fn the_error_says_what_a_file_is_that_is_not_a_component() {
    let folder = folder();
    let file = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file
    };
    let cut = &std::fs::read(probe("misfit")).unwrap()[..10_000];
    let files = [
        (
            file("text.wasm", b"this is no component"),
            "give the `.wasm` file that the component's build wrote",
        ),
        (file("wat.wasm", b"(component)"), "make it binary with `wasm-tools parse"),
        (file("empty.wasm", b""), "the file is empty"),
        (file("module.wasm", b"\0asm\x01\0\0\0"), "it is a core module"),
        (file("compiled.wasm", b"\x7fELF\x02\x01\x01"), "give the component that it was compiled from"),
        (file("cut.wasm", cut), "it is cut off or damaged at byte"),
    ];
    for (file, todo) in files {
        let said = refused("streams", &file);
        assert!(said.contains("is not a WebAssembly component: "), "{said}");
        assert!(said.contains(todo) && said.contains(&*file.to_string_lossy()), "{said}");
    }
    let large = file("large.wasm", b"");
    std::fs::File::options().write(true).open(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    let said = refused("gateway", &large);
    assert!(said.contains("67108864 bytes"), "{said}");
}

#[test]
fn the_error_for_a_missing_file_has_its_line() {
    let folder = folder();
    let missing = folder.path().join("missing.wasm");
    let said = refused("streams", &missing);
    assert!(said.contains("exesdb.toml:4:") && said.contains("missing.wasm"), "{said}");
    assert!(refused("streams", folder.path()).contains("exesdb.toml:4:"), "a folder is no file");
}

#[test]
fn a_link_out_of_the_folder_is_refused() {
    let folder = folder();
    let link = folder.path().join("linked.wasm");
    std::os::unix::fs::symlink(root().join("target/components/streams.wasm"), &link).unwrap();
    let said = refused("streams", &link);
    assert!(
        said.contains("linked.wasm is a link to ") && said.contains("target/components/streams.wasm"),
        "{said}"
    );
    assert!(said.contains("name the file itself"), "{said}");
}

#[test]
fn the_error_names_a_component_of_another_contract_version() {
    // role, component, what differs
    let table = [
        ("gateway", "other-imports", "expected record of 2 fields, found 1 field"),
        ("gateway", "other-exports", "expected record of 3 fields, found 2 fields"),
        ("snapshots", "other-exports", "it does not export exesdb:store/snapshots@0.2.0."),
        (
            "gateway",
            "earlier-contract",
            "imports exesdb:store/streams@0.1.0, exports exesdb:host/describe@0.1.0",
        ),
        (
            "streams",
            "earlier-contract",
            "imports exesdb:store/streams@0.1.0, exports exesdb:host/describe@0.1.0",
        ),
    ];
    for (role, name, difference) in table {
        let file = probe(name);
        let said = refused(role, &file);
        let last = said.lines().last().unwrap_or_default();
        let (sentence, detail) =
            last.split_once(" was built against another version of the contract: build it again against version 0.2 of the contract ")
                .unwrap_or_else(|| panic!("{last}"));
        assert!(
            sentence.starts_with("exesdb: cannot serve store main: ")
                && sentence.contains(&*file.to_string_lossy())
        );
        assert!(sentence.contains("exesdb.toml:4:"), "{sentence}");
        assert!(detail.contains("the folder `wit`") && detail.contains(difference), "{detail}");
    }
}

#[test]
fn the_error_names_the_line_of_a_limit_that_is_too_low() {
    // tables of the configuration, place of the limit, component, table to change
    let table = [
        ("[store.limits.streams]\nmemory_mib = 1", "4:14", "streams component builtin:streams", "streams"),
        (
            "[store.limits.gateway]\nmemory_mib = 1",
            "4:14",
            "gateway component builtin:gateway-http",
            "gateway",
        ),
        (
            "[store.limits]\ncall_cpu_ms = 9\nmemory_mib = 1",
            "5:14",
            "streams component builtin:streams",
            "streams",
        ),
    ];
    for (limits, place, component, section) in table {
        let said = Down::new(Some(&format!("[[store]]\nname = \"main\"\n{limits}\n"))).refused();
        let last = said.lines().last().unwrap_or_default();
        let sentence = format!(
            ":{place}: the {component} needs more memory than `memory_mib = 1` lets it have when it is started; raise memory_mib under [store.limits.{section}] ("
        );
        assert!(last.starts_with("exesdb: cannot serve store main: ") && last.contains(&sentence), "{last}");
    }
}

#[test]
fn every_command_gives_the_same_cause_for_a_store_that_does_not_start() {
    let config =
        "[[store]]\nname = \"good\"\n\n[[store]]\nname = \"bad\"\n[store.limits.streams]\nmemory_mib = 1\n";
    let host = Host::with_config(config);
    let cause = "the streams component builtin:streams needs more memory than `memory_mib = 1` lets it have";
    let ready = host.http.get("/health/ready").expect(503).json;
    let trouble = ready["stores"]["bad"].as_str().unwrap_or_default();
    assert!(trouble.contains(cause) && trouble.contains("exesdb restart bad"), "{ready}");
    let refused = host.http.of("bad").append_one("s").expect_problem(503, "restarting");
    assert!(refused.detail().contains(cause), "{}", refused.text);
    let read = host.exesdb(&["read", "--store", "bad"]);
    assert!(
        stderr(&read).starts_with("exesdb: store `bad` does not serve: ") && stderr(&read).contains(cause)
    );
    // The table has the beginning of the cause, and the line below it the whole.
    let tree = host.ok(&["tree"]);
    let told = tree.lines().find(|line| line.starts_with("host/bad: "));
    assert!(
        told.is_some_and(|line| line.contains(cause) && line.contains("[store.limits.streams]")),
        "{tree}"
    );
    // The doctor needs an existing store.
    let config = host.data().with_file_name("exesdb.toml");
    std::fs::write(&config, "[[store]]\nname = \"good\"\n[store.limits.streams]\nmemory_mib = 1\n").unwrap();
    let down = host.stop().down;
    let doctor = down.exesdb(&["doctor", "--store", "good", "--config", &config.to_string_lossy()]);
    assert!(stderr(&doctor).contains(cause), "{}", stderr(&doctor));
}
