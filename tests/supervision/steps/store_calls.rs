//! The calls of a gateway that speaks `wasi:http` and waits in them.

use exesdb_tests::{Host, probe};

#[test]
fn a_gateway_that_waits_makes_the_same_calls() {
    let host = Host::with_config(&format!(
        "[[store]]\nname = \"main\"\n[store.components]\ngateway = {:?}\n",
        probe("store-probe")
    ));
    let got = host.http.get("/v1/stores/main/probe/store").expect(200).text;
    let expected = [
        "end 0",
        "version 0",
        "version 1",
        "conflict Some(1)",
        "not found",
        "invalid selection.count",
        "page 2",
        "65 of 65, problem too-large",
        "main None 0",
        "Wake::Events Wake::Timeout",
    ];
    assert_eq!(got.lines().collect::<Vec<_>>(), expected);
}
