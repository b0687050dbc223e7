//! Where a request goes. Pure.

/// A store as the gateway knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreRoute {
    /// Its name in paths.
    pub name: String,
    /// How many gateway workers it has.
    pub workers: usize,
}

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// The host itself: the process runs.
    Live,
    /// The host itself: whether all stores can serve.
    Ready,
    /// The host itself: the list of stores.
    Stores,
    /// The host itself: the state of the cluster.
    Cluster,
    /// The host itself: has another node lead this store.
    TransferLeader(&'a StoreRoute),
    /// The host itself: the state of this store.
    StoreInfo(&'a StoreRoute),
    /// A gateway worker of this store.
    Store(&'a StoreRoute),
    /// No store has this name.
    UnknownStore(&'a str),
}

/// Decides by the path. Everything below `/v1/stores/{name}` belongs to that store. Other paths, except the host's own, go to
/// the first store, whose gateway knows the rest of the API, such as `/openapi.json`.
pub(crate) fn route<'a>(stores: &'a [StoreRoute], path: &'a str) -> Route<'a> {
    match path {
        "/health/live" => return Route::Live,
        "/health" | "/health/ready" => return Route::Ready,
        "/v1/stores" => return Route::Stores,
        "/v1/cluster" => return Route::Cluster,
        _ => {}
    }
    // Store names need no percent-encoding, so a name that has some is unknown.
    let find = |name: &str| stores.iter().find(|store| store.name == name);
    if let Some(rest) = path.strip_prefix("/v1/cluster/stores/")
        && let Some((name, "transfer-leader")) = rest.split_once('/')
    {
        return find(name).map_or(Route::UnknownStore(name), Route::TransferLeader);
    }
    match path.strip_prefix("/v1/stores/") {
        Some(rest) => {
            let (name, below) =
                rest.split_once('/').map_or((rest, None), |(name, below)| (name, Some(below)));
            match (find(name), below) {
                (Some(store), None) => Route::StoreInfo(store),
                (Some(store), Some(_)) => Route::Store(store),
                (None, _) => Route::UnknownStore(name),
            }
        }
        None => stores.first().map_or(Route::UnknownStore(""), Route::Store),
    }
}

#[cfg(test)]
mod tests {
    use super::{Route, StoreRoute, route};

    #[test]
    fn the_path_determines_the_route() {
        let stores = ["main", "orders"].map(|name| StoreRoute { name: name.into(), workers: 3 });
        let table = [
            ("/health/live", Route::Live),
            ("/health/ready", Route::Ready),
            ("/v1/stores/main/events", Route::Store(&stores[0])),
            ("/v1/stores", Route::Stores),
            ("/v1/cluster", Route::Cluster),
            ("/v1/cluster/", Route::Store(&stores[0])),
            ("/v1/cluster/stores/orders/transfer-leader", Route::TransferLeader(&stores[1])),
            ("/v1/cluster/stores/other/transfer-leader", Route::UnknownStore("other")),
            ("/v1/cluster/stores//transfer-leader", Route::UnknownStore("")),
            ("/v1/cluster/stores/%6dain/transfer-leader", Route::UnknownStore("%6dain")),
            ("/v1/cluster/stores/orders/transfer-leader/", Route::Store(&stores[0])),
            ("/v1/cluster/stores/orders", Route::Store(&stores[0])),
            ("/v1/stores/orders", Route::StoreInfo(&stores[1])),
            ("/v1/stores/orders/", Route::Store(&stores[1])),
            ("/v1/stores/orders/streams/a%2Fb/events", Route::Store(&stores[1])),
            ("/v1/stores/other/events", Route::UnknownStore("other")),
            ("/v1/stores/", Route::UnknownStore("")),
            ("/v1/stores/%6dain/events", Route::UnknownStore("%6dain")),
            ("/v1/stores/main%2f../orders", Route::UnknownStore("main%2f..")),
            ("/openapi.json", Route::Store(&stores[0])),
            ("/health", Route::Ready),
            ("/health/", Route::Store(&stores[0])),
            ("/", Route::Store(&stores[0])),
        ];
        for (path, expected) in table {
            assert_eq!(route(&stores, path), expected, "{path}");
        }
        assert_eq!(route(&[], "/openapi.json"), Route::UnknownStore(""));
    }
}
