//! Logs the message of a panic for the operator. Without this the host sees only the trap `unreachable`.

/// Installs the hook on the first call. Later calls cost one comparison.
#[cfg(target_arch = "wasm32")]
pub(crate) fn install_hook() {
    use std::sync::Once;

    use crate::logging::{self, Level};

    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            logging::log(Level::Error, &message(info.payload_as_str()), &[("panic.location", &place)]);
        }));
    });
}

/// Outside of a component there is no host to log to; the standard hook prints the panic.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn install_hook() {}

#[cfg(any(target_arch = "wasm32", test))]
fn message(payload: Option<&str>) -> String {
    format!("the component panicked: {}", payload.unwrap_or("a payload that is not text"))
}

#[cfg(test)]
mod tests {
    use super::message;

    #[test]
    fn the_message_contains_the_payload() {
        assert_eq!(message(Some("index 3 of 2")), "the component panicked: index 3 of 2");
        assert_eq!(message(None), "the component panicked: a payload that is not text");
    }
}
