// Which part of the map is shown: moved by gestures, kept through everything else.

const FIT_MARGIN = 14;
const DEEPEST = 2000;
const WIDEST = 2;
const SETTLE_MS = 160;
const TELL_MS = 600;

class Camera {
  constructor(onMove, onSettle, onTell) {
    Object.assign(this, { onMove, onSettle, onTell, size: { width: 40, height: 40 }, view: null });
  }

  /** Another map: `remembered` is what was shown of it before, if it was shown before. */
  reset(bounds, memory) {
    clearTimeout(this.telling);
    Object.assign(this, { bounds, memory, view: memory.view, moved: Boolean(memory.view), whole: !memory.view });
  }

  resize(width, height) {
    this.size = { width: Math.max(width, 40), height: Math.max(height, 40) };
    this.fit = viewOf(this.bounds, this.size, FIT_MARGIN);
    if (!this.view || this.whole) this.view = this.fit;
  }

  /** What the page asks to open with. A person who has moved already is left alone. */
  open(ranges) {
    if (!ranges || this.moved) return;
    this.view = viewOf(ranges, this.size);
    this.whole = false;
  }

  get ranges() {
    return rangesOf(this.view, this.size);
  }

  pixel(x, y) {
    return toPixel(this.view, this.size, x, y);
  }

  place(px, py) {
    return toData(this.view, this.size, px, py);
  }

  /** As many decimals as a pixel has: enough to tell places apart, and short in a link. */
  round(value) {
    const decimals = Math.max(0, Math.min(12, Math.ceil(-Math.log10(this.view.scale))));
    return Number(value.toFixed(decimals));
  }

  limited(scale) {
    return Math.max(this.fit.scale / DEEPEST, Math.min(this.fit.scale * WIDEST, scale));
  }

  move(view, whole = false) {
    const [left, right, bottom, top] = this.bounds;
    const within = (value, low, high) => Math.max(low, Math.min(high, value));
    this.view = { x: within(view.x, left, right), y: within(view.y, bottom, top), scale: this.limited(view.scale) };
    Object.assign(this, { moved: true, whole });
    this.memory.view = whole ? null : this.view;
    this.onMove();
    clearTimeout(this.settling);
    this.settling = setTimeout(this.onSettle, SETTLE_MS);
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.onTell(this.whole ? null : this.ranges.map((value) => this.round(value))), TELL_MS);
  }

  panBy(dx, dy) {
    const { x, y, scale } = this.view;
    this.move({ x: x - dx * scale, y: y + dy * scale, scale });
  }

  /** Zoom so that what lies at a pixel, the middle if none is named, stays there. */
  zoom(factor, px = this.size.width / 2, py = this.size.height / 2) {
    const scale = this.limited(this.view.scale / factor);
    const [x, y] = this.place(px, py);
    this.move({ x: x - (px - this.size.width / 2) * scale, y: y + (py - this.size.height / 2) * scale, scale });
  }

  showAll() {
    this.move(this.fit, true);
  }

  /** Bring a place into view if it lies outside of it; the zoom stays. */
  reveal(x, y) {
    const [left, right, bottom, top] = this.ranges;
    if (x < left || x > right || y < bottom || y > top) this.move({ ...this.view, x, y });
  }

  remove() {
    clearTimeout(this.settling);
    clearTimeout(this.telling);
  }
}
