// The points until plotly.js is there, whose start takes up to a second: the same places, colours and shapes on a plain
// canvas, so that the map is seen and answers as soon as its points are known. It is used as a Figure is (figure.js).

class Draft {
  constructor(host) {
    this.canvas = make("canvas", { class: "latent-map-draft" });
    this.stride = 1;
    host.append(this.canvas);
  }

  draw(xy, groups, ranges, size) {
    Object.assign(this, { xy, groups, ranges, size, hidden: groups.map((group) => group.hidden) });
    this.setColours(groups, null);
  }

  show(ranges) {
    this.resize(ranges, this.size);
  }

  settle() {}

  resize(ranges, size) {
    if (ranges.join() === this.ranges.join() && size.width === this.size.width && size.height === this.size.height) return;
    Object.assign(this, { ranges, size });
    this.paint();
  }

  setHidden(hidden) {
    if (hidden.join() === this.hidden.join()) return;
    this.hidden = hidden;
    this.paint();
  }

  /** Colour by numbers, or by class where there are none. */
  setColours(groups, colouring, scale) {
    this.colourOf = colouring ? (row) => scale[scaleStep(colouring, colouring.values[row])] : null;
    this.paint();
  }

  paint() {
    const { width, height } = this.size;
    const [left, right, bottom, top] = this.ranges;
    const [across, down] = [width / (right - left), height / (top - bottom)];
    const ratio = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    const pen = this.canvas.getContext("2d");
    const side = markerSize(this.xy.length / 2) * ratio;
    const stamps = new Map();
    pen.globalAlpha = markerOpacity(this.xy.length / 2);
    this.groups.forEach((group, i) => {
      if (this.hidden[i]) return;
      for (const row of group.rows) {
        const colour = this.colourOf?.(row) ?? group.colour;
        const kind = colour + group.symbol;
        if (!stamps.has(kind)) stamps.set(kind, stampOf(colour, group.symbol, side));
        const [x, y] = [(this.xy[2 * row] - left) * across, (top - this.xy[2 * row + 1]) * down];
        pen.drawImage(stamps.get(kind), x * ratio - side / 2 - 1, y * ratio - side / 2 - 1);
      }
    });
  }

  remove() {
    this.canvas.remove();
  }
}

/** A marker to stamp with, in its class's shape: many times faster than a path a point. */
function stampOf(colour, symbol, side) {
  const canvas = make("canvas", { width: Math.ceil(side) + 2, height: Math.ceil(side) + 2 });
  const pen = canvas.getContext("2d");
  pen.fillStyle = colour;
  pen.translate(side / 2 + 1, side / 2 + 1);
  const corners = CORNERS[symbol];
  if (corners) for (const [x, y] of corners) pen.lineTo((x * side) / 2, (y * side) / 2);
  else pen.arc(0, 0, side / 2, 0, 2 * Math.PI);
  pen.fill();
  return canvas;
}
