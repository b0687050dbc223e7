//! Several stores in one process.

use exesdb_tests::{Down, Host};
use serde_json::json;

#[test]
fn stores_do_not_see_each_others_data() {
    let host = Host::with_config(
        "[[store]]\nname = \"orders\"\n\n[[store]]\nname = \"bills\"\nwriters = 1\nreaders = 1\ngateway_pool_size = 1\n",
    );
    let (orders, bills) = (host.http.of("orders"), host.http.of("bills"));
    let live = bills.follow("/v1/stores/bills/events", None);
    orders.append("s", "no_stream", &[json!({ "id": "same", "type": "order", "data": 1 })]).expect(200);
    assert_eq!(bills.read_all().len(), 0);
    bills.get(&bills.stream("s")).expect_problem(404, "stream-not-found");
    assert!(live.is_silent());
    // The same stream, id and expected version are independent in another store.
    let response = bills.append("s", "no_stream", &[json!({ "id": "same", "type": "bill", "data": 2 })]);
    assert_eq!(response.expect(200).json["position"], 0);
    assert_eq!(live.take(1)[0]["type"], "bill");
    assert_eq!(orders.read("s")[0]["type"], "order");

    orders.put(&format!("{}/snapshots/0", orders.stream("s")), &json!({ "data": 1 })).expect(204);
    let snapshot = bills.get(&format!("{}/snapshots/latest", bills.stream("s")));
    snapshot.expect_problem(404, "snapshot-not-found");

    host.http.get("/v1/stores/main/events").expect_problem(404, "store-not-found");
    let ready = host.http.get("/health/ready").expect(200).json;
    assert_eq!(ready["stores"], json!({ "orders": "ready", "bills": "ready" }));
    let tree = host.tree();
    let children: Vec<_> =
        tree["children"].as_array().unwrap().iter().map(|child| child["id"].clone()).collect();
    assert_eq!(children, [json!("orders"), json!("bills"), json!("listener")]);

    let host = host.crash_and_restart();
    assert_eq!(host.http.of("orders").read("s")[0]["type"], "order");
    assert_eq!(host.http.of("bills").read("s")[0]["type"], "bill");
    // The command line reaches each of them.
    assert!(host.ok(&["read", "s", "--store", "orders"]).contains("order"));
    assert!(host.ok(&["read", "s", "--store", "bills"]).contains("bill"));
    let output = host.exesdb(&["read", "s"]);
    assert!(exesdb_tests::stderr(&output).contains("there is no store `main`"));
}

#[test]
fn a_pool_has_its_configured_size() {
    let host = Host::with_config(
        "[[store]]\nname = \"main\"\nwriters = 2\nreaders = 3\nsnapshot_workers = 1\ngateway_pool_size = 4\n",
    );
    let tree = host.tree();
    let size = |path: &str| {
        path.split('/').fold(&tree, |node, id| {
            let children = node["children"].as_array().unwrap();
            children.iter().find(|child| child["id"] == id).unwrap()
        })["children"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert_eq!(size("main/system/core-system/persistence-system/streams/writers"), 2);
    assert_eq!(size("main/system/core-system/persistence-system/streams/readers"), 3);
    assert_eq!(size("main/system/core-system/persistence-system/snapshots"), 1);
    assert_eq!(size("main/system/gateway-system/gateway-workers"), 4);
    for number in 0..20 {
        host.http.append_one(&format!("s-{number}")).expect(200);
    }
    assert_eq!(host.http.read_all().len(), 20);
}

/// Many systems limit a process to 1,024 open files.
#[test]
fn a_host_with_few_open_files_starts_with_fewer_stores() {
    let config = "[[store]]\nname = \"main\"\n[[store]]\nname = \"orders\"\n";
    let host = Down::new(Some(config)).with_files(1_024).start();
    let told = host.log().into_iter().find(|line| line.contains("ulimit -n")).expect("it is told");
    assert!(told.contains("\"files\":1024") || told.contains("1024"), "{told}");
    let orders = host.http.of("orders");
    for index in 0..50 {
        host.http.append_one(&format!("s-{index}")).expect(200);
        orders.append_one(&format!("s-{index}")).expect(200);
    }
    let followers: Vec<_> = (0..100).map(|_| host.http.follow("/v1/stores/main/events", None)).collect();
    for follower in followers {
        assert_eq!(follower.take(50).len(), 50);
    }
    host.stop();
    let said = Down::new(Some(config)).with_files(256).refused();
    assert!(said.contains("2 stores need at least 456 open files, and this process may have 256"), "{said}");
}
