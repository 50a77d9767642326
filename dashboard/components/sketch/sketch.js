// A canvas of the model's own size. Every stroke's end is told to the server; strokes themselves stay in the browser.

const UNDOS = 50;

class Sketch {
  constructor(parent) {
    this.canvas = element("canvas", {
      role: "application",
      tabindex: "0",
      "aria-label": "Drawing. Draw with the pointer; or move with the arrow keys and paint with the space bar.",
    });
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
    this.brush = element("input", { type: "range", min: "1", max: "8", step: "0.5", value: "2", "aria-label": "Brush size" });
    this.shade = element("input", { type: "range", min: "0", max: "255", step: "1", value: "255", "aria-label": "Brush shade" });
    this.colour = element("input", { type: "color", value: "#ffffff", "aria-label": "Brush colour" });
    this.undoButton = this.button("Undo", () => this.undo());
    const tools = [
      this.label("Size", this.brush),
      (this.shadeLabel = this.label("Shade", this.shade)),
      (this.colourLabel = this.label("Colour", this.colour)),
      this.undoButton,
      this.button("Start over", () => this.change(() => this.pen.putImageData(this.first, 0, 0))),
      this.button("All black", () => this.change(() => this.fill("#000"))),
    ];
    this.root = element("div", { class: "sketch" }, this.canvas, element("div", { class: "tools" }, ...tools));
    parent.append(this.root);
    this.canvas.addEventListener("pointerdown", (event) => this.begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, () => this.end());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
  }

  button(text, act) {
    const made = element("button", { type: "button" }, text);
    made.addEventListener("click", act);
    return made;
  }

  label(text, input) {
    return element("label", {}, text, input);
  }

  receive({ head, body }) {
    if (this.base === head.base) return;
    const { channels, height, width } = (this.shape = head);
    this.base = head.base;
    const pixels = unpackArrays(head.arrays, body).pixels;
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.style.aspectRatio = `${width} / ${height}`;
    this.shadeLabel.hidden = channels > 1;
    this.colourLabel.hidden = channels === 1;
    const plane = width * height;
    this.first = this.pen.createImageData(width, height);
    for (let at = 0; at < plane; at += 1) {
      for (let part = 0; part < 3; part += 1) this.first.data[4 * at + part] = pixels[channels === 1 ? at : part * plane + at];
      this.first.data[4 * at + 3] = 255;
    }
    this.pen.putImageData(this.first, 0, 0);
    this.past = [];
    this.at = [width / 2, height / 2];
    this.undoButton.disabled = true;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.shape.width, ((event.clientY - box.top) / box.height) * this.shape.height];
  }

  style() {
    const shade = this.shade.value;
    this.pen.strokeStyle = this.pen.fillStyle = this.shape.channels === 1 ? `rgb(${shade} ${shade} ${shade})` : this.colour.value;
    this.pen.lineWidth = Number(this.brush.value) * Math.max(1, this.shape.width / 28);
    this.pen.lineCap = this.pen.lineJoin = "round";
  }

  fill(colour) {
    this.pen.fillStyle = colour;
    this.pen.fillRect(0, 0, this.shape.width, this.shape.height);
  }

  remember() {
    this.past.push(this.pen.getImageData(0, 0, this.shape.width, this.shape.height));
    if (this.past.length > UNDOS) this.past.shift();
    this.undoButton.disabled = false;
  }

  line(from, to) {
    this.style();
    this.pen.beginPath();
    this.pen.moveTo(...from);
    this.pen.lineTo(...to);
    this.pen.stroke();
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.remember();
    this.last = this.place(event);
    this.line(this.last, [this.last[0] + 0.01, this.last[1]]);
  }

  move(event) {
    if (!this.last) return;
    const to = this.place(event);
    this.line(this.last, to);
    this.last = to;
  }

  end() {
    if (!this.last) return;
    this.at = this.last;
    this.last = null;
    this.tell();
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (steps[event.key]) {
      const limits = [this.shape.width, this.shape.height];
      const to = this.at.map((value, axis) => Math.min(limits[axis], Math.max(0, value + steps[event.key][axis])));
      if (event.shiftKey) this.change(() => this.line(this.at, to));
      this.at = to;
    } else if (event.key === " ") {
      this.change(() => this.line(this.at, [this.at[0] + 0.01, this.at[1]]));
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) {
      this.undo();
    } else {
      return;
    }
    event.preventDefault();
  }

  change(act) {
    this.remember();
    act();
    this.tell();
  }

  undo() {
    const before = this.past.pop();
    if (!before) return;
    this.pen.putImageData(before, 0, 0);
    this.undoButton.disabled = !this.past.length;
    this.tell();
  }

  tell() {
    const { channels, height, width } = this.shape;
    const { data } = this.pen.getImageData(0, 0, width, height);
    const plane = width * height;
    const bytes = new Uint8Array(channels * plane);
    for (let at = 0; at < plane; at += 1) {
      for (let part = 0; part < channels; part += 1) bytes[part * plane + at] = data[4 * at + part];
    }
    this.send({ base: this.base, pixels: base64(bytes) });
  }

  destroy() {
    this.root.remove();
  }
}

export default mounting(Sketch, (sketch, { data, setStateValue }) => {
  sketch.send = (drawing) => setStateValue("drawing", drawing);
  sketch.receive(readFrame(data));
});
