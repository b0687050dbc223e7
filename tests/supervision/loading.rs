//! Components that cannot be loaded, and how the operator is told.

use std::path::Path;

use exesdb_tests::{Down, folder, probe, root};

/// What a host says that is to use a file for a role.
fn refused(role: &str, file: &Path) -> String {
    Down::new(Some(&format!("[[store]]\nname = \"main\"\n[store.components]\n{role} = {file:?}\n"))).refused()
}

#[test]
fn all_imports_that_are_not_offered_are_named_before_anything_is_compiled() {
    let said = refused("streams", &probe("misfit"));
    for part in [
        "store main",
        "misfit.wasm",
        "misfit:wishes/telepathy@1.2.3 (neither of exesdb nor of WASI",
        "misfit:wishes/clairvoyance@1.2.3 (neither of exesdb nor of WASI",
        "not offered",
        "exesdb:storage/keyspaces@0.1.0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_component_of_another_kind_is_told_what_it_is() {
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
fn a_file_that_is_no_component_is_told_what_it_is_and_what_to_do() {
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
    assert!(
        said.contains("linked.wasm is a link to ") && said.contains("target/components/streams.wasm"),
        "{said}"
    );
    assert!(said.contains("name the file itself"), "{said}");
}
