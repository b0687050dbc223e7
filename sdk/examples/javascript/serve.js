// Makes a `wasi:http` handler of a function from a `Request` to a `Response`, the form of `fetch` that frameworks use.

import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.12';

// What a stream takes at a time.
const PIECE_BYTES = 4096;

export function serve(respond, bodyBytesMax) {
  return {
    // An exception ends the instance: the client gets a 500, and the log the stack.
    async handle(incoming, out) {
      const request = requestOf(incoming, bodyBytesMax);
      await send(out, request ? await respond(request) : new Response(null, { status: 413 }));
    },
  };
}

// The request, or nothing if its body is too long.
function requestOf(incoming, bodyBytesMax) {
  const method = incoming.method().val ?? incoming.method().tag.toUpperCase();
  const url = `http://${incoming.authority() ?? 'localhost'}${incoming.pathWithQuery() ?? '/'}`;
  const headers = new Headers();
  for (const [name, value] of incoming.headers().entries()) headers.append(name, new TextDecoder().decode(value));
  if (method === 'GET' || method === 'HEAD') return new Request(url, { method, headers });
  const body = bodyOf(incoming, bodyBytesMax);
  return body && new Request(url, { method, headers, body });
}

function bodyOf(incoming, bytesMax) {
  const stream = incoming.consume().stream();
  const pieces = [];
  let length = 0;
  while (length <= bytesMax) {
    try {
      const piece = stream.blockingRead(BigInt(bytesMax + 1 - length));
      pieces.push(piece);
      length += piece.length;
    } catch (error) {
      if (error.payload?.tag !== 'closed') throw error;
      const body = new Uint8Array(length);
      let at = 0;
      for (const piece of pieces) {
        body.set(piece, at);
        at += piece.length;
      }
      return body;
    }
  }
}

// Sends the response, in pieces if its body is a stream.
async function send(out, response) {
  const headers = [...response.headers].map(([name, value]) => [name, new TextEncoder().encode(value)]);
  const outgoing = new OutgoingResponse(Fields.fromList(headers));
  outgoing.setStatusCode(response.status);
  const body = outgoing.body();
  ResponseOutparam.set(out, { tag: 'ok', val: outgoing });
  const stream = body.write();
  const reader = response.body?.getReader();
  for (let read = await reader?.read(); read && !read.done; read = await reader.read()) {
    for (let at = 0; at < read.value.length; at += PIECE_BYTES) {
      stream.blockingWriteAndFlush(read.value.subarray(at, at + PIECE_BYTES));
    }
  }
  // The stream belongs to the body, so it must be dropped first.
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
