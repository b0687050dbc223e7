//! A gateway that was built against version 0.1 of the contract: to see how the loader says so. It is never run.

/// What wit-bindgen makes of the interfaces.
#[allow(unsafe_code, clippy::wildcard_imports)]
mod bindings {
    wit_bindgen::generate!({
        generate_all,
        inline: "
            package tests:earlier-contract@1.0.0;

            world earlier-contract {
                import exesdb:store/streams@0.1.0;
                export exesdb:host/describe@0.1.0;
                export wasi:http/incoming-handler@0.2.12;
            }

            package exesdb:store@0.1.0 {
                interface streams {
                    list-streams: func() -> list<string>;
                }
            }

            package exesdb:host@0.1.0 {
                interface describe {
                    describe: func() -> string;
                }
            }

            package wasi:http@0.2.12 {
                interface incoming-handler {
                    handle: func();
                }
            }
        ",
    });

    use super::EarlierContract;

    export!(EarlierContract);

    impl exports::exesdb::host::describe::Guest for EarlierContract {
        fn describe() -> String {
            exesdb::store::streams::list_streams().concat()
        }
    }

    impl exports::wasi::http::incoming_handler::Guest for EarlierContract {
        fn handle() {}
    }
}

struct EarlierContract;
