"""A gateway in Python. `POST /visits` appends an event, `GET /visits` counts them; `GET /secret` tries what a component
may not do, and `GET /broken` has a bug."""

import json
import uuid

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import exesdb_store_streams as streams
from wit_world.imports.exesdb_store_types import Error_NotFound, EventData, ExpectedVersion_Any
from wit_world.imports.wasi_http_types import (
    Fields,
    IncomingRequest,
    Method_Get,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)
from wit_world.imports.wasi_io_streams import StreamError_Closed

BODY_BYTES_MAX = 64 * 1024

# Code outside of functions runs once, when the component is built. An instance serves one request after another and keeps
# this between them until the host replaces it. It may hold a cache, but no state.
served = 0


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        global served
        served += 1
        method, path = request.method(), request.path_with_query() or "/"
        if isinstance(method, Method_Post) and path == "/visits":
            visit(response_out, body_of(request).decode())
        elif isinstance(method, Method_Get) and path == "/visits":
            respond(response_out, 200, {"visits": count(), "served": served})
        elif path == "/secret":
            respond(response_out, 200, {"denied": secret()})
        elif path == "/broken":
            raise RuntimeError("the visits cannot be counted")
        else:
            respond(response_out, 404, {"error": f"there is nothing at {path}"})


def visit(response_out: ResponseOutparam, name: str) -> None:
    event = EventData(
        id=str(uuid.uuid4()),
        event_type="visited",
        content_type="application/json",
        data=json.dumps({"name": name}).encode(),
        metadata=b"",
        tags=[],
    )
    # Each request has a result of its own. Functions that return one result raise its error instead.
    [result] = streams.append([streams.AppendRequest("visits", ExpectedVersion_Any(), [event])])
    if isinstance(result, Err):
        respond(response_out, 503, {"error": str(result.value)})
        return
    print(f"recorded visit {result.value.last_version} of {name}")
    respond(response_out, 201, {"version": result.value.last_version})


def count() -> int:
    try:
        return streams.get_stream_info("visits").last_version + 1
    except Err as error:
        if isinstance(error.value, Error_NotFound):
            return 0
        raise


def secret() -> str:
    try:
        with open("/etc/passwd") as file:
            return "not at all: " + file.read()
    except OSError as error:
        return repr(error)


def body_of(request: IncomingRequest) -> bytes:
    body = b""
    with request.consume() as incoming, incoming.stream() as stream:
        while len(body) <= BODY_BYTES_MAX:
            try:
                body += stream.blocking_read(BODY_BYTES_MAX)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return body
                raise
    raise ValueError(f"the body has more than {BODY_BYTES_MAX} bytes")


def respond(response_out: ResponseOutparam, status: int, value: object) -> None:
    response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        stream.blocking_write_and_flush(json.dumps(value).encode())
    OutgoingBody.finish(body, None)
