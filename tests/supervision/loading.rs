//! Components that cannot be loaded, and how the operator is told.

use std::path::Path;

use exesdb_tests::{Down, folder, probe, root};

/// What a host says that is to use a file for a role.
fn refused(role: &str, file: &Path) -> String {
    Down::new(Some(&format!("[[store]]\nname = \"main\"\n[store.components]\n{role} = {file:?}\n"))).refused()
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    let said = refused("streams", &probe("misfit"));
    for part in [
        "store main",
        "misfit.wasm",
        "misfit:wishes/telepathy@1.2.3",
        "not offered",
        "exesdb:storage/keyspaces@0.1.0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_component_of_another_role_is_refused() {
    let built = |name: &str| root().join(format!("target/components/{name}.wasm"));
    // role, component, what is missing
    let table = [
        ("streams", built("snapshots"), "exesdb:store/streams"),
        ("snapshots", built("streams"), "exesdb:store/snapshots"),
        ("streams", built("gateway-http"), "not offered"),
        ("gateway", built("streams"), "exesdb:storage/keyspaces"),
    ];
    for (role, file, part) in table {
        let said = refused(role, &file);
        assert!(
            said.contains(part) && said.contains(role) && said.contains(&*file.to_string_lossy()),
            "{said}"
        );
    }
}

#[test]
fn a_file_that_is_no_component_is_refused() {
    let folder = folder();
    let file = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file
    };
    let files = [
        file("text.wasm", b"this is no component"),
        file("empty.wasm", b""),
        file("module.wasm", b"\0asm\x01\0\0\0"),
        file("cut.wasm", &std::fs::read(probe("misfit")).unwrap()[..10_000]),
    ];
    for file in files {
        let said = refused("streams", &file);
        assert!(said.contains("is not a WebAssembly component"), "{said}");
        assert!(said.contains(&*file.to_string_lossy()), "{said}");
    }
    let large = file("large.wasm", b"");
    std::fs::File::options().write(true).open(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    let said = refused("gateway", &large);
    assert!(said.contains("67108864 bytes"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_refused_with_its_line() {
    let folder = folder();
    let missing = folder.path().join("missing.wasm");
    let said = refused("streams", &missing);
    assert!(said.contains("exesdb.toml:4:") && said.contains("missing.wasm"), "{said}");
    assert!(refused("streams", folder.path()).contains("exesdb.toml:4:"), "a folder is no file");
}

#[test]
fn a_link_does_not_lead_out_of_its_folder() {
    let folder = folder();
    let link = folder.path().join("linked.wasm");
    std::os::unix::fs::symlink(root().join("target/components/streams.wasm"), &link).unwrap();
    let said = refused("streams", &link);
    assert!(said.contains("linked.wasm"), "{said}");
}
