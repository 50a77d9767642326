// How the mounts of one map find each other in the browser, and how they read what the server packed (frames.py).

function readFrame(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return { head, body: bytes.subarray(4 + length) };
}

/** What one map's mounts share: the last frame of each feed, what to call when one changes, what outlives a remount. */
function hubOf(instance) {
  const hubs = (window.__latentMap ??= new Map());
  if (!hubs.has(instance)) hubs.set(instance, { feeds: {}, onFeed: null, memory: {} });
  return hubs.get(instance);
}
