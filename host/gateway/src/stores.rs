//! `/v1/stores` and `/v1/stores/{store}`: the stores and their states. They need no component.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;

use crate::health::{StoreReadiness, json};

/// All stores.
pub(crate) fn list(stores: &[StoreReadiness]) -> Response<Full<Bytes>> {
    let each: Vec<_> = stores.iter().map(document).collect();
    json(StatusCode::OK, serde_json::json!({ "stores": each }))
}

/// One store.
pub(crate) fn info(store: &StoreReadiness) -> Response<Full<Bytes>> {
    json(StatusCode::OK, document(store))
}

fn document(store: &StoreReadiness) -> serde_json::Value {
    let mut document = serde_json::json!({ "name": store.store, "ready": store.trouble.is_none() });
    if let Some(trouble) = &store.trouble {
        document["trouble"] = trouble.as_str().into();
    }
    if let Some(position) = store.next_position {
        document["next_position"] = position.into();
    }
    if let Some(history) = &store.history {
        document["history"] = history.as_str().into();
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::document;
    use crate::health::StoreReadiness;

    #[test]
    fn unknown_values_are_omitted() {
        let open = Some((7, "00000000000000ab"));
        for (trouble, log, expected) in [
            (
                None,
                open,
                json!({ "name": "main", "ready": true, "next_position": 7, "history": "00000000000000ab" }),
            ),
            (
                Some("read-only"),
                open,
                json!({ "name": "main", "ready": false, "trouble": "read-only", "next_position": 7,
                    "history": "00000000000000ab" }),
            ),
            (Some("parked"), None, json!({ "name": "main", "ready": false, "trouble": "parked" })),
        ] {
            let trouble = trouble.map(str::to_owned);
            let store = StoreReadiness {
                store: "main".into(),
                trouble,
                degraded: None,
                components: Vec::new(),
                next_position: log.map(|(position, _)| position),
                history: log.map(|(_, history)| history.to_owned()),
            };
            assert_eq!(document(&store), expected);
        }
    }
}
