"""A gateway in Python. `POST /visits` appends an event, `GET /visits` counts them; `GET /secret` tries what a component
may not do, and `GET /broken` has a bug."""

import json
import struct
import uuid

from componentize_py_types import Err, Ok, Result
from wit_world import exports
from wit_world.imports import store
from wit_world.imports.exesdb_store_types import Append, Error, Error_NotFound, ExpectedVersion_Any, WriteRequest
from wit_world.imports.requests import Answer, Call, Call_StreamInfo, Call_Write, WriteCall
from wit_world.imports.wasi_http_types import (
    Fields,
    IncomingRequest,
    Method_Get,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)
from wit_world.imports.streams import StreamError_Closed

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
    event = packed("visits", str(uuid.uuid4()), "visited", "application/json", json.dumps({"name": name}).encode())
    request = WriteRequest([Append("visits", ExpectedVersion_Any(), event)], checks=[], conditions=[], options=[])
    outcome = call(Call_Write(WriteCall(request, histories=[])))
    if isinstance(outcome, Err):
        respond(response_out, 503, {"error": str(outcome.value)})
        return
    version = outcome.value.reply.value.placed[0].last_version
    print(f"recorded visit {version} of {name}")
    respond(response_out, 201, {"version": version})


def count() -> int:
    outcome = call(Call_StreamInfo("visits"))
    if isinstance(outcome, Ok):
        return outcome.value.reply.value.last_version + 1
    if isinstance(outcome.value, Error_NotFound):
        return 0
    raise outcome


def call(one: Call) -> Result[Answer, Error]:
    # `run` makes many calls side by side, each of which has an outcome of its own. This makes one.
    return store.run([one])[0]


def packed(stream_id: str, event_id: str, event_type: str, content_type: str, data: bytes) -> bytes:
    """One new event, without metadata and tags, as the store takes it: a frame with an envelope. Position, version and time
    are 0, because the store assigns them. `exesdb:store/types.packed` has the layout."""
    texts = [text.encode() for text in (stream_id, event_id, event_type, content_type)]
    lengths = struct.pack("<4H2I", *map(len, texts), len(data), 0)
    envelope = struct.pack("<BBHQQ", 1, 0, 0, 0, 0) + lengths + b"".join(texts) + data
    return struct.pack("<QI", 0, len(envelope)) + envelope


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
