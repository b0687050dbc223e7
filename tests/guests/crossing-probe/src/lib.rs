//! A component for the benchmark `crossing` of `exesdb-plugin`: it decides appends and returns batches in several forms, and
//! it has a gateway's handler in several forms.

mod batch;
/// What wit-bindgen makes of the interfaces.
#[allow(unsafe_code, clippy::wildcard_imports, missing_docs)]
mod bindings {
    wit_bindgen::generate!({ path: "wit" });

    use super::CrossingProbe;

    export!(CrossingProbe);
}
mod decide;
mod frame;
mod handler;

struct CrossingProbe;
