//! A component whose exports are those of other versions of the contract, under the names of this
//! version: to see how the loader says so. As snapshots it lacks functions, and as a gateway it describes itself with a record of
//! fewer fields.

/// What wit-bindgen makes of the interfaces.
#[allow(unsafe_code, clippy::wildcard_imports)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package tests:other-exports@1.0.0;

            world other-exports {
                export exesdb:store/snapshots@0.2.0;
                export exesdb:host/describe@0.2.0;
                export wasi:http/incoming-handler@0.2.12;
            }

            package exesdb:store@0.2.0 {
                interface snapshots {
                    put: func();
                }
            }

            package exesdb:host@0.2.0 {
                interface describe {
                    record description {
                        name: string,
                        state-version: u32,
                    }
                    describe: func() -> description;
                }
            }

            package wasi:http@0.2.12 {
                interface incoming-handler {
                    handle: func();
                }
            }
        ",
    });

    use super::OtherExports;

    export!(OtherExports);

    impl exports::exesdb::store::snapshots::Guest for OtherExports {
        fn put() {}
    }

    impl exports::exesdb::host::describe::Guest for OtherExports {
        fn describe() -> exports::exesdb::host::describe::Description {
            exports::exesdb::host::describe::Description {
                name: "other-exports".to_owned(),
                state_version: 1,
            }
        }
    }

    impl exports::wasi::http::incoming_handler::Guest for OtherExports {
        fn handle() {}
    }
}

struct OtherExports;
