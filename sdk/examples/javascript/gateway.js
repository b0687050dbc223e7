// A gateway in JavaScript. `POST /visits` appends an event, `GET /visits` counts the events, `GET /secret` tries something
// that a component may not do, and `GET /broken` has a bug.

import { run } from 'exesdb:gateway/store@0.2.0';
import { packed } from './packed.js';
import { serve } from './serve.js';

const BODY_BYTES_MAX = 64 * 1024;

// Code outside of functions runs once, when the component is built. An instance serves one request after another and keeps
// this between them until the host replaces it. It may hold a cache, but no state.
let served = 0;

// A function from a `Request` to a `Response`, as frameworks have it.
export const incomingHandler = serve(async (request) => {
  served += 1;
  const path = new URL(request.url).pathname;
  switch (`${request.method} ${path}`) {
    case 'POST /visits':
      return visit(new TextDecoder().decode(await request.arrayBuffer()));
    case 'GET /visits':
      return json(200, { visits: count(), served });
    case 'GET /secret':
      return json(200, { denied: await secret() });
    case 'GET /broken':
      throw new Error('the visits cannot be counted');
    default:
      return json(404, { error: `there is nothing at ${path}` });
  }
}, BODY_BYTES_MAX);

function visit(name) {
  const data = JSON.stringify({ name });
  const event = { id: crypto.randomUUID(), type: 'visited', contentType: 'application/json', data };
  const append = { streamId: 'visits', expected: { tag: 'any' }, events: packed('visits', event) };
  const request = { appends: [append], checks: [], conditions: [], options: [] };
  const outcome = call({ tag: 'write', val: { request, histories: [] } });
  if (outcome.tag === 'err') {
    console.error(`the visit was not recorded: ${outcome.val.tag}`);
    return json(503, { error: outcome.val.tag });
  }
  const version = Number(outcome.val.reply.val.placed[0].lastVersion);
  console.log(`recorded visit ${version} of ${name}`);
  return json(201, { version });
}

function count() {
  const outcome = call({ tag: 'stream-info', val: 'visits' });
  if (outcome.tag === 'ok') return Number(outcome.val.reply.val.lastVersion) + 1;
  if (outcome.val.tag === 'not-found') return 0;
  throw new Error(outcome.val.tag);
}

// `run` makes many calls side by side, each of which has an outcome of its own. This makes one.
function call(one) {
  return run([one])[0];
}

async function secret() {
  try {
    const response = await fetch('http://127.0.0.1:2113/health/live');
    return `not at all: ${response.status}`;
  } catch (error) {
    return String(error);
  }
}

function json(status, value) {
  return new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json' } });
}
