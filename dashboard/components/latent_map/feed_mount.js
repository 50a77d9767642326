// A mount without a face: it hands what the server sends to the map, and the map's commits to the server.

export default function ({ data, setStateValue }) {
  const outer = readFrame(data);
  const { instance, feed, map } = outer.head;
  const hub = hubOf(instance);
  const entry = { ...readFrame(outer.body), map, commit: (value) => setStateValue("commit", value) };
  hub.feeds[feed] = entry;
  hub.onFeed?.(feed);
  return () => {
    if (hub.feeds[feed] === entry) delete hub.feeds[feed];
  };
}
