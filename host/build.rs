//! Puts the components that ship into the binary. `cargo xtask build` makes them first; this only finds them.

use std::path::Path;

const COMPONENTS: [&str; 6] =
    ["streams", "snapshots", "subscriptions", "gateway-http", "webhook", "ndjson-file"];

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components");
    for name in COMPONENTS {
        let wasm = folder.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", wasm.display());
        if !wasm.is_file() {
            println!(
                "cargo::error=target/components/{name}.wasm is missing; run `cargo xtask components` first"
            );
        }
    }
    println!("cargo::rustc-env=EXESDB_COMPONENTS={}", folder.display());
}
