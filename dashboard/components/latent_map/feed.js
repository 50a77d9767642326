// How the mounts of one map find each other in the browser.

/** What one map's mounts share: the last frame of each feed, what to call when one changes, what outlives a remount. */
function hubOf(instance) {
  const hubs = (window.__latentMap ??= new Map());
  if (!hubs.has(instance)) hubs.set(instance, { feeds: {}, onFeed: null, memory: {} });
  return hubs.get(instance);
}
