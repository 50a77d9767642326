// The points by class: one trace, one legend entry, one name on the map each.

const MOST_GROUPS = 60; // ten colours in six shapes
const SYMBOLS = ["circle", "diamond", "square", "cross", "triangle-up", "star"];
const star = (turn) => [Math.sin((turn * Math.PI) / 5), -Math.cos((turn * Math.PI) / 5)];
/** What each shape but the circle has for corners, in a square from -1 to 1. */
const CORNERS = {
  diamond: [[0, -1], [1, 0], [0, 1], [-1, 0]],
  square: [[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]],
  cross: [[-1, -1], [-1, -3], [1, -3], [1, -1], [3, -1], [3, 1], [1, 1], [1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1]].map(
    ([x, y]) => [x / 3, y / 3]
  ),
  "triangle-up": [[0, -1], [1, 0.8], [-1, 0.8]],
  star: Array.from({ length: 10 }, (_, turn) => star(turn).map((value) => value * (turn % 2 ? 0.45 : 1))),
};

const MOST_FOR_MIDDLE = 5000;

/** Beyond sixty classes the smallest share the last group. Without labels there is one group, without a name. */
function groupsOf(xy, labels, classNames, colours) {
  const count = xy.length / 2;
  if (!labels) {
    const rows = new Int32Array(count).map((_, row) => row);
    return { groups: [{ name: "", classes: [], rows, colour: colours[0], symbol: SYMBOLS[0], hidden: false }], groupOf: null };
  }
  const parts = partsOf(labels, classNames);
  const groupOfClass = new Uint8Array(classNames.length);
  parts.forEach((part, i) => part.classes.forEach((label) => (groupOfClass[label] = i)));
  const groupOf = new Uint8Array(count);
  const sizes = new Int32Array(parts.length);
  for (let row = 0; row < count; row++) sizes[(groupOf[row] = groupOfClass[labels[row]])]++;
  const members = [...sizes].map((size) => new Int32Array(size));
  for (let row = count - 1; row >= 0; row--) members[groupOf[row]][--sizes[groupOf[row]]] = row;
  const groups = parts.map((part, i) => ({
    ...part,
    rows: members[i],
    middle: middleOf(xy, members[i]),
    colour: colours[i % colours.length],
    symbol: SYMBOLS[Math.floor(i / colours.length) % SYMBOLS.length],
    hidden: false,
  }));
  return { groups, groupOf };
}

/** Where a class's name stands: the medians of its places, of a part of them where there are very many. */
function middleOf(xy, rows) {
  const stride = Math.ceil(rows.length / MOST_FOR_MIDDLE);
  const some = stride > 1 ? rows.filter((_, i) => i % stride === 0) : rows;
  return [0, 1].map((axis) => medianOf(Float32Array.from(some, (row) => xy[2 * row + axis])));
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
