// So many points that plotly.js can't follow a zoom: where the view holds many, how densely they lie, and the points
// themselves where it holds few. It is a `Painted` figure.

const DENSITY_ABOVE = 50000; // points on a map: of 70,000, plotly.js drew a frame of a zoom in 133 ms (p95, software WebGL)
const MOST_DOTS = 20000; // in view: stamping more takes longer than a frame, and they would hide each other
const CELL = 2; // CSS pixels
const FAINTEST = 0.3; // how solid a cell with a single point is; the fullest one is wholly so

class Density extends Painted {
  /** `groupOf` has the group of each row, or is null where there is one group only. */
  constructor(host, index, groupOf) {
    super(host, "latent-map-density");
    this.index = index;
    this.groupAt = this.eachPoint((row) => groupOf?.[row] ?? 0);
  }

  /** A small number of each row, by position in the index, as all is here. (`from` with a function takes ten times as long.) */
  eachPoint(valueOf) {
    const { rows } = this.index;
    const values = new Uint8Array(rows.length);
    for (let at = 0; at < rows.length; at++) values[at] = valueOf(rows[at]);
    return values;
  }

  draw(xy, groups, ranges, size) {
    Object.assign(this, { groups, ranges, size });
    this.mask(groups.map((group) => group.hidden));
    this.setColours(groups, null);
  }

  mask(hidden) {
    super.mask(hidden);
    this.isShown = this.groupAt.map((group) => (hidden[group] ? 0 : 1));
  }

  /** Colour by numbers, or by class where there are none: the number of a colour for each point, and the colours. */
  setColours(groups, colouring, scale) {
    this.colours = colouring ? scale : groups.map((group) => group.colour);
    this.rgb = Uint8Array.from(this.colours.flatMap(rgbOf));
    this.steps = colouring ? this.eachPoint((row) => scaleStep(colouring, colouring.values[row])) : this.groupAt;
    this.paint();
  }

  paint() {
    this.count = this.paintOn(this.canvas, this.isShown);
  }

  /** Some rows at full strength, on a canvas that covers the view. */
  paintChosen(canvas, rows) {
    if (rows !== this.chosen) {
      const isChosen = new Uint8Array(this.isShown.length);
      for (const row of rows) isChosen[row] = 1;
      Object.assign(this, { chosen: rows, isChosen: this.eachPoint((row) => isChosen[row]) });
    }
    this.paintOn(canvas, this.isChosen);
  }

  /** Paint those points of the view that `isIn` has a 1 for: many by their density, few as dots. Returns how many. */
  paintOn(canvas, isIn) {
    const grid = { columns: Math.ceil(this.size.width / CELL), lines: Math.ceil(this.size.height / CELL) };
    grid.scale = (CELL * (this.ranges[1] - this.ranges[0])) / this.size.width; // map units a cell
    const found = sumCells(this.index, this.ranges, isIn, this.steps, this.rgb, grid);
    if (found.count > MOST_DOTS) paintCells(canvas, found.sums, grid);
    else this.paintDots(canvas, found.first.subarray(0, found.count));
    return found.count;
  }

  paintDots(canvas, points) {
    const stamp = stamper(canvas, this.ranges, this.size, points.length);
    const { places } = this.index;
    for (const at of points) {
      const { symbol } = this.groups[this.groupAt[at]]; // the shape is the group's, whatever it is coloured by
      stamp(places[2 * at], places[2 * at + 1], this.colours[this.steps[at]], symbol);
    }
  }

  /** What is seen, and how one comes to see the other. */
  caption(noun) {
    const [seen, most] = [`${number(this.count)} ${noun} in view`, number(MOST_DOTS)];
    if (this.count > MOST_DOTS) return `${seen}: their density (log scale). Zoom in: ${most} or fewer are drawn.`;
    return `${seen}, each drawn. Zoom out: of more than ${most} the density.`;
  }
}

/** The points of a part of the map that `isIn` has a 1 for: their count, the positions of the first `MOST_DOTS`, and for each
    cell of a grid, line by line from the top left, red, green and blue summed over its points, and their count. */
function sumCells(index, ranges, isIn, steps, rgb, { columns, lines, scale }) {
  const sums = new Uint32Array(4 * columns * lines);
  const first = new Int32Array(MOST_DOTS);
  const { places } = index;
  const [left, right, bottom, top] = ranges;
  let count = 0;
  for (const [start, end] of index.stretches(ranges)) {
    for (let at = start; at < end; at++) {
      const x = places[2 * at];
      const y = places[2 * at + 1];
      if (!isIn[at] || x < left || x > right || y < bottom || y > top) continue;
      if (count < MOST_DOTS) first[count] = at;
      count++;
      const column = Math.min(columns - 1, ((x - left) / scale) | 0);
      const line = Math.min(lines - 1, ((top - y) / scale) | 0);
      const cell = 4 * (column + columns * line);
      const step = 3 * steps[at];
      sums[cell] += rgb[step];
      sums[cell + 1] += rgb[step + 1];
      sums[cell + 2] += rgb[step + 2];
      sums[cell + 3]++;
    }
  }
  return { count, first, sums };
}

/** Each cell in the mean colour of its points, the more solid the more they are, on a log scale. */
function paintCells(canvas, sums, { columns, lines }) {
  const pen = cleared(canvas, columns * CELL, lines * CELL, 1 / CELL);
  const picture = pen.createImageData(columns, lines);
  let most = 1;
  for (let i = 3; i < sums.length; i += 4) most = Math.max(most, sums[i]);
  const range = Math.log(most) || 1;
  for (let i = 0; i < sums.length; i += 4) {
    const count = sums[i + 3];
    if (!count) continue;
    for (let c = 0; c < 3; c++) picture.data[i + c] = sums[i + c] / count;
    picture.data[i + 3] = 255 * (FAINTEST + ((1 - FAINTEST) * Math.log(count)) / range);
  }
  pen.putImageData(picture, 0, 0);
}
