// New events as the store takes them. `exesdb:store/types.packed` has the layout.

const FRAME_BYTES = 12;
const ENVELOPE_BYTES = 36;

// One event of a stream, without metadata and tags: a frame with an envelope. Position, version and time are 0, because the
// store assigns them. Events of one write follow one another.
export function packed(streamId, { id, type, contentType, data }) {
  const texts = [streamId, id, type, contentType].map(utf8);
  const bytes = typeof data === 'string' ? utf8(data) : data;
  const length = ENVELOPE_BYTES + [...texts, bytes].reduce((sum, part) => sum + part.length, 0);
  const event = new Uint8Array(FRAME_BYTES + length);
  const view = new DataView(event.buffer);
  view.setUint32(8, length, true);
  view.setUint8(FRAME_BYTES, 1); // the format
  texts.forEach((text, index) => view.setUint16(FRAME_BYTES + 20 + 2 * index, text.length, true));
  view.setUint32(FRAME_BYTES + 28, bytes.length, true);
  let at = FRAME_BYTES + ENVELOPE_BYTES;
  for (const part of [...texts, bytes]) {
    event.set(part, at);
    at += part.length;
  }
  return event;
}

function utf8(text) {
  return new TextEncoder().encode(text);
}
