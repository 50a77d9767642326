// What a figure on a plain canvas is, painted anew for every view; it is used as a Figure is (figure.js).

class Painted {
  constructor(host, name) {
    Object.assign(this, { stride: 1, canvas: make("canvas", { class: name }) });
    host.append(this.canvas);
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
    this.mask(hidden);
    this.paint();
  }

  mask(hidden) {
    this.hidden = hidden;
  }

  remove() {
    this.canvas.remove();
  }
}

/** A pen for an empty canvas of that size on the page, with `ratio` pixels of its own to one there. */
function cleared(canvas, width, height, ratio) {
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  return canvas.getContext("2d");
}

/** Draws points one by one, `count` of them, on a canvas that covers the view: call it with a place, a colour and a shape. */
function stamper(canvas, ranges, { width, height }, count) {
  const [left, right, bottom, top] = ranges;
  const [across, down] = [width / (right - left), height / (top - bottom)];
  const ratio = window.devicePixelRatio || 1;
  const pen = cleared(canvas, width, height, ratio);
  const side = markerSize(count) * ratio;
  pen.globalAlpha = count ? markerOpacity(count) : 1;
  const stamps = new Map();
  return (x, y, colour, symbol) => {
    const kind = colour + symbol;
    if (!stamps.has(kind)) stamps.set(kind, stampOf(colour, symbol, side));
    pen.drawImage(stamps.get(kind), (x - left) * across * ratio - side / 2 - 1, (top - y) * down * ratio - side / 2 - 1);
  };
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
