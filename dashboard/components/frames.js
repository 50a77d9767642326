// What the server packed (frames.py), taken apart.

function readFrame(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return { head, body: bytes.subarray(4 + length) };
}

const TYPES = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array, uint16: Uint16Array };

/** The arrays that pack() there laid end to end; one copy, so that they are aligned. */
function unpackArrays(table, body) {
  const buffer = body.slice().buffer;
  return Object.fromEntries(
    Object.entries(table).map(([name, [type, start, count]]) => [name, new TYPES[type](buffer, start, count)])
  );
}
