// What lies above the points and moves: the selection, the image looked at, marks from outside, a path, class names, the
// cursor with its trail. Redrawing it never touches the figure below.

const TRAIL_MS = 2500;
const FADE_MS = 100; // between two drawings of a trail that only fades; a moving cursor draws it each time
const TRAIL_MOST = 400;
const FEW = 60;
const LABEL_SHIFTS = [0, -1, 1, -2, 2]; // in lines

/** An element with attributes and children; text only ever as text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

class Marks {
  constructor(stage) {
    this.stage = stage;
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.trailCanvas = make("canvas", { "aria-hidden": "true" });
    this.labels = make("div", { class: "latent-map-labels", "aria-hidden": "true" });
    this.cursor = make("div", { class: "latent-map-cursor", "aria-hidden": "true", hidden: true });
    stage.append(this.canvas, this.labels, this.trailCanvas, this.cursor);
    this.trail = [];
    this.position = null;
    this.fading = 0;
  }

  resize({ width, height }) {
    this.ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.trailCanvas]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
  }

  pen(canvas) {
    const pen = canvas.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    return pen;
  }

  /** Draw everything but what moves with the cursor. */
  draw(map) {
    const { camera, choice, theme } = map;
    this.at = (x, y) => camera.pixel(x, y);
    const pen = this.pen(this.canvas);
    if (choice.rows.length > 1) this.drawChosen(pen, map);
    for (const polygon of [choice.selection.polygon, map.draft]) if (polygon) this.outline(pen, polygon, theme);
    if (map.path) this.drawPath(pen, map.path, theme);
    if (choice.current !== null) {
      const [x, y] = this.at(...map.placeOf(choice.current));
      this.ring(pen, x, y, 9, theme);
      this.dot(pen, x, y, 2, theme.text);
    }
    for (const [x, y, label] of map.marks) this.diamond(pen, ...this.at(x, y), label, theme);
    this.placeLabels(camera.size);
    this.drawCursor();
  }

  /** The chosen points once more, at full strength above the faded rest. */
  drawChosen(pen, map) {
    const { rows } = map.choice;
    const { width, height } = map.camera.size;
    if (map.figure instanceof Density && rows.length > MOST_DOTS) {
      this.chosen ??= make("canvas");
      map.figure.paintChosen(this.chosen, rows);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(this.chosen, 0, 0, parseFloat(this.chosen.style.width), parseFloat(this.chosen.style.height));
      return;
    }
    const radius = Math.max(2.5, markerSize(map.xy.length / 2) / 2 + 1);
    const paths = new Map();
    for (const row of rows) {
      const [x, y] = this.at(...map.placeOf(row));
      if (x < -radius || y < -radius || x > width + radius || y > height + radius) continue;
      const colour = map.colourOf(row);
      if (!paths.has(colour)) paths.set(colour, new Path2D());
      paths.get(colour).moveTo(x + radius, y);
      paths.get(colour).arc(x, y, radius, 0, 2 * Math.PI);
    }
    const isFew = rows.length <= FEW;
    pen.lineWidth = 1.5;
    pen.strokeStyle = this.theme.text;
    for (const [colour, path] of paths) {
      pen.fillStyle = colour;
      pen.fill(path);
      if (isFew) pen.stroke(path); // of many, the edges would hide the colours
    }
  }

  outline(pen, polygon, theme) {
    pen.beginPath();
    for (const [x, y] of polygon) pen.lineTo(...this.at(x, y));
    pen.closePath();
    pen.fillStyle = theme.primary;
    pen.globalAlpha = 0.08;
    pen.fill("evenodd");
    pen.globalAlpha = 1;
    pen.setLineDash([5, 4]);
    pen.lineWidth = 1.5;
    pen.strokeStyle = theme.primary;
    pen.stroke();
    pen.setLineDash([]);
  }

  /** A line through places: whole where images are near, dashed in the warning colour where none is. */
  drawPath(pen, { places, far }, theme) {
    const spots = places.map((place) => this.at(...place));
    const isFar = new Set(far);
    const line = (dashed) => {
      const path = new Path2D();
      for (let piece = 0; piece + 1 < spots.length; piece++) {
        if (isFar.has(piece) !== dashed) continue;
        // NOTE: pieces that follow each other are one line, or the dashes would begin anew at each.
        if (!piece || isFar.has(piece - 1) !== dashed) path.moveTo(...spots[piece]);
        path.lineTo(...spots[piece + 1]);
      }
      return path;
    };
    const [near, dashed] = [line(false), line(true)];
    pen.lineJoin = pen.lineCap = "round";
    pen.strokeStyle = theme.background;
    pen.lineWidth = 6;
    for (const path of [near, dashed]) pen.stroke(path);
    pen.lineWidth = 2.5;
    pen.strokeStyle = theme.primary;
    pen.stroke(near);
    pen.lineCap = "butt";
    pen.setLineDash([6, 4]);
    pen.strokeStyle = theme.warning;
    pen.stroke(dashed);
    pen.setLineDash([]);
  }

  ring(pen, x, y, radius, theme, width = 2.5) {
    for (const [colour, line] of [[theme.background, width + 3], [theme.text, width]]) {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.lineWidth = line;
      pen.strokeStyle = colour;
      pen.stroke();
    }
  }

  dot(pen, x, y, radius, colour) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen.fillStyle = colour;
    pen.fill();
  }

  diamond(pen, x, y, label, theme) {
    pen.beginPath();
    for (const [dx, dy] of [[0, -9], [9, 0], [0, 9], [-9, 0]]) pen.lineTo(x + dx, y + dy);
    pen.closePath();
    pen.lineJoin = "round";
    pen.lineWidth = 5;
    pen.strokeStyle = theme.background;
    pen.stroke();
    pen.fillStyle = theme.background;
    pen.fill();
    pen.lineWidth = 2.5;
    pen.strokeStyle = theme.text;
    pen.stroke();
    this.dot(pen, x, y, 2.5, theme.text);
    this.haloed(pen, label, x + 14, y + 4, theme);
  }

  haloed(pen, text, x, y, theme) {
    pen.font = `600 12px ${theme.font}`;
    pen.lineJoin = "round";
    pen.lineWidth = 4;
    pen.strokeStyle = theme.background;
    pen.strokeText(text, x, y);
    pen.fillStyle = theme.text;
    pen.fillText(text, x, y);
  }

  /** Class names at the middles of their classes, the largest class first where two would overlap. */
  setLabels(groups) {
    this.labelled = [...groups].sort((a, b) => b.rows.length - a.rows.length).map((group) => {
      const element = make("span", {}, group.name);
      return { element, middle: group.middle, group };
    });
    this.labels.replaceChildren(...this.labelled.map(({ element }) => element));
    for (const label of this.labelled) label.box = [label.element.offsetWidth / 2 + 2, label.element.offsetHeight / 2];
  }

  /** Each name as near to the middle of its class as the names before it allow; one without room is left out. */
  placeLabels(size) {
    const taken = [];
    const isFree = (x, y, [w, h]) => taken.every(([tx, ty, tw, th]) => Math.abs(tx - x) >= tw + w || Math.abs(ty - y) >= th + h);
    for (const { element, middle, group, box } of this.labelled ?? []) {
      const [x, y] = this.at(...middle);
      const inside = x > 0 && y > 0 && x < size.width && y < size.height;
      const shift = LABEL_SHIFTS.find((lines) => isFree(x, y + lines * 2 * box[1], box));
      element.hidden = group.hidden || !inside || shift === undefined;
      if (element.hidden) continue;
      taken.push([x, y + shift * 2 * box[1], ...box]);
      element.style.transform = `translate(${x}px, ${y + shift * 2 * box[1]}px) translate(-50%, -50%)`;
    }
  }

  /** Put the cursor somewhere, or nowhere; the way there is drawn and fades. */
  moveCursor(position, leaveTrail) {
    // NOTE: a place that isn't a number breaks the line: a canvas passes over it.
    this.trail.push([...(position && leaveTrail ? position : [NaN, NaN]), performance.now()]);
    if (this.trail.length > TRAIL_MOST) this.trail.shift();
    this.position = position;
    this.drawCursor();
  }

  drawCursor() {
    this.cursor.hidden = !this.position;
    if (!this.at) return;
    if (this.position) {
      const [x, y] = this.at(...this.position);
      this.cursor.style.transform = `translate(${x}px, ${y}px)`;
    }
    this.drawTrail();
  }

  drawTrail() {
    const pen = this.pen(this.trailCanvas);
    const now = performance.now();
    while (this.trail.length && now - this.trail[0][2] > TRAIL_MS) this.trail.shift();
    pen.lineCap = "round";
    pen.strokeStyle = this.theme.text;
    for (let i = 1; i < this.trail.length; i++) {
      const [x0, y0] = this.at(this.trail[i - 1][0], this.trail[i - 1][1]);
      const [x1, y1] = this.at(this.trail[i][0], this.trail[i][1]);
      pen.globalAlpha = 0.8 * (1 - (now - this.trail[i][2]) / TRAIL_MS);
      pen.lineWidth = 2.5;
      pen.beginPath();
      pen.moveTo(x0, y0);
      pen.lineTo(x1, y1);
      pen.stroke();
    }
    if (!this.trail.length || this.fading) return;
    const again = () => {
      this.fading = 0;
      this.drawTrail();
    };
    this.fading = setTimeout(again, calm() ? TRAIL_MS : FADE_MS);
  }

  remove() {
    this.trail = [];
    clearTimeout(this.fading);
  }
}
