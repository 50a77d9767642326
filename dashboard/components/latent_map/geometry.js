// Places on the map and on the screen, the nearest point, and what lies inside a polygon. No DOM.

/** A view is the place in the middle and the map units in a pixel: { x, y, scale }. Both axes have one scale. */
const toData = (view, size, px, py) => [
  view.x + (px - size.width / 2) * view.scale,
  view.y - (py - size.height / 2) * view.scale,
];
const toPixel = (view, size, x, y) => [
  size.width / 2 + (x - view.x) / view.scale,
  size.height / 2 - (y - view.y) / view.scale,
];

function rangesOf(view, size) {
  const [w, h] = [(size.width / 2) * view.scale, (size.height / 2) * view.scale];
  return [view.x - w, view.x + w, view.y - h, view.y + h];
}

/** The view that shows all of [left, right, bottom, top]. */
function viewOf([left, right, bottom, top], size, margin = 0) {
  const width = Math.max(size.width - 2 * margin, 10);
  const height = Math.max(size.height - 2 * margin, 10);
  const scale = Math.max((right - left) / width, (top - bottom) / height) || 1 / width;
  return { x: (left + right) / 2, y: (bottom + top) / 2, scale };
}

function boundsOf(xy) {
  const bounds = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < xy.length; i += 2) {
    bounds[0] = Math.min(bounds[0], xy[i]);
    bounds[1] = Math.max(bounds[1], xy[i]);
    bounds[2] = Math.min(bounds[2], xy[i + 1]);
    bounds[3] = Math.max(bounds[3], xy[i + 1]);
  }
  return bounds;
}

const medianOf = (values) => {
  const sorted = values.sort();
  return sorted[sorted.length >> 1];
};

/** Finds the nearest point to a place: points sorted into the cells of a grid, line by line. Each has a position in that order. */
class PointIndex {
  constructor(xy, bounds) {
    this.bounds = bounds;
    const count = xy.length / 2;
    this.side = Math.max(1, Math.min(1024, Math.ceil(Math.sqrt(count / 2))));
    this.cell = [(bounds[1] - bounds[0]) / this.side || 1, (bounds[3] - bounds[2]) / this.side || 1];
    this.starts = new Int32Array(this.side * this.side + 1);
    const cells = new Int32Array(count);
    for (let row = 0; row < count; row++) {
      cells[row] = this.column(xy[2 * row], 0) + this.side * this.column(xy[2 * row + 1], 1);
      this.starts[cells[row] + 1]++;
    }
    for (let i = 0; i < this.side * this.side; i++) this.starts[i + 1] += this.starts[i];
    const next = this.starts.slice(0, -1);
    this.rows = new Int32Array(count);
    this.places = new Float32Array(2 * count); // once more, in this order: what is near on the map is near in memory
    for (let row = 0; row < count; row++) {
      const at = next[cells[row]]++;
      this.rows[at] = row;
      this.places[2 * at] = xy[2 * row];
      this.places[2 * at + 1] = xy[2 * row + 1];
    }
  }

  column(value, axis) {
    const column = Math.floor((value - this.bounds[2 * axis]) / this.cell[axis]);
    return Math.max(0, Math.min(this.side - 1, column));
  }

  /** The positions of the points in the cells that a part of the map touches: [start, end], a pair for each line of cells. */
  stretches([left, right, bottom, top]) {
    if (right < this.bounds[0] || left > this.bounds[1] || top < this.bounds[2] || bottom > this.bounds[3]) return [];
    const [first, last, low, high] = [this.column(left, 0), this.column(right, 0), this.column(bottom, 1), this.column(top, 1)];
    return Array.from({ length: high - low + 1 }, (_, j) => {
      const line = this.side * (low + j);
      return [this.starts[first + line], this.starts[last + line + 1]];
    });
  }

  /** The row of the nearest point within `radius` that `accepts` lets pass, or null. */
  nearest(x, y, radius, accepts) {
    let [best, least] = [null, radius * radius];
    for (const [start, end] of this.stretches([x - radius, x + radius, y - radius, y + radius])) {
      for (let i = start; i < end; i++) {
        const distance = (this.places[2 * i] - x) ** 2 + (this.places[2 * i + 1] - y) ** 2;
        if (distance <= least && accepts(this.rows[i])) [best, least] = [this.rows[i], distance];
      }
    }
    return best;
  }
}

/** The even-odd rule, by the same comparisons as rows_inside() in commits.py: both must find the same rows. */
function insidePolygon(polygon, x, y) {
  let inside = false;
  for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
    const [x0, y0] = polygon[j];
    const [x1, y1] = polygon[i];
    if (y0 > y !== y1 > y && x < (x1 - x0) * ((y - y0) / (y1 - y0)) + x0) inside = !inside;
  }
  return inside;
}

/** A drawn line with at most `most` corners: those within a tolerance of the rest are left out (Douglas and Peucker 1973). */
function simplify(line, most) {
  let tolerance = 1;
  let kept = line;
  while (kept.length > most || tolerance === 1) {
    kept = withoutNeedless(line, tolerance);
    tolerance *= 1.5;
  }
  return kept;
}

function withoutNeedless(line, tolerance) {
  const keep = new Uint8Array(line.length);
  keep[0] = keep[line.length - 1] = 1;
  const open = [[0, line.length - 1]];
  while (open.length) {
    const [first, last] = open.pop();
    let [far, most] = [-1, tolerance];
    for (let i = first + 1; i < last; i++) {
      const distance = distanceToSegment(line[i], line[first], line[last]);
      if (distance > most) [far, most] = [i, distance];
    }
    if (far < 0) continue;
    keep[far] = 1;
    open.push([first, far], [far, last]);
  }
  return line.filter((_, i) => keep[i]);
}

function distanceToSegment([x, y], [ax, ay], [bx, by]) {
  const length = (bx - ax) ** 2 + (by - ay) ** 2;
  const t = length ? Math.max(0, Math.min(1, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length)) : 0;
  return Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay));
}
