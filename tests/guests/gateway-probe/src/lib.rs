//! The gateway component that ships with exesdb, and a way for tests to make it misbehave: a request for a path below
//! `/v1/stores/<store>/probe/`. All else is as in the original.
//!
//! | last segment | the request |
//! |---|---|
//! | `trap` | panics before it answers |
//! | `loop` | loops for ever |
//! | `hungry` | allocates without end |
//! | `trap-mid-response` | sends a head and the beginning of a body, then panics |

use std::hint::black_box;

use exesdb_gateway_http::HttpGateway;
use exesdb_sdk::gateway::{Gateway, IncomingRequest, ResponseOutparam, respond_streaming};

struct Probe;

/// How a request misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misdeed {
    Trap,
    Loop,
    Hunger,
    TrapMidResponse,
}

fn misdeed(path_with_query: &str) -> Option<Misdeed> {
    let path = path_with_query.split('?').next()?;
    let segments: Vec<&str> = path.split('/').collect();
    let ["", "v1", "stores", _, "probe", name] = segments.as_slice() else { return None };
    match *name {
        "trap" => Some(Misdeed::Trap),
        "loop" => Some(Misdeed::Loop),
        "hungry" => Some(Misdeed::Hunger),
        "trap-mid-response" => Some(Misdeed::TrapMidResponse),
        _ => None,
    }
}

impl Gateway for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        match request.path_with_query().as_deref().and_then(misdeed) {
            None => HttpGateway::handle(request, out),
            Some(Misdeed::Trap) => panic!("the probe traps, as it was told"),
            Some(Misdeed::Loop) => loop {
                black_box(());
            },
            Some(Misdeed::Hunger) => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    // Written, so that the memory is really taken.
                    eaten.push(vec![1; 1 << 20]);
                    black_box(&eaten);
                }
            }
            Some(Misdeed::TrapMidResponse) => {
                let body = respond_streaming(out, 200, &[("content-type", b"text/plain")])
                    .expect("nothing was answered before");
                body.write(b"the beginning of an answer").expect("somebody waits for the answer");
                panic!("the probe traps in the middle of a response, as it was told");
            }
        }
    }
}

exesdb_sdk::gateway_plugin!(Probe);

#[cfg(test)]
mod tests {
    use super::{Misdeed, misdeed};

    #[test]
    fn a_path_chooses_the_misdeed() {
        assert_eq!(misdeed("/v1/stores/main/probe/trap"), Some(Misdeed::Trap));
        assert_eq!(misdeed("/v1/stores/main/probe/loop?x=1"), Some(Misdeed::Loop));
        assert_eq!(misdeed("/v1/stores/b/probe/hungry"), Some(Misdeed::Hunger));
        assert_eq!(misdeed("/v1/stores/b/probe/trap-mid-response"), Some(Misdeed::TrapMidResponse));
        for other in [
            "/",
            "",
            "/v1/stores/main/streams/probe/trap",
            "/v1/stores/main/probe/trap/x",
            "/v1/stores/main/probe/",
        ] {
            assert_eq!(misdeed(other), None, "{other:?}");
        }
    }
}
