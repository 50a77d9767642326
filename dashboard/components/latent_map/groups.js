// The points by class: one trace, one legend entry, one name on the map each.

const MOST_GROUPS = 60; // ten colours in six shapes
const SYMBOLS = ["circle", "diamond", "square", "cross", "triangle-up", "star"];

/** Beyond sixty classes the smallest share the last group. Without labels there is one group, without a name. */
function groupsOf(xy, labels, classNames, colours) {
  const count = xy.length / 2;
  if (!labels) {
    const rows = Int32Array.from({ length: count }, (_, row) => row);
    return { groups: [{ name: "", classes: [], rows, colour: colours[0], symbol: SYMBOLS[0], hidden: false }], groupOf: null };
  }
  const parts = partsOf(labels, classNames);
  const groupOfClass = new Int32Array(classNames.length);
  parts.forEach((part, i) => part.classes.forEach((label) => (groupOfClass[label] = i)));
  const groupOf = Int32Array.from(labels, (label) => groupOfClass[label]);
  const members = parts.map(() => []);
  groupOf.forEach((group, row) => members[group].push(row));
  const groups = parts.map((part, i) => ({
    ...part,
    rows: Int32Array.from(members[i]),
    middle: [medianOf(members[i].map((row) => xy[2 * row])), medianOf(members[i].map((row) => xy[2 * row + 1]))],
    colour: colours[i % colours.length],
    symbol: SYMBOLS[Math.floor(i / colours.length) % SYMBOLS.length],
    hidden: false,
  }));
  return { groups, groupOf };
}

function partsOf(labels, classNames) {
  const sizes = new Int32Array(classNames.length);
  for (const label of labels) sizes[label]++;
  const there = [...sizes.keys()].filter((label) => sizes[label]);
  const bySize = [...there].sort((a, b) => sizes[b] - sizes[a]);
  const rest = new Set(there.length > MOST_GROUPS ? bySize.slice(MOST_GROUPS - 1) : []);
  const parts = there.filter((label) => !rest.has(label)).map((label) => ({ name: classNames[label], classes: [label] }));
  if (rest.size) parts.push({ name: `${rest.size} other classes`, classes: [...rest] });
  return parts;
}
