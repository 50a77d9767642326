// A range input over one filmstrip: the frame under the thumb, what is known of it, where it lies on the map. Nothing goes to
// the server until the thumb is let go. A strip is one "dimension" of the sliders' strips, numbered 0.

const STRIP = 0;
const LIMIT = 95; // percent: above it no encoded image is near
const PLAY_MS = 4000; // the whole strip
const LEAST_MS = 40;

const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;

class Scrubber {
  constructor(parent) {
    this.picture = new Picture(element("canvas", { role: "img", "aria-label": "Decoded image", width: 1, height: 1 }));
    this.where = element("p", { class: "where" });
    this.readings = element("div");
    this.input = element("input", { type: "range", step: 1, min: 0 });
    this.thumbnails = element("canvas", { "aria-hidden": "true" });
    this.marks = element("div", { "aria-hidden": "true" });
    this.stops = element("div", { class: "stops", "aria-hidden": "true" });
    this.hint = element("p", { class: "hint" }, element("i", { class: "far" }), "far from all encoded images (above 95%)");
    this.play = element("button", { type: "button", class: "play" });
    const track = element("div", { class: "track" }, this.thumbnails, this.marks, this.input);
    const stage = element("div", { class: "stage" }, this.picture.canvas, element("div", {}, this.where, this.readings));
    const bar = element("div", { class: "bar" }, this.play, element("div", {}, track, this.stops, this.hint));
    this.root = element("div", { class: "latent-sliders scrubber" }, stage, bar);
    parent.append(this.root);
    stayClear(parent);
    this.listen();
    this.widths = new ResizeObserver(() => this.drawThumbnails());
    this.widths.observe(this.root);
  }

  listen() {
    const { input } = this;
    input.addEventListener("pointerdown", () => this.pause());
    input.addEventListener("input", () => this.show(Number(input.value)));
    for (const end of ["change", "pointerup", "pointercancel", "keyup", "blur"]) input.addEventListener(end, () => this.settle());
    input.addEventListener("keydown", (event) => this.press(event));
    this.play.addEventListener("click", () => (this.timer ? this.pause() : this.start()));
    this.motion = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.onMotion = () => {
      this.pause();
      this.namePlay();
    };
    this.motion.addEventListener("change", this.onMotion);
  }

  // --- from the server -------------------------------------------------------------------------------------------

  receive(strips) {
    const old = this.strips;
    const isSame = old?.generation === strips.generation && old.instance === strips.instance;
    this.strips = strips;
    if (isSame) return this.drawThumbnails(); // another theme
    this.pause();
    // What outlives a remount: where the thumb stood on this very strip.
    this.memory = (window.__latentScrubber ??= {})[strips.instance] ??= {};
    if (this.memory.generation !== strips.generation) {
      Object.assign(this.memory, { generation: strips.generation, step: strips.start, told: strips.start });
    }
    this.input.max = strips.steps - 1;
    this.input.setAttribute("aria-label", strips.name);
    this.namePlay();
    this.makeReadings();
    this.makeMarks();
    this.show(this.memory.step);
    requestAnimationFrame(() => this.drawThumbnails());
    return undefined;
  }

  makeReadings() {
    this.meters = this.strips.readings.map(({ name, help, limited, array }) => {
      const needle = element("i", { class: "needle" });
      const percent = element("strong");
      const role = { role: "meter", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100 };
      const scale = element("div", { class: limited ? "scale limited" : "scale", ...role }, needle);
      const heading = element("div", { class: "heading" }, element("span", {}, `${name} `), percent);
      const root = element("div", { class: "reading" }, heading, scale, element("p", {}, help));
      return { root, needle, percent, scale, limited, values: this.strips[array] };
    });
    this.readings.replaceChildren(...this.meters.map((meter) => meter.root));
  }

  // A mark stands where the middle of the thumb would.
  place(step) {
    return `calc(${THUMB / 2}px + ${step / (this.strips.steps - 1)} * (100% - ${THUMB}px))`;
  }

  makeMarks() {
    const { strips } = this;
    const marks = strips.stops.map(([step]) => {
      const mark = element("i", { class: "mark mean" });
      mark.style.left = this.place(step);
      return mark;
    });
    for (const [first, last] of this.farRuns()) {
      const run = element("i", { class: "far" });
      const [from, to] = [Math.max(0, first - 0.5), Math.min(strips.steps - 1, last + 0.5)];
      run.style.left = this.place(from);
      run.style.width = `calc(${(to - from) / (strips.steps - 1)} * (100% - ${THUMB}px))`;
      marks.push(run);
    }
    this.marks.replaceChildren(...marks);
    this.hint.hidden = !this.farRuns().length;
    const names = strips.stops.map(([step, name]) => {
      const label = element("span", {}, name);
      const isEnd = step === 0 || step === strips.steps - 1;
      label.style.left = isEnd ? `${(100 * step) / (strips.steps - 1)}%` : this.place(step);
      return label;
    });
    this.stops.replaceChildren(...names);
  }

  // The runs of frames that are off the manifold, as [first, last].
  farRuns() {
    const runs = [];
    this.strips.percentiles.forEach((percentile, step) => {
      if (percentile <= LIMIT) return;
      if (runs.at(-1)?.[1] === step - 1) runs.at(-1)[1] = step;
      else runs.push([step, step]);
    });
    return runs;
  }

  // --- what is drawn ---------------------------------------------------------------------------------------------

  show(step) {
    const { strips, memory } = this;
    memory.step = step;
    this.input.value = step;
    const frame = strips.step(STRIP, step);
    this.picture.draw(frame.pixels, frame.shape);
    this.where.textContent = strips.labels[step];
    this.input.setAttribute("aria-valuetext", strips.labels[step]);
    for (const { needle, percent, scale, limited, values } of this.meters) {
      const whole = Math.round(values[step]);
      needle.style.left = `${values[step]}%`;
      percent.textContent = `${whole}%`;
      scale.setAttribute("aria-valuenow", whole);
      if (limited) scale.classList.toggle("far", values[step] > LIMIT);
    }
    announcePreview(strips, frame.position);
  }

  drawThumbnails() {
    const { clientWidth: width, clientHeight: height } = this.thumbnails;
    if (!this.strips || !width || !height) return;
    const { previewShape: shape, steps } = this.strips;
    const count = Math.max(1, Math.round(width / ((height * shape.width) / shape.height)));
    drawThumbnails(this.thumbnails, this.strips, STRIP, count, (share) => {
      const along = Math.min(1, Math.max(0, (share * width - THUMB / 2) / (width - THUMB)));
      return Math.round(along * (steps - 1));
    });
  }

  // --- what the person does --------------------------------------------------------------------------------------

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const leaps = { PageDown: -LEAP, PageUp: LEAP };
    if (!(event.key in leaps)) return;
    event.preventDefault();
    this.pause();
    this.show(Math.min(this.strips.steps - 1, Math.max(0, this.memory.step + leaps[event.key])));
  }

  // The thumb was let go: the server is told where, once.
  settle() {
    const { memory, strips } = this;
    if (!strips || memory.step === memory.told || this.timer) return;
    memory.told = memory.step;
    this.send({ generation: strips.generation, step: memory.step });
  }

  // With reduced motion nothing runs by itself: the button goes from stop to stop.
  namePlay() {
    const [text, name] = calm() ? ["Next", "Go to the next stop"] : this.timer ? ["Pause", "Pause"] : ["Play", "Play the frames"];
    this.play.textContent = text;
    this.play.setAttribute("aria-label", name);
  }

  start() {
    const { strips, memory } = this;
    if (calm()) {
      const next = strips.stops.find(([step]) => step > memory.step) ?? strips.stops[0];
      this.show(next[0]);
      this.settle();
      return;
    }
    if (memory.step === strips.steps - 1) this.show(0);
    this.timer = setInterval(() => {
      this.show(memory.step + 1);
      if (memory.step === strips.steps - 1) this.pause();
    }, Math.max(LEAST_MS, PLAY_MS / strips.steps));
    this.namePlay();
  }

  pause() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = null;
    this.namePlay();
    this.settle();
  }

  destroy() {
    clearInterval(this.timer);
    this.widths.disconnect();
    this.motion.removeEventListener("change", this.onMotion);
    if (this.strips) announcePreview(this.strips, [null, null]);
    this.root.remove();
  }
}

export default mounting(Scrubber, (scrubber, { data, setStateValue }) => {
  scrubber.send = (commit) => setStateValue("commit", commit);
  scrubber.receive(unpack(data));
});
