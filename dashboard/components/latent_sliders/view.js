// The component's elements, and what can be written into them. It knows nothing of the server.

const BUTTONS = [
  ["undo", "↶", "Undo"],
  ["redo", "↷", "Redo"],
  ["reset", "Reset", "Reset to the encoded mean", "R"],
  ["prior", "Sample prior", "Sample prior"],
  ["posterior", "Sample posterior", "Sample posterior", "S"],
];
const INACTIVE =
  "Inactive: the encoder's mean hardly changes in them from image to image (variance at most 0.01). " +
  "The model doesn't use them, and moving them changes next to nothing.";

const DIFFERENCE =
  "Orange where the decoded image is lighter than the original, blue where it is darker; the number is the mean size";
const METER =
  "Mean distance to the 8 nearest encoded images, in the active dimensions, compared with samples of the aggregate posterior";

class View {
  // `onAction(name)` and `onFold(group, open)` are called for the buttons, `sliderEvents(dimension)` gives a slider's.
  constructor(parent, { onAction, onFold, sliderEvents }) {
    Object.assign(this, { onFold, sliderEvents });
    this.pictures = {};
    this.captions = {};
    const figures = [this.figure("original", "Original image"), this.figure("decoded", "Decoded image")];
    figures.push(this.figure("difference", "Difference"));
    this.note = element("p", { class: "note", role: "status" });
    this.buttons = Object.fromEntries(BUTTONS.map(([name, ...texts]) => [name, this.button(texts, () => onAction(name))]));
    this.groups = {};
    this.list = element("div", { class: "groups" });
    const top = element("div", { class: "pictures" }, ...figures, this.makeMeter());
    const row = element("div", { class: "buttons", role: "group", "aria-label": "Move the point" });
    row.append(...Object.values(this.buttons));
    const legend = element("p", { class: "legend" });
    const marks = [["mean", "mean, ±2σ of all images"], ["encoded", "encoded value (double click: back to it)"]];
    legend.append(...marks.map(([name, text]) => element("span", {}, element("i", { class: `mark ${name}` }), text)));
    this.legend = legend;
    this.root = element("div", { class: "latent-sliders" }, top, row, legend, this.note, this.list);
    parent.append(this.root);
  }

  figure(name, label) {
    const canvas = element("canvas", { role: "img", "aria-label": label, width: 1, height: 1 });
    if (name === "difference") canvas.setAttribute("aria-description", DIFFERENCE);
    this.pictures[name] = new Picture(canvas);
    this.captions[name] = element("figcaption");
    return element("figure", { class: name }, canvas, this.captions[name]);
  }

  button([text, name, key], onClick) {
    const made = element("button", { type: "button", "aria-label": name, title: key ? `${name} (key ${key})` : name }, text);
    if (key) made.setAttribute("aria-keyshortcuts", key);
    // NOTE: aria-disabled, because a button that is disabled while it has the focus loses it.
    made.addEventListener("click", () => made.getAttribute("aria-disabled") === "true" || onClick());
    return made;
  }

  makeMeter() {
    this.needle = element("i", { class: "needle" });
    const role = { role: "meter", "aria-label": "Off-manifold", "aria-valuemin": 0, "aria-valuemax": 100 };
    this.scale = element("div", { class: "scale", ...role }, this.needle);
    this.percent = element("strong");
    this.reading = element("p");
    const heading = element("div", { class: "heading" }, "Off-manifold ", this.percent);
    return element("div", { class: "meter", title: METER }, heading, this.scale, this.reading);
  }

  // --- what is written -------------------------------------------------------------------------------------------

  setMeter(percentile) {
    const whole = Math.round(percentile);
    this.needle.style.left = `${percentile}%`;
    this.percent.textContent = `${whole}%`;
    this.scale.setAttribute("aria-valuenow", whole);
    this.scale.setAttribute("aria-valuetext", `farther out than ${whole}% of samples`);
    this.scale.classList.toggle("far", percentile > 95);
    this.reading.textContent =
      percentile > 95
        ? "Farther from the encoded images than nearly all of the model's own samples: the decoder is guessing."
        : `Farther from the encoded images than ${whole}% of the model's own samples. Trust it less above 95%.`;
  }

  setCaption(name, text) {
    this.captions[name].textContent = text;
    this.captions[name].title = name === "difference" ? DIFFERENCE : text;
  }

  setPending(pending) {
    for (const name of ["decoded", "difference"]) {
      this.pictures[name].canvas.parentElement.classList.toggle("pending", pending);
    }
    this.pictures.decoded.canvas.setAttribute("aria-busy", String(pending));
    if (pending) this.setCaption("decoded", "Decoded, pending");
    else this.setCaption("decoded", "Decoded");
  }

  // The note takes the legend's place, so that nothing moves under the pointer.
  setNote(text, more) {
    this.note.textContent = text;
    this.note.title = more;
    this.legend.hidden = Boolean(text);
  }

  enable(name, enabled) {
    this.buttons[name].setAttribute("aria-disabled", String(!enabled));
  }

  // --- the sliders -----------------------------------------------------------------------------------------------

  makeSliders({ groups, anyActive }) {
    this.list.replaceChildren();
    this.sliders = new Map();
    this.groups = {};
    for (const [name, dimensions] of Object.entries(groups)) {
      if (!dimensions.length) continue;
      const body = element("div", { class: "group", id: `latent-sliders-${name}` });
      for (const dimension of dimensions) {
        const slider = new Slider(dimension, this.sliderEvents(dimension));
        this.sliders.set(dimension, slider);
        body.append(slider.root);
      }
      this.groups[name] = { body, dimensions, open: name === "first" };
      if (name !== "first") this.list.append(...this.fold(name, dimensions.length, anyActive));
      this.list.append(body);
    }
  }

  fold(name, count, anyActive) {
    const kind = name === "inactive" ? "inactive" : anyActive ? "more active" : "more";
    const button = element("button", { type: "button", class: "fold", "aria-expanded": "false" });
    button.append(`${count} ${kind} dimension${count === 1 ? "" : "s"}`);
    button.setAttribute("aria-controls", this.groups[name].body.id);
    button.addEventListener("click", () => {
      this.setFold(name, !this.groups[name].open);
      this.onFold(name, this.groups[name].open);
    });
    this.groups[name].button = button;
    this.setFold(name, false);
    return name === "inactive" ? [button, element("p", { class: "sentence" }, INACTIVE)] : [button];
  }

  setFold(name, open) {
    const group = this.groups[name];
    group.open = open;
    group.body.hidden = !open;
    group.button?.setAttribute("aria-expanded", String(open));
  }

  unfolded() {
    return Object.keys(this.groups).filter((name) => name !== "first" && this.groups[name].open);
  }

  visibleSliders() {
    return Object.values(this.groups)
      .filter((group) => group.open)
      .flatMap((group) => group.dimensions.map((dimension) => this.sliders.get(dimension)));
  }

  // The colour of no difference, as the theme has it.
  ground() {
    const colour = getComputedStyle(this.pictures.difference.canvas).backgroundColor;
    return (colour.match(/[\d.]+/g) ?? [128, 128, 128]).slice(0, 3).map(Number);
  }
}
