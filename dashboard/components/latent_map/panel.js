// What stands around the points: counts, buttons, colour scale, the card of keys.

const KEYS = [
  ["[  ]", "previous, next image"],
  ["r", "reset to the encoded mean"],
  ["s", "sample the posterior"],
  ["Esc", "clear the selection"],
  ["?", "this card"],
];
const MOUSE = [
  ["click", "choose the image; an empty place: estimate what lies there"],
  ["shift + click", "add to the selection, or take from it"],
  ["shift + drag", "lasso"],
  ["wheel, pinch, + −", "zoom"],
  ["drag, arrow keys", "move"],
  ["0", "the whole map"],
];
const ICONS = {
  pan: "M12 2v20M2 12h20M12 2l-3 3M12 2l3 3M12 22l-3-3M12 22l3-3M2 12l3-3M2 12l3 3M22 12l-3-3M22 12l-3 3",
  box: "M4 4h3M10 4h4M17 4h3v3M20 10v4M20 17v3h-3M14 20h-4M7 20H4v-3M4 14v-4M4 7V4",
  lasso: "M12 4c5 0 9 2.5 9 6s-4 6-9 6-9-2.5-9-6 4-6 9-6M8 15.500c-2 .5-2 3 0 3s2.5 1 1.5 3",
  in: "M12 5v14M5 12h14",
  out: "M5 12h14",
  all: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  keys: "M9 9a3 3 0 1 1 4.5 2.600c-1 .6-1.5 1.2-1.5 2.400M12 17.500v.5",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** Three significant digits, without an exponent where people don't need one. */
const short = (value) => {
  const text = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));
  return text.replace("-", "−");
};

class Panel {
  constructor(map, root) {
    this.map = map;
    this.status = make("div", { class: "latent-map-status", role: "status" });
    this.tools = ["pan", "box", "lasso"].map((tool) => this.button(tool, TOOL_NAMES[tool], () => map.setTool(tool)));
    const zoom = [
      this.button("in", "Zoom in", () => map.camera.zoom(1.5)),
      this.button("out", "Zoom out", () => map.camera.zoom(1 / 1.5)),
      this.button("all", "Whole map", () => map.camera.showAll()),
      this.button("keys", "Keys", () => this.showKeys()),
    ];
    const tools = make("div", { class: "latent-map-tools", role: "group", "aria-label": "Map tools" }, ...this.tools, ...zoom);
    this.notice = make("div", { class: "latent-map-notice", role: "status", hidden: true });
    this.stage = make("div", { class: "latent-map-stage", role: "application", tabindex: "0" });
    this.plot = make("div", { class: "latent-map-plot", "aria-hidden": "true" });
    this.kind = make("div", { class: "latent-map-kind", hidden: true });
    this.stage.append(this.plot, this.kind);
    this.card = new Card();
    this.scale = make("div", { class: "latent-map-scale", hidden: true });
    this.legend = new Legend((hidden) => map.setHidden(hidden));
    this.caption = make("div", { class: "latent-map-caption", hidden: true });
    this.keys = this.makeKeys();
    const top = make("div", { class: "latent-map-top" }, this.status, tools);
    root.replaceChildren(top, this.notice, this.stage, this.caption, this.scale, this.legend.element, this.keys);
  }

  button(name, label, action) {
    const button = make("button", { type: "button", title: label, "aria-label": label, "data-name": name }, icon(name));
    button.addEventListener("click", action);
    return button;
  }

  makeKeys() {
    const rows = (pairs) => make("dl", {}, ...pairs.flatMap(([key, what]) => [
      make("dt", {}, make("kbd", {}, key)),
      make("dd", {}, what),
    ]));
    const close = make("button", { type: "button" }, "Close");
    const card = make(
      "dialog",
      { class: "latent-map-keys", "aria-label": "Keys" },
      ...[make("h2", {}, "Keys"), rows(KEYS), make("h2", {}, "On the map"), rows(MOUSE), close]
    );
    close.addEventListener("click", () => card.close());
    card.addEventListener("click", (event) => event.target === card && card.close());
    card.addEventListener("keydown", (event) => {
      if (event.key !== "?") return;
      event.stopPropagation(); // on the page around it would open the card again
      card.close();
    });
    return card;
  }

  showKeys() {
    if (!this.keys.open) this.keys.showModal();
  }

  setTool(tool) {
    for (const button of this.tools) button.setAttribute("aria-pressed", String(button.dataset.name === tool));
    this.stage.dataset.tool = tool;
  }

  setStatus(shown, total, noun, selected, note) {
    const parts = [`${number(shown)} shown of ${number(total)} ${noun}`];
    if (selected) parts.push(`${number(selected)} selected`);
    if (note) parts.push(note);
    const text = parts.join(" · ");
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  /** What way of drawing is seen, and why; nothing where there is only one. */
  setKind(text) {
    this.kind.hidden = !text;
    if (this.kind.textContent !== (text ?? "")) this.kind.textContent = text ?? "";
  }

  setNotice(text) {
    this.notice.hidden = !text;
    this.notice.textContent = text ?? "";
  }

  setScale(colouring, scale) {
    this.scale.hidden = !colouring;
    if (!colouring) return;
    const { name, unit, low, high, clippedLow, clippedHigh } = colouring;
    const bar = make("div", { class: "latent-map-bar" });
    bar.style.background = `linear-gradient(to right, ${scale.join(", ")})`;
    const title = unit ? `${name} (${unit})` : name;
    const ends = [`${clippedLow ? "≤ " : ""}${short(low)}`, short((low + high) / 2), `${clippedHigh ? "≥ " : ""}${short(high)}`];
    const numbers = make("div", { class: "latent-map-ends" }, ...ends.map((end) => make("span", {}, end)));
    this.scale.replaceChildren(make("span", {}, title), make("div", {}, bar, numbers));
  }

  setCaption(parts) {
    const text = parts.length ? `${parts.join(" · ")}: approximate placement` : "";
    this.caption.hidden = !text;
    if (this.caption.textContent !== text) this.caption.textContent = text;
  }
}

const TOOL_NAMES = { pan: "Move the map", box: "Box select", lasso: "Lasso select" };
