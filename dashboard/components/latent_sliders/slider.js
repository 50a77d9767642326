// One latent dimension: a range input over its filmstrip, with marks, and its KL as a bar.

function formatValue(value) {
  const text = (Number(value.toFixed(2)) + 0).toFixed(2); // never -0.00
  return text.startsWith("-") ? `−${text.slice(1)}` : text; // the input's own sign is as wide as a digit
}

class Slider {
  // `on` has start, move(value), end and home.
  constructor(dimension, on) {
    this.dimension = dimension;
    this.on = on;
    this.input = element("input", { type: "range", step: "any", "aria-label": `Dimension ${dimension}` });
    this.value = element("span", { class: "value" });
    this.thumbnails = element("canvas", { "aria-hidden": "true" });
    this.marks = Object.fromEntries(
      ["mean", "minus", "plus", "encoded"].map((name) => [name, element("i", { class: `mark ${name}` })]),
    );
    this.bar = element("i");
    this.nats = element("span", { class: "nats" });
    const track = element("div", { class: "track" }, this.thumbnails, ...Object.values(this.marks), this.input);
    this.name = element("span", { class: "name" }, `Dimension ${dimension}`);
    const kl = element("span", { class: "kl" }, element("span", { class: "bar" }, this.bar), this.nats);
    this.root = element("div", { class: "slider" }, element("div", { class: "label" }, this.name, kl), track, this.value);
    this.listen();
  }

  listen() {
    const { input, on } = this;
    input.addEventListener("pointerdown", () => on.start());
    input.addEventListener("input", () => on.move(Number(input.value)));
    for (const end of ["change", "pointerup", "pointercancel", "keyup", "blur"]) input.addEventListener(end, () => on.end());
    input.addEventListener("dblclick", () => on.home());
    input.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Delete" || event.key === "Backspace") {
      this.on.home();
    } else {
      const value = this.stepBy(event.key);
      if (value === null) return;
      this.on.move(value);
    }
    event.preventDefault();
  }

  // The value that a key leads to, or null for a key that isn't ours.
  stepBy(key) {
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -LEAP, PageUp: LEAP };
    if (key === "Home") return this.low;
    if (key === "End") return this.high;
    if (!(key in moves)) return null;
    if (!this.strips) return Number(this.input.value) + (moves[key] * (this.high - this.low)) / 60;
    const values = this.strips.stepsOf(this.dimension);
    const next = this.strips.nearest(this.dimension, Number(this.input.value)) + moves[key];
    return values[Math.min(values.length - 1, Math.max(0, next))];
  }

  // What doesn't change during a drag.
  setStrips(strips, strongest) {
    const { dimension } = this;
    this.strips = strips.has(dimension) ? strips : null;
    [this.low, this.high] = [strips.low[dimension], strips.high[dimension]];
    this.input.min = this.low;
    this.input.max = this.high;
    const kl = strips.kl[dimension];
    this.bar.style.width = `${(100 * kl) / strongest}%`;
    this.nats.textContent = `${kl.toFixed(2)} nats`;
    this.root.title = "Double click, or Delete, returns to the encoded value";
    const [mean, std] = [strips.mean[dimension], strips.std[dimension]];
    this.place(this.marks.mean, mean);
    this.place(this.marks.minus, mean - 2 * std);
    this.place(this.marks.plus, mean + 2 * std);
    this.marks.encoded.hidden = !strips.encoded;
    if (strips.encoded) this.place(this.marks.encoded, strips.encoded[dimension]);
  }

  // A mark stands where the middle of the thumb would.
  place(mark, value) {
    const share = (value - this.low) / (this.high - this.low);
    mark.style.left = `calc(${THUMB / 2}px + ${share} * (100% - ${THUMB}px))`;
  }

  setValue(value) {
    this.input.value = value;
    this.value.textContent = formatValue(value);
    this.input.setAttribute("aria-valuetext", this.value.textContent);
  }

  drawThumbnails() {
    const { clientWidth: width, clientHeight: height } = this.thumbnails;
    if (!width || !height) return;
    this.thumbnails.classList.toggle("empty", !this.strips);
    if (!this.strips) return;
    const shape = this.strips.previewShape;
    const count = Math.max(1, Math.round(width / ((height * shape.width) / shape.height)));
    drawThumbnails(this.thumbnails, this.strips, this.dimension, count, (share) => {
      const along = Math.min(1, Math.max(0, (share * width - THUMB / 2) / (width - THUMB)));
      return this.strips.nearest(this.dimension, this.low + along * (this.high - this.low));
    });
  }
}
