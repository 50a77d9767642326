// The view as a whole: takes what the server sends, follows the pointer and the keys, tells the page and the server.

const STILL_PIXELS = 5;
const STEP = Math.PI / 18;
const KEYS_3D = {
  ArrowLeft: [-STEP, 0],
  ArrowRight: [STEP, 0],
  ArrowUp: [0, STEP],
  ArrowDown: [0, -STEP],
  "+": [0, 0, 0.8],
  "=": [0, 0, 0.8],
  "-": [0, 0, 1.25],
};
const LIMITS =
  "Drag or arrow keys: turn. Wheel or + −: zoom. Click: choose the image. " +
  "Lasso, clicks on empty places and the cursor exist on the flat (2-D) map only.";
const NO_WEBGL_3D =
  "This browser offers no WebGL, so the 3-D view can't be drawn. The flat (2-D) maps work without it. " +
  "Turning on hardware acceleration in the browser's settings usually helps.";

class LatentMap3d {
  constructor(root, instance) {
    Object.assign(this, { root, instance, hub: hubOf(instance), hovered: null, current: null, losses: 0, sent: 0 });
    this.session = Math.random().toString(36).slice(2, 10);
    root.dataset.instance = instance;
    this.status = make("div", { class: "latent-map-status", role: "status" });
    const reset = make("button", { type: "button" }, "Reset view");
    reset.addEventListener("click", () => this.scene?.reset());
    const tools = make("div", { class: "latent-map-tools", role: "group", "aria-label": "View tools" }, reset);
    this.notice = make("div", { class: "latent-map-notice", role: "status", hidden: true });
    this.stage = make("div", { class: "latent-map-stage", role: "application", tabindex: "0" });
    this.plot = make("div", { class: "latent-map-plot", "aria-hidden": "true" });
    this.card = new Card();
    this.stage.append(this.plot, this.card.element);
    this.legend = new Legend((hidden) => this.setHidden(hidden));
    const caption = make("div", { class: "latent-map-caption" }, LIMITS);
    const top = make("div", { class: "latent-map-top" }, this.status, tools);
    root.replaceChildren(top, this.notice, this.stage, caption, this.legend.element);
    this.listen();
    this.onFeed = () => this.follow();
    this.hub.onFeed = this.onFeed;
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.stage);
  }

  // --- what the server sends ---------------------------------------------------------------------------------------

  receive({ plotly, height, base }, body, commit) {
    this.commit = commit;
    this.stage.style.setProperty("--height", `${height}px`);
    this.theme = themeOf(this.root);
    const { head, body: arrays } = readFrame(body.subarray(0, base));
    if (head.digest === this.head?.digest) return this.scene?.retheme(this.theme);
    delete this.root.dataset.ready;
    const { xyz, labels = null } = unpackArrays(head.arrays, arrays);
    const flat = Float32Array.from({ length: 2 * head.count }, (_, i) => xyz[3 * (i >> 1) + (i & 1)]);
    Object.assign(this, { head, xyz, labels, hovered: null, ...groupsOf(flat, labels, head.classNames, head.colours) });
    const perShape = head.colours.length;
    this.groups.forEach((group, i) => (group.symbol = SYMBOLS_3D[Math.floor(i / perShape) % SYMBOLS_3D.length]));
    if (this.hub.memory.digest3d !== head.digest) Object.assign(this.hub.memory, { digest3d: head.digest, camera: null });
    this.setSprites(readFrame(body.subarray(base)));
    this.legend.set(this.groups, !labels);
    this.stage.setAttribute("aria-label", `3-D view of ${number(head.count)} ${head.noun}`);
    this.refresh();
    this.follow();
    return this.draw(plotly);
  }

  setSprites({ head, body }) {
    const sprites = new Sprites(head, body);
    this.sprites = sprites;
    this.root.dataset.sprites = "loading";
    sprites.loadAll().then(() => sprites === this.sprites && (this.root.dataset.sprites = "ready"));
  }

  /** The image that is looked at, as the server says. */
  follow() {
    const entry = this.hub.feeds.current;
    if (!entry || !this.head) return;
    this.setCurrent(Number.isInteger(entry.head.current) && entry.head.current < this.head.count ? entry.head.current : null);
  }

  async draw(address) {
    const { head } = this;
    this.scene?.remove();
    this.scene = null;
    if (!hasWebGL()) return this.tell(NO_WEBGL_3D);
    try {
      const plotly = await loadPlotly(address);
      if (this.removed || head !== this.head) return;
      const scene = new Scene(this.plot, plotly, {
        onHover: (row) => this.hover(row),
        onCamera: (camera) => this.keepCamera(camera),
        onLost: () => this.redraw(address),
      });
      const { theme, current, size } = this;
      await scene.draw(this.xyz, this.groups, { size, theme, current, camera: this.hub.memory.camera });
      if (this.removed || head !== this.head) return scene.remove();
      this.scene = scene;
      this.tell(null);
      if (this.current !== current) scene.mark(this.current, this.theme);
      requestAnimationFrame(() => (this.root.dataset.ready = head.digest));
    } catch (error) {
      this.tell(error.message);
    }
  }

  /** The browser took the WebGL context away: draw anew, but not for ever. */
  redraw(address) {
    if (this.removed || !this.scene) return;
    if (++this.losses > 2) {
      this.scene.remove();
      this.scene = null;
      this.tell("The browser took the graphics away several times. Reload the page to try again, or look at a flat (2-D) map.");
    } else this.draw(address);
  }

  /** Say why there is nothing to see; null: there is. */
  tell(text) {
    this.notice.hidden = !text;
    this.notice.textContent = text ?? "";
    this.stage.hidden = Boolean(text);
  }

  // --- what a person does ------------------------------------------------------------------------------------------

  listen() {
    // NOTE: plotly.js would take the press of the button, too, for a click, and so turn at a point into a choice of it.
    this.stage.addEventListener("pointerdown", (event) => this.press(event), { capture: true });
    window.addEventListener("pointerup", (this.onUp = (event) => this.letGo(event)), { capture: true });
    this.stage.addEventListener("pointermove", (event) => this.move(event), { capture: true });
    this.stage.addEventListener("pointerleave", () => this.hover(null));
    this.stage.addEventListener("keydown", (event) => this.key(event));
  }

  at(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    this.pressed = event.button === 0 ? this.at(event) : null;
    this.stage.focus({ preventScroll: true });
    this.stage.toggleAttribute("data-dragging", true);
  }

  move(event) {
    this.pointer = this.at(event);
    if (this.hovered !== null) this.showCard();
  }

  letGo(event) {
    this.stage.removeAttribute("data-dragging");
    if (!this.pressed) return;
    const [x, y] = this.at(event);
    const isStill = Math.hypot(x - this.pressed[0], y - this.pressed[1]) < STILL_PIXELS;
    this.pressed = null;
    // NOTE: plotly.js finds what is under the pointer in its next frame; a finger arrives without hovering before.
    if (isStill) requestAnimationFrame(() => requestAnimationFrame(() => this.hovered !== null && this.choose(this.hovered)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "0") this.scene?.reset();
    else if (KEYS_3D[event.key]) this.scene?.turn(...KEYS_3D[event.key]);
    else return;
    event.preventDefault();
  }

  hover(row) {
    if (row === this.hovered || !this.head) return;
    this.hovered = row;
    this.stage.toggleAttribute("data-over", row !== null);
    if (row === null) delete this.root.dataset.hover;
    else this.root.dataset.hover = row;
    const show = () => {
      this.showCard();
      this.announce("latent:hover", row);
    };
    show();
    if (row !== null && !this.sprites.isLoaded(row)) this.sprites.load(row).then(() => this.hovered === row && show());
  }

  showCard() {
    const row = this.hovered;
    if (row === null || !this.pointer) return this.card.show(null);
    const lines = [this.labelOf(row), `row ${row}`].filter(Boolean);
    const { isEmpty, exact } = this.sprites;
    if (isEmpty) lines.push(NO_THUMBNAILS);
    return this.card.show({ at: this.pointer, lines, image: this.sprites.image(row), none: isEmpty, exact }, this.size);
  }

  choose(row) {
    this.setCurrent(row);
    this.announce("latent:select", row);
    const id = `${this.session}-${++this.sent}`;
    this.commit({ kind: "select", clicked: [row], hidden: [], polygon: null, primary: row, id });
  }

  setCurrent(row) {
    if (row === this.current) return;
    this.current = row;
    if (row === null) delete this.root.dataset.current;
    else this.root.dataset.current = row;
    this.scene?.mark(row, this.theme);
  }

  setHidden(hidden) {
    this.groups.forEach((group, i) => (group.hidden = hidden[i]));
    this.scene?.setHidden(hidden);
    this.refresh();
  }

  refresh() {
    const shown = this.groups.reduce((sum, { hidden, rows }) => sum + (hidden ? 0 : rows.length), 0);
    this.root.dataset.shown = shown;
    this.status.textContent = `${number(shown)} shown of ${number(this.head.count)} ${this.head.noun}`;
    this.legend.refresh(true);
  }

  // --- the rest ----------------------------------------------------------------------------------------------------

  labelOf(row) {
    return this.labels ? this.head.classNames[this.labels[row]] : null;
  }

  /** An event on the document, kept for who listens later, as the flat map's. */
  announce(name, row) {
    const [label, image] = row === null ? [null, null] : [this.labelOf(row), this.sprites.image(row)];
    const detail = { instance: this.instance, run: this.head.run, row, label, image };
    const kept = (window.__latent ??= {});
    (kept[this.instance] ??= {})[name] = detail;
    document.dispatchEvent(new CustomEvent(name, { detail }));
  }

  keepCamera(camera) {
    this.hub.memory.camera = camera;
    this.root.dataset.camera = ["x", "y", "z"].map((axis) => camera.eye[axis].toFixed(4)).join();
  }

  get size() {
    return { width: this.stage.clientWidth, height: this.stage.clientHeight };
  }

  resize() {
    if (this.stage.clientWidth && this.scene) this.scene.resize(this.size);
  }

  remove() {
    this.removed = true;
    if (this.hub.onFeed === this.onFeed) this.hub.onFeed = null;
    window.removeEventListener("pointerup", this.onUp, { capture: true });
    this.observer.disconnect();
    this.scene?.remove();
  }
}

const views = new WeakMap();

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".latent-map-3d");
  const { head, body } = readFrame(data);
  if (!views.has(root)) views.set(root, new LatentMap3d(root, head.instance));
  views.get(root).receive(head, body, (commit) => setStateValue("commit", commit));
  return () => {
    views.get(root)?.remove();
    views.delete(root);
  };
}
