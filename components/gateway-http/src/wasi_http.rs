//! Connects the gateway to `wasi:http`.

use exesdb_sdk::gateway::{
    BodyError, Gateway, IncomingRequest, RespondError, ResponseOutparam, StreamingBody, header_entries,
    method_name, read_body, respond, respond_streaming,
};

use crate::exchange::{Exchange, Response, Sink};
use crate::request::RequestHead;
use crate::serve::serve;
use crate::store::LinkedStore;

/// The gateway as a component, which serves the store that it is linked to.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpGateway;

impl Gateway for HttpGateway {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let method = method_name(&request);
        let target = request.path_with_query().unwrap_or_else(|| "/".to_owned());
        let headers = header_entries(&request);
        let head = RequestHead { method: &method, target: &target, headers: &headers };
        serve(&mut LinkedStore, &head, WasiExchange { request: &request, out });
    }
}

struct WasiExchange<'a> {
    request: &'a IncomingRequest,
    out: ResponseOutparam,
}

/// The headers in the form that `wasi:http` takes.
fn fields(response: &Response) -> Vec<(&str, &[u8])> {
    response.headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

impl Exchange for WasiExchange<'_> {
    type Sink = StreamingBody;

    fn body(&mut self, limit: usize) -> Result<Vec<u8>, BodyError> {
        read_body(self.request, limit)
    }

    fn respond(self, response: &Response) -> Result<(), RespondError> {
        respond(self.out, response.status, &fields(response), response.body.as_deref())
    }

    fn open(self, response: &Response) -> Result<StreamingBody, RespondError> {
        respond_streaming(self.out, response.status, &fields(response))
    }
}

impl Sink for StreamingBody {
    fn write(&mut self, bytes: &[u8]) -> Result<(), RespondError> {
        StreamingBody::write(self, bytes)
    }

    fn finish(self) -> Result<(), RespondError> {
        StreamingBody::finish(self)
    }
}
