// Curves of the ELBO over gradient steps, as SVG: axes, one line for each start, and a mark on each at the step that is shown.

const NS = "http://www.w3.org/2000/svg";
const [CURVE_WIDTH, CURVE_HEIGHT] = [560, 250];
const MARGIN = { left: 58, right: 12, top: 10, bottom: 36 };

function svg(tag, attributes = {}, text = "") {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

// Round numbers from low to high, about so many.
function ticksOf(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step); tick * step <= high; tick += 1) ticks.push(tick * step);
  return { ticks, digits: Math.max(0, -Math.floor(Math.log10(step))) };
}

const signed = (value, digits) => value.toFixed(digits).replace("-", "−");

class Curve {
  constructor() {
    this.root = svg("svg", { viewBox: `0 0 ${CURVE_WIDTH} ${CURVE_HEIGHT}`, role: "img" });
  }

  // `lines` are arrays of the ELBO, one for each colour; with `close` the scale is that of the first line's surroundings.
  draw({ steps, end, lines, colours, close }) {
    const [low, high] = this.limits(lines, close);
    const inner = CURVE_WIDTH - MARGIN.left - MARGIN.right;
    const depth = CURVE_HEIGHT - MARGIN.top - MARGIN.bottom;
    this.x = (step) => MARGIN.left + (step / end) * inner;
    this.y = (value) => MARGIN.top + ((high - value) / (high - low)) * depth;
    this.root.replaceChildren(svg("title", {}, "ELBO against gradient steps"));
    this.drawAxes(low, high, end);
    const clip = svg("svg", { x: 0, y: MARGIN.top, width: CURVE_WIDTH, height: depth, viewBox: `0 ${MARGIN.top} ${CURVE_WIDTH} ${depth}` });
    const level = this.y(lines[0][0]);
    clip.append(svg("line", { class: "level", x1: MARGIN.left, x2: CURVE_WIDTH - MARGIN.right, y1: level, y2: level }));
    this.marks = lines.map((values, line) => {
      const points = Array.from(values, (value, index) => `${this.x(steps[index]).toFixed(1)},${this.y(value).toFixed(1)}`);
      clip.append(svg("polyline", { points: points.join(" "), stroke: colours[line], class: "line" }));
      return svg("circle", { r: 5, fill: colours[line] });
    });
    clip.append(...this.marks);
    this.cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: MARGIN.top + depth });
    this.root.append(this.cursor, clip);
  }

  limits(lines, close) {
    const high = Math.max(...lines.map((values) => Math.max(...values)));
    const near = Math.min(...lines[0]);
    const low = close ? near - Math.max(1, high - near) : Math.min(...lines.map((values) => Math.min(...values)));
    const room = 0.06 * (high - low) || 1;
    return [low - room, high + room];
  }

  drawAxes(low, high, end) {
    const bottom = CURVE_HEIGHT - MARGIN.bottom;
    const { ticks, digits } = ticksOf(low, high, 4);
    for (const tick of ticks) {
      const y = this.y(tick);
      this.root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: CURVE_WIDTH - MARGIN.right, y1: y, y2: y }));
      this.root.append(svg("text", { x: MARGIN.left - 6, y: y + 4, "text-anchor": "end" }, signed(tick, digits)));
    }
    for (const tick of ticksOf(0, end, 5).ticks) {
      this.root.append(svg("text", { x: this.x(tick), y: bottom + 15, "text-anchor": "middle" }, String(tick)));
    }
    const middle = MARGIN.left + (CURVE_WIDTH - MARGIN.left - MARGIN.right) / 2;
    this.root.append(svg("text", { x: middle, y: CURVE_HEIGHT - 4, "text-anchor": "middle" }, "gradient steps"));
    const turned = `rotate(-90 12 ${bottom / 2})`;
    this.root.append(svg("text", { x: 12, y: bottom / 2, "text-anchor": "middle", transform: turned }, "ELBO (nats)"));
  }

  mark(step, values) {
    const x = this.x(step);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    this.marks.forEach((mark, line) => {
      mark.setAttribute("cx", x);
      mark.setAttribute("cy", this.y(values[line]));
    });
  }
}
