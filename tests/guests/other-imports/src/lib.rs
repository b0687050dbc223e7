//! A gateway that imports logging as another version of the contract has it, with records of fewer fields: to see how the
//! loader says so. It is never run.

/// What wit-bindgen makes of the interfaces.
#[allow(unsafe_code, clippy::wildcard_imports)]
mod bindings {
    wit_bindgen::generate!({
        generate_all,
        inline: "
            package tests:other-imports@1.0.0;

            world other-imports {
                import exesdb:host/logging@0.2.0;
                export wasi:http/incoming-handler@0.2.12;
            }

            package exesdb:host@0.2.0 {
                interface logging {
                    enum level { trace, debug, info, warn, error }
                    record field {
                        key: string,
                    }
                    log: func(level: level, message: string, fields: list<field>);
                }
            }

            package wasi:http@0.2.12 {
                interface incoming-handler {
                    handle: func();
                }
            }
        ",
    });

    use super::OtherImports;

    export!(OtherImports);

    impl exports::wasi::http::incoming_handler::Guest for OtherImports {
        fn handle() {
            exesdb::host::logging::log(exesdb::host::logging::Level::Info, "handled", &[]);
        }
    }
}

struct OtherImports;
