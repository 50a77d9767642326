// The map as a whole: takes what the server sends, does what gestures ask for, tells the page and the server.

const OVERTAKEN_MS = 2000; // an older preview this soon after a newer one came late; later, its sender began anew
const SLOW = "the server is slow or gone: looking around still works";

class LatentMap {
  constructor(root, hub, instance) {
    Object.assign(this, { root, hub, instance, marks: [], hovered: null });
    root.dataset.instance = instance;
    this.panel = new Panel(this, root);
    this.stage = this.panel.stage;
    this.layers = new Marks(this.stage);
    this.stage.append(this.panel.card.element);
    this.outbox = new Outbox(hub, (slow) => this.setSlow(slow), (waiting) => root.toggleAttribute("data-waiting", waiting));
    this.camera = new Camera(() => this.render(), () => this.figure?.settle(this.camera.ranges), (view) => this.tellView(view));
    this.choice = new Choice(this);
    this.gestures = new Gestures(this, this.stage);
    this.setTool("pan");
    this.onFeed = (name) => this.feed(name);
    hub.onFeed = this.onFeed;
    this.onPreview = (event) => this.preview(event.detail);
    document.addEventListener("latent:preview", this.onPreview);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.stage);
  }

  // --- what the server sends ---------------------------------------------------------------------------------------

  async receive({ plotly, height }, body) {
    this.stage.style.setProperty("--height", `${height}px`);
    const points = readFrame(body);
    this.readTheme();
    if (points.head.digest === this.head?.digest) return this.themeChanged();
    const { head } = points;
    delete this.root.dataset.ready;
    if (head.images !== this.head?.images) this.sprites = null; // no picture is better than another data set's
    const { xy, labels = null } = unpackArrays(head.arrays, points.body);
    Object.assign(this, { head, xy, labels, ...groupsOf(xy, labels, head.classNames, head.colours) });
    Object.assign(this, { generation: -1, colouring: null, coloured: null, hovered: null, isMarked: false });
    const bounds = boundsOf(xy);
    this.index = new PointIndex(xy, bounds);
    this.choice.reset();
    this.camera.reset(bounds, this.memory());
    this.measure();
    this.panel.legend.set(this.groups, !labels);
    this.layers.setLabels(labels ? this.groups : []);
    this.stage.setAttribute("aria-label", `Map of ${number(head.count)} ${head.noun}`);
    this.refreshCounts();
    for (const name of ["marks", "sprites"]) this.feed(name);
    return this.draw(plotly);
  }

  /** What outlives a remount of this very map: its view and its hidden classes. */
  memory() {
    const { memory } = this.hub;
    if (memory.digest !== this.head.digest) Object.assign(memory, { digest: this.head.digest, view: null, hidden: null });
    this.groups.forEach((group, i) => (group.hidden = memory.hidden?.[i] ?? false));
    return memory;
  }

  async draw(address) {
    const { head } = this;
    if (head.count > DENSITY_ABOVE) return this.drawDensity();
    const isOver = () => this.removed || head !== this.head;
    this.drawDraft();
    try {
      const plotly = await loadPlotly(address, () => restOfPage(this.instance));
      if (isOver()) return;
      const figure = new Figure(this.panel.plot, plotly, (this.losses ?? 0) <= 2 && hasWebGL(), () => this.redraw(address));
      await figure.draw(this.xy, this.groups, this.camera.ranges, this.camera.size);
      if (isOver()) return figure.remove();
      this.takeOver(figure);
      this.root.dataset.renderer = figure.webgl ? "webgl" : "svg";
      this.panel.setNotice(figure.webgl ? null : slowNotice(figure.stride));
      this.refreshCounts();
      requestAnimationFrame(() => (this.root.dataset.ready = head.digest));
    } catch (error) {
      this.panel.setNotice(error.message);
    }
  }

  /** Draw the points at once, without waiting for plotly.js. */
  drawDraft() {
    const draft = new Draft(this.panel.plot);
    draft.draw(this.xy, this.groups, this.camera.ranges, this.camera.size);
    this.takeOver(draft);
    this.root.dataset.renderer = "canvas";
  }

  /** Draw more points than plotly.js can; it isn't needed then. */
  drawDensity() {
    const density = new Density(this.panel.plot, this.index, this.groupOf);
    density.draw(this.xy, this.groups, this.camera.ranges, this.camera.size);
    this.takeOver(density);
    this.root.dataset.renderer = "density";
    this.panel.setNotice(null);
    this.refreshCounts();
    requestAnimationFrame(() => (this.root.dataset.ready = this.head.digest));
  }

  /** From here on it is this figure that shows the points. */
  takeOver(figure) {
    this.figure?.remove();
    Object.assign(this, { figure, coloured: null });
    figure.setHidden(this.groups.map((group) => group.hidden));
    figure.resize(this.camera.ranges, this.camera.size);
    this.feed("colours");
    this.render();
  }

  /** The browser took the WebGL context away: draw anew, and without it if that happens again and again. */
  redraw(address) {
    if (this.removed || !this.figure) return;
    this.losses = (this.losses ?? 0) + 1;
    this.draw(address);
  }

  feed(name) {
    const entry = this.hub.feeds[name];
    if (!entry || !this.head) return;
    if (name === "sprites") this.setSprites(entry);
    if (entry.map !== this.head.map) return;
    if (name === "marks") this.setMarks(entry.head);
    if (name === "colours" && this.figure) this.setColours(entry);
  }

  setMarks(head) {
    if (this.outbox.accepts(head) && !this.choice.isStepping) {
      this.choice.follow(head, this.isMarked);
      if (!this.isMarked) this.camera.open(head.view);
      this.isMarked = true;
    }
    Object.assign(this, { marks: head.marks, path: head.path, tellsViews: head.tellsViews });
    if (this.path) this.root.dataset.path = `${this.path.places.length} places, ${this.path.far.length} pieces far`;
    else delete this.root.dataset.path;
    const cursor = JSON.stringify(head.cursor);
    if (cursor !== this.cursorTold) this.moveCursor(head.cursor, false);
    this.cursorTold = cursor;
    const last = window.__latent?.[this.instance]?.["latent:preview"];
    if (last && last !== this.heard) this.preview(last);
    this.refreshCaption();
    this.render();
  }

  setSprites({ head, body }) {
    if (head.images !== this.head.images) return;
    if (head.digest === this.sprites?.digest) return;
    const sprites = new Sprites(head, body);
    this.sprites = sprites;
    this.root.dataset.sprites = "loading";
    sprites.loadAll().then(() => sprites === this.sprites && (this.root.dataset.sprites = "ready"));
  }

  setColours({ head, body }) {
    if (head.digest === this.coloured) return;
    this.coloured = head.digest;
    this.colouring = head.name === null ? null : { ...head, ...unpackArrays(head.arrays, body) };
    this.paint();
  }

  paint() {
    this.scale = colourScale(this.theme.dark);
    this.figure.setColours(this.groups, this.colouring, this.scale);
    this.panel.setScale(this.colouring, this.scale);
    this.panel.legend.refresh(!this.colouring);
    this.root.dataset.colouring = this.colouring?.name ?? "class";
    this.render();
  }

  colourOf(row) {
    if (!this.colouring) return this.groupAt(row).colour;
    return this.scale[scaleStep(this.colouring, this.colouring.values[row])];
  }

  // --- drawing -----------------------------------------------------------------------------------------------------

  measure() {
    this.camera.resize(this.stage.clientWidth, this.stage.clientHeight);
    this.layers.resize(this.camera.size);
  }

  resize() {
    if (!this.head) return;
    const { width, height } = this.camera.size;
    if (this.stage.clientWidth === width && this.stage.clientHeight === height) return;
    this.measure();
    this.figure?.resize(this.camera.ranges, this.camera.size);
    this.render();
  }

  /** Draw at the next frame. */
  render() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.removed || !this.head) return;
      this.figure?.show(this.camera.ranges, this.camera.size);
      this.layers.draw(this);
      this.panel.setKind(this.figure?.caption?.(this.head.noun) ?? null);
      this.stage.dataset.view = this.camera.ranges.join();
    });
  }

  /** Something was chosen, or is looked at. */
  chosen() {
    const { rows, current } = this.choice;
    this.root.dataset.selected = rows.length;
    if (current === null) delete this.root.dataset.current;
    else this.root.dataset.current = current;
    this.panel.plot.toggleAttribute("data-faded", rows.length > 1);
    this.refreshCounts();
    this.render();
  }

  refreshCounts() {
    const stride = this.figure?.stride ?? 1;
    const shownOf = ({ rows }) => (stride === 1 ? rows.length : rows.filter((row) => row % stride === 0).length);
    const shown = this.groups.reduce((sum, group) => sum + (group.hidden ? 0 : shownOf(group)), 0);
    this.root.dataset.shown = shown;
    this.panel.legend.refresh(!this.colouring);
    this.panel.setStatus(shown, this.head.count, this.head.noun, this.choice.rows.length, this.slow ? SLOW : null);
  }

  // --- what a person does ------------------------------------------------------------------------------------------

  groupAt(row) {
    return this.groups[this.groupOf?.[row] ?? 0];
  }

  isShown(row) {
    return !this.groupAt(row).hidden && row % (this.figure?.stride ?? 1) === 0;
  }

  placeOf(row) {
    return [this.xy[2 * row], this.xy[2 * row + 1]];
  }

  rowAt(px, py, reach) {
    if (!this.figure) return null;
    return this.index.nearest(...this.camera.place(px, py), reach * this.camera.view.scale, (row) => this.isShown(row));
  }

  hover(row) {
    if (row === this.hovered || !this.head) return;
    this.hovered = row;
    this.stage.toggleAttribute("data-over", row !== null);
    if (row === null) delete this.root.dataset.hover;
    else this.root.dataset.hover = row;
    const tell = () => {
      this.showHovered();
      this.announce("latent:hover", row);
    };
    tell();
    this.whenLoaded(row, () => this.hovered === row && tell());
  }

  showHovered() {
    const row = this.hovered;
    if (row === null) return this.panel.card.show(null);
    const lines = [this.labelOf(row), `row ${row}`].filter(Boolean);
    if (this.sprites?.isEmpty) lines.push(NO_THUMBNAILS);
    if (this.colouring) lines.push(`${this.colouring.name} ${short(this.colouring.values[row])} ${this.colouring.unit}`.trim());
    const image = this.sprites?.image(row) ?? null;
    const at = this.camera.pixel(...this.placeOf(row));
    return this.panel.card.show({ at, lines, image, none: this.sprites?.isEmpty, exact: this.sprites?.exact }, this.camera.size);
  }

  click(px, py, reach, add) {
    const row = this.rowAt(px, py, reach);
    if (row !== null) return this.choice.click(row, add);
    if (add) return null;
    const [x, y] = this.camera.place(px, py).map((value) => this.camera.round(value));
    this.moveCursor([x, y], false);
    this.cursorTold = null; // a guess: whatever the server says next, holds
    this.refreshCaption();
    return this.outbox.send("marks", { kind: "empty", x, y });
  }

  /** The line that is being drawn around images, in pixels, or null. */
  sketch(line) {
    this.draft = line?.map((corner) => this.camera.place(...corner)) ?? null;
    this.render();
  }

  reveal(row) {
    this.camera.reveal(...this.placeOf(row));
  }

  setTool(tool) {
    this.tool = tool;
    this.panel.setTool(tool);
  }

  tellView(view) {
    const text = JSON.stringify(view);
    if (!this.tellsViews || text === this.viewTold) return;
    this.viewTold = text;
    this.outbox.send("view", { kind: "view", ranges: view });
  }

  // --- classes -----------------------------------------------------------------------------------------------------

  setHidden(hidden) {
    this.groups.forEach((group, i) => (group.hidden = hidden[i]));
    this.hub.memory.hidden = hidden;
    this.figure?.setHidden(hidden);
    this.refreshCounts();
    this.render();
  }

  // --- the rest of the page ----------------------------------------------------------------------------------------

  labelOf(row) {
    return this.labels ? this.head.classNames[this.labels[row]] : null;
  }

  /** An event on the document, kept for who listens later. */
  announce(name, row) {
    const [label, image] = row === null ? [null, null] : [this.labelOf(row), this.sprites?.image(row) ?? null];
    const detail = { instance: this.instance, run: this.head.run, row, label, image };
    const kept = (window.__latent ??= {});
    (kept[this.instance] ??= {})[name] = detail;
    document.dispatchEvent(new CustomEvent(name, { detail }));
  }

  announceChosen(row) {
    this.announce("latent:select", row);
    this.whenLoaded(row, () => this.choice.current === row && this.announce("latent:select", row));
  }

  /** Do something when a row's picture is unpacked, if it isn't yet. */
  whenLoaded(row, then) {
    if (row !== null && this.sprites && !this.sprites.isLoaded(row)) this.sprites.load(row).then(then);
  }

  preview(detail) {
    if (!this.head || detail?.instance !== this.instance || detail.run !== this.head.run) return;
    const now = performance.now();
    if (detail.generation < this.generation && now - this.heardAt < OVERTAKEN_MS) return;
    const isDrag = detail.generation === this.generation; // another generation is another point: no line leads there
    Object.assign(this, { generation: detail.generation, heard: detail, heardAt: now });
    const isKnown = Number.isFinite(detail.x) && Number.isFinite(detail.y);
    const wasKnown = Boolean(this.layers.position);
    this.moveCursor(isKnown ? [detail.x, detail.y] : null, isDrag);
    if (isKnown !== wasKnown) this.refreshCaption();
  }

  moveCursor(position, leaveTrail) {
    this.layers.moveCursor(position, leaveTrail);
    if (position) this.root.dataset.cursor = position.join();
    else delete this.root.dataset.cursor;
  }

  refreshCaption() {
    const parts = this.marks.map(([, , label]) => `◇ ${label}`);
    if (this.path) parts.unshift(this.path.far.length ? "path (dashed: far from all images)" : "path");
    if (this.layers.position) parts.unshift("✛ current latent point");
    this.panel.setCaption(parts);
  }

  setSlow(slow) {
    this.slow = slow;
    if (this.head) this.refreshCounts();
  }

  readTheme() {
    this.theme = themeOf(this.root);
    this.layers.theme = this.theme;
  }

  themeChanged() {
    if (this.figure && this.colouring) this.paint();
    this.render();
  }

  remove() {
    this.removed = true;
    if (this.hub.onFeed === this.onFeed) this.hub.onFeed = null;
    document.removeEventListener("latent:preview", this.onPreview);
    this.choice.reset();
    for (const part of [this.camera, this.outbox, this.gestures, this.layers, this.figure]) part?.remove();
    this.observer.disconnect();
  }
}

const maps = new WeakMap();

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".latent-map");
  const { head, body } = readFrame(data);
  if (!maps.has(root)) maps.set(root, new LatentMap(root, hubOf(head.instance), head.instance));
  const map = maps.get(root);
  map.receive(head, body);
  return () => {
    map.remove();
    maps.delete(root);
  };
}
