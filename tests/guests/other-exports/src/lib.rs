//! A component whose exports are those of other versions of the contract, another one for each role: to see how the loader
//! says so. As streams it exports a later version of the interface, as snapshots it lacks functions, and as a gateway it
//! describes itself with a record of fewer fields.

/// What wit-bindgen makes of the interfaces.
#[allow(unsafe_code, clippy::wildcard_imports)]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package tests:other-exports@1.0.0;

            world other-exports {
                export exesdb:store/stream-writes@0.3.0;
                export exesdb:store/snapshots@0.2.0;
                export exesdb:host/describe@0.1.0;
                export wasi:http/incoming-handler@0.2.12;
            }

            package exesdb:store@0.3.0 {
                interface stream-writes {
                    decide: func();
                }
            }

            package exesdb:store@0.2.0 {
                interface snapshots {
                    put: func();
                }
            }

            package exesdb:host@0.1.0 {
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

    impl exports::exesdb::store0_3_0::stream_writes::Guest for OtherExports {
        fn decide() {}
    }

    impl exports::exesdb::store0_2_0::snapshots::Guest for OtherExports {
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
