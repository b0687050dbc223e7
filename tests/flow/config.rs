//! Mistakes in the configuration, as the operator sees them.

use exesdb_tests::{Down, exesdb_in, folder, stderr};

#[test]
fn a_mistake_is_reported_with_its_line() {
    // configuration, line, text of the message
    let table: [(&str, u32, &[&str]); 18] = [
        ("[[store]]\nname = \"main\"\nwriter = 4\n", 3, &["writer", "writers"]),
        ("[[store]]\nname = \"main\"\nwriters = 0\n", 3, &["writers is 0", "from 1 to 64"]),
        ("[[store]]\nname = \"main\"\nwriters = \"4\"\n", 3, &["writers is \"4\"", "whole number"]),
        ("[[store]]\nname = \"main\"\nreaders = -1\n", 3, &["readers is -1"]),
        ("[[store]]\nname = \"main\"\ngateway_pool_size = 65\n", 3, &["gateway_pool_size is 65", "64"]),
        ("[[store]]\nname = \"main\"\npubsub = \"no\"\n", 3, &["pubsub is \"no\"", "true or false"]),
        ("[[store]]\nname = \"Main\"\n", 2, &["name is \"Main\"", "a-z, 0-9 and -"]),
        ("[[store]]\nname = \"../up\"\n", 2, &["name is \"../up\""]),
        ("[[store]]\nwriters = 4\n", 1, &["no name"]),
        ("[[store]]\nname = \"a\"\n[[store]]\nname = \"a\"\n", 4, &["name is \"a\"", "earlier"]),
        ("# stores\nlisten = \"nowhere\"\n", 2, &["listen is \"nowhere\"", "127.0.0.1:2113"]),
        ("[[store]]\nname = \"a\"\n[store.limits]\ncall_cpu_ms = 0\n", 4, &["call_cpu_ms is 0"]),
        ("[[store]]\nname = \"a\"\n[store.limits]\nmemory = 64\n", 4, &["memory", "memory_mib"]),
        (
            "[[store]]\nname = \"a\"\n[store.components]\nstreams = \"builtin:strems\"\n",
            4,
            &["builtin:strems", "builtin:streams"],
        ),
        ("[[store]]\nname = \"a\"\nwriters = \n", 3, &[]),
        (
            "[[store]]\nname = \"a\"\n[store.settings.streams]\nindex-corelation = true\n",
            4,
            &[
                "exesdb.toml:4:1:",
                "index-corelation",
                "it has `index-correlation` (true or false, default false)",
            ],
        ),
        (
            "[[store]]\nname = \"a\"\n[store.settings.streams]\nindex-correlation = \"yes\"\n",
            4,
            &["exesdb.toml:4:21:", "index-correlation is \"yes\"; it must be true or false"],
        ),
        (
            "[[store]]\nname = \"a\"\n[store.settings.gateway]\ngreeting = \"hello\"\n",
            4,
            &["exesdb.toml:4:1:", "the gateway component has no setting `greeting`; it declares no settings"],
        ),
    ];
    for (config, line, named) in table {
        let said = Down::new(Some(config)).refused();
        assert!(said.contains(&format!("exesdb.toml:{line}:")), "{config}\n{said}");
        for part in named {
            assert!(said.contains(part), "{config}\n{said}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = folder();
    let serve = |file: &str| {
        let output = exesdb_in(folder.path(), &["serve", "--config", file], &[]);
        assert_eq!(output.status.code(), Some(1));
        stderr(&output)
    };
    let said = serve("missing.toml");
    assert!(said.contains("missing.toml") && said.contains("cannot be opened"), "{said}");
    std::fs::write(folder.path().join("binary.toml"), [b'a', 0xff]).unwrap();
    let said = serve("binary.toml");
    assert!(said.contains("binary.toml") && said.contains("not UTF-8 at byte 1"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}
