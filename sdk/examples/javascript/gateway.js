// A gateway in JavaScript. `POST /visits` appends an event, `GET /visits` counts the events, `GET /secret` tries something
// that a component may not do, and `GET /broken` has a bug.

import { append, getStreamInfo } from 'exesdb:store/streams@0.1.0';
import { Fields, OutgoingBody, OutgoingResponse, ResponseOutparam } from 'wasi:http/types@0.2.12';

const BODY_BYTES_MAX = 64 * 1024;

// Code outside of functions runs once, when the component is built. An instance serves one request after another and keeps
// this between them until the host replaces it. It may hold a cache, but no state.
let served = 0;

export const incomingHandler = {
  async handle(request, out) {
    served += 1;
    const path = request.pathWithQuery() ?? '/';
    switch (`${request.method().tag} ${path}`) {
      case 'post /visits':
        return visit(out, new TextDecoder().decode(bodyOf(request)));
      case 'get /visits':
        return respond(out, 200, { visits: count(), served });
      case 'get /secret':
        return respond(out, 200, { denied: await secret() });
      case 'get /broken':
        throw new Error('the visits cannot be counted');
      default:
        return respond(out, 404, { error: `there is nothing at ${path}` });
    }
  },
};

function visit(out, name) {
  const event = {
    id: crypto.randomUUID(),
    eventType: 'visited',
    contentType: 'application/json',
    data: new TextEncoder().encode(JSON.stringify({ name })),
    metadata: new Uint8Array(),
    tags: [],
  };
  // Each request has a result of its own. Functions that return one result throw its error instead.
  const [result] = append([{ streamId: 'visits', expected: { tag: 'any' }, events: [event] }]);
  if (result.tag === 'err') {
    console.error(`the visit was not recorded: ${result.val.tag}`);
    return respond(out, 503, { error: result.val.tag });
  }
  console.log(`recorded visit ${result.val.lastVersion} of ${name}`);
  return respond(out, 201, { version: Number(result.val.lastVersion) });
}

function count() {
  try {
    return Number(getStreamInfo('visits').lastVersion) + 1;
  } catch (error) {
    if (error.payload?.tag === 'not-found') return 0;
    throw error;
  }
}

async function secret() {
  try {
    const response = await fetch('http://127.0.0.1:2113/health/live');
    return `not at all: ${response.status}`;
  } catch (error) {
    return String(error);
  }
}

function bodyOf(request) {
  const stream = request.consume().stream();
  const chunks = [];
  let length = 0;
  while (length <= BODY_BYTES_MAX) {
    try {
      const chunk = stream.blockingRead(BigInt(BODY_BYTES_MAX));
      chunks.push(...chunk);
      length += chunk.length;
    } catch (error) {
      if (error.payload?.tag === 'closed') return new Uint8Array(chunks);
      throw error;
    }
  }
  throw new Error(`the body has more than ${BODY_BYTES_MAX} bytes`);
}

function respond(out, status, value) {
  const headers = Fields.fromList([['content-type', new TextEncoder().encode('application/json')]]);
  const response = new OutgoingResponse(headers);
  response.setStatusCode(status);
  const body = response.body();
  ResponseOutparam.set(out, { tag: 'ok', val: response });
  const stream = body.write();
  stream.blockingWriteAndFlush(new TextEncoder().encode(JSON.stringify(value)));
  // The stream belongs to the body, so it must be dropped first.
  stream[Symbol.dispose]();
  OutgoingBody.finish(body, undefined);
}
