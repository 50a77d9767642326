// What stands around the points: counts, buttons, legend, colour scale, the card at the pointer, the card of keys.

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
const CARD_PIXELS = 96;

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const number = (value) => value.toLocaleString("en-US");

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
    this.stage.append(this.plot);
    this.card = this.makeCard();
    this.scale = make("div", { class: "latent-map-scale", hidden: true });
    this.legend = make("div", { class: "latent-map-legend", role: "group", "aria-label": "Classes" });
    this.caption = make("div", { class: "latent-map-caption", hidden: true });
    this.keys = this.makeKeys();
    const top = make("div", { class: "latent-map-top" }, this.status, tools);
    root.replaceChildren(top, this.notice, this.stage, this.caption, this.scale, this.legend, this.keys);
  }

  button(name, label, action) {
    const button = make("button", { type: "button", title: label, "aria-label": label, "data-name": name }, icon(name));
    button.addEventListener("click", action);
    return button;
  }

  makeCard() {
    this.picture = make("canvas", { width: 1, height: 1 });
    this.cardText = make("div");
    return make("div", { class: "latent-map-card", "aria-hidden": "true", hidden: true }, this.picture, this.cardText);
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

  setNotice(text) {
    this.notice.hidden = !text;
    this.notice.textContent = text ?? "";
  }

  /** One button a class: a click hides or shows it, a double click leaves it alone on the map. */
  setLegend(groups, single) {
    this.legend.hidden = single;
    this.chips = groups.map((group, index) => {
      const swatch = make("i", { "data-symbol": group.symbol, "aria-hidden": "true" });
      const count = make("span", { class: "latent-map-count" }, number(group.rows.length));
      const title = "Click: hide or show. Double click, or shift and click: only this one.";
      const chip = make("button", { type: "button", title }, swatch, make("span", {}, group.name), count);
      chip.addEventListener("click", (event) =>
        event.detail === 2 || event.shiftKey ? this.map.isolate(index, event.detail === 2) : this.map.toggle(index)
      );
      return chip;
    });
    this.everything = make("button", { type: "button", class: "latent-map-everything" }, "Show all");
    this.everything.addEventListener("click", () => this.map.setHidden(this.map.groups.map(() => false)));
    this.legend.replaceChildren(...this.chips, this.everything);
  }

  refreshLegend(groups, byClass) {
    const shapes = new Set(groups.map((group) => group.symbol)).size;
    this.legend.toggleAttribute("data-plain", !byClass && shapes === 1);
    groups.forEach((group, index) => {
      this.chips[index].setAttribute("aria-pressed", String(!group.hidden));
      this.chips[index].style.setProperty("--swatch", byClass ? group.colour : "currentColor");
    });
    const some = groups.some((group) => group.hidden);
    if (!some && document.activeElement === this.everything) this.chips[0]?.focus();
    this.everything.hidden = !some;
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

  /** The card beside a point: its picture and what it is; null takes it away. */
  showCard(content) {
    this.card.hidden = !content;
    if (!content) return;
    const { at, lines, image, exact } = content;
    this.cardText.replaceChildren(...lines.map((line, i) => make(i ? "span" : "b", {}, line)));
    this.picture.dataset.state = image ? "ready" : "waiting";
    if (image) {
      const scale = Math.max(1, Math.floor(CARD_PIXELS / Math.max(image.width, image.height)));
      this.picture.width = image.width;
      this.picture.height = image.height;
      this.picture.style.width = `${image.width * scale}px`;
      this.picture.style.imageRendering = exact ? "pixelated" : "auto";
      this.picture.getContext("2d").putImageData(image, 0, 0);
    }
    const [width, height] = [this.card.offsetWidth, this.card.offsetHeight];
    const { size } = this.map.camera;
    const x = at[0] + 16 + width > size.width ? at[0] - 16 - width : at[0] + 16;
    const y = Math.max(4, Math.min(size.height - height - 4, at[1] - height / 2));
    this.card.style.transform = `translate(${Math.max(4, x)}px, ${y}px)`;
  }
}

const TOOL_NAMES = { pan: "Move the map", box: "Box select", lasso: "Lasso select" };
